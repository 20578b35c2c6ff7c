"""A look inside: any variable of any neuron in every step, as the threshold test sees it.

It goes by Brian2's numpy target and plain `Synapses`, which need no compiler; meant for a few images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from brian2.parsing.sympytools import str_to_sympy
from sympy import lambdify

from alade_brian.conversion.to_brian2.network import BatchLayout
from alade_brian.conversion.to_brian2.text import group_text
from alade_brian.errors import UserError
from alade_brian.simulation.separate.runtime import RuntimeNetwork
from alade_brian.simulation.simulator import Images, arrays, check_images, pixels
from alade_brian.spec.network import NetworkSpec
from alade_brian.spikes.responses import Responses

# By population, by variable: (images, steps, neurons).
States = Mapping[str, Mapping[str, np.ndarray]]


def record_states(spec: NetworkSpec, images: Images, wanted: Mapping[str, Sequence[str]]) -> tuple[Responses, States]:
    """The network's responses, and variables by population and name: float64 ``(images, steps, neurons)``.

    images   as `simulate` takes them
    wanted   by population the names of its variables, see `variables`

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
    values = pixels(spec, shown)
    return RuntimeNetwork(spec, BatchLayout(len(values), 1), "numpy", "float64").states(values, wanted)


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
