"""A look inside: any variable of any neuron in every step, as the threshold test sees it.

Brian2's own monitors record it, in separate passes; meant for a few images. Unless told otherwise it goes by the numpy
target and plain `Synapses`, which need no compiler.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext

import joblib
import numpy as np
from brian2.parsing.sympytools import str_to_sympy
from sympy import lambdify

from alade_brian import cluster_task as remote
from alade_brian.conversion.to_brian2.text import group_text
from alade_brian.errors import UserError
from alade_brian.simulation.cache.builds import generator_digest
from alade_brian.simulation.engines import TABLE, backend_named
from alade_brian.simulation.plan import SimulationPlan
from alade_brian.simulation.planning import draft_plan, plan_elsewhere, plan_simulation
from alade_brian.simulation.separate.state_monitors import States, Wanted
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.simulation.simulator import Images, arrays, check_images, pixels
from alade_brian.simulation.workers.cluster import Cluster
from alade_brian.simulation.workers.shards import BRIAN2, Work, starting_workers, unpacked
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.responses import Responses, concatenate

PLAIN = SimulationSettings(backend="numpy", connectivity="explicit")


def record_states(
    spec: NetworkSpec, images: Images, wanted: Wanted, settings: SimulationSettings | None = None
) -> tuple[Responses, States]:
    """The network's responses, and variables by population and name: float64 ``(images, steps, neurons)``.

    images     as `simulate` takes them
    wanted     by population the names of its variables, see `variables`
    settings   how Brian2 simulates (default: `PLAIN`)

    A variable is recorded as the threshold test sees it: after the step's input has arrived, before the reset.
    UserError for a population or variable that is not there, and as `simulate` raises it.
    """
    for name, names in wanted.items():
        known = variables(spec, name)
        missing = [each for each in names if each not in known]
        if missing or not names:
            which = f"no variable '{missing[0]}'" if missing else "no variable chosen"
            raise UserError(f"layer {name}: there is {which}; its neurons have {', '.join(known)}")
    shown = arrays(spec, images)
    check_images(spec, shown)
    settings = settings or PLAIN
    backend = draft_plan(spec, settings).backend
    if not backend_named(backend).monitors:
        *some, last = (name for name, each in TABLE.items() if each.monitors)
        raise UserError(
            f"backend '{backend}' records no variables of neurons; use --backend {', '.join(some)} or {last}"
        )
    plan = plan_simulation(spec, dataclasses.replace(settings, passes="separate"))
    if plan.python is not None:
        raise UserError("variables of neurons are recorded in this Python alone; leave --cuda-python out")
    values = pixels(spec, shown)
    if plan.cluster is None and plan.workers == 1:
        return backend_named(plan.backend).record_states(plan, values, wanted)
    return _shared_out(plan, values, wanted)


def _shared_out(plan: SimulationPlan, values: np.ndarray, wanted: Wanted) -> tuple[Responses, States]:
    """As `record_states`, by the workers of a plan, each with a part of the images."""
    cluster = Cluster(plan.cluster) if plan.cluster is not None else None
    parts = np.array_split(values, min(len(values), plan.workers if cluster is None else cluster.cores()))
    packed = Work(plan.spec, plan.alone().settings, (), generator_digest()).pack()
    with starting_workers(), nullcontext() if cluster is None else cluster.serving(packed):
        parallel = joblib.Parallel(len(parts), backend="loky" if cluster is None else None, max_nbytes=None)
        found = parallel(joblib.delayed(remote.record_states)(packed, remote.Block(part), wanted) for part in parts)
    states = {
        name: {v: np.concatenate([recorded[name][v] for _, recorded in found]) for v in names}
        for name, names in wanted.items()
    }
    return concatenate([responses for responses, _ in found]), states


def serve(packed: bytes, values: np.ndarray, wanted: Wanted) -> tuple[Responses, States]:
    """What a worker process does with its part of the images, as pixels; `packed` by `Work.pack`."""
    work = unpacked(packed)
    plan = plan_elsewhere(work.spec, work.settings)
    # A worker of a cluster may have several threads.
    with BRIAN2:
        return backend_named(plan.backend).record_states(plan, values, wanted)


def variables(spec: NetworkSpec, population: str) -> tuple[str, ...]:
    """What can be recorded of a population: the variables of its model, and the currents that flow into it.

    UserError where there is no such population.
    """
    names = [p.name for p in spec.populations]
    if population not in names:
        raise UserError(f"there is no layer '{population}'; the network has {', '.join(names)}")
    equations = group_text(spec, names.index(population)).equations
    currents = [line.split(":")[0].strip() for line in equations.splitlines() if line.startswith("current_")]
    return *spec.population(population).neuron.states, *currents


def threshold_needs(spec: NetworkSpec, population: str) -> tuple[str, ...]:
    """The variables that a population's threshold depends on: none where it is a constant."""
    neuron = spec.population(population).neuron
    if not neuron.spiking:
        return ()
    used = {symbol.name for symbol in str_to_sympy(neuron.threshold).free_symbols}
    return tuple(name for name in neuron.states if name in used)


def thresholds(spec: NetworkSpec, population: str, states: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """What the membrane must pass, ``(images, steps, neurons)``; None without spikes.

    states   the recorded variables, those that `threshold_needs` names among them
    """
    found = spec.population(population)
    if not found.neuron.spiking:
        return None
    expression = str_to_sympy(found.neuron.threshold)
    values = {
        name: np.broadcast_to(p.value, found.shape).reshape(1, 1, -1) for name, p in found.neuron.parameters.items()
    }
    values |= {name: states[name] for name in threshold_needs(spec, population)}
    used = sorted(expression.free_symbols, key=lambda symbol: symbol.name)
    level = lambdify(used, expression, "numpy")(*(values[symbol.name] for symbol in used))
    return np.broadcast_to(np.asarray(level, np.float64), next(iter(states.values())).shape)
