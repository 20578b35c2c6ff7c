"""From what the user asks for to one plan: each question about the network and the machine is answered here, once."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from alade_brian.machine import compiler
from alade_brian.simulation.cuda.compiler import Target
from alade_brian.simulation.cuda.toolkit import find_gpu
from alade_brian.simulation.engines import backend_named
from alade_brian.simulation.other_python.find import check_python, simulating_python
from alade_brian.simulation.plan import SimulationPlan
from alade_brian.simulation.resources import check_gpu_memory, check_memory
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.simulation.workers.cluster import check_address
from alade_brian.spec import NetworkSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """What simulates here: another Python, or this one with `target`, the GPU and its compiler, if it takes one."""

    python: Path | None = None
    target: Target | None = None


def plan_simulation(spec: NetworkSpec, settings: SimulationSettings) -> SimulationPlan:
    """How this network is simulated on this machine. UserError, with what to do, if it cannot be."""
    machine = check_machine(settings)
    plan = dataclasses.replace(draft_plan(spec, settings), python=machine.python, target=machine.target)
    check_plan_memory(plan)
    return plan


def draft_plan(spec: NetworkSpec, settings: SimulationSettings) -> SimulationPlan:
    """What follows from network and settings alone, whether or not this machine can do it, which is not asked.

    UserError if the network cannot be simulated in that way on any machine.
    """
    settings = _resolved(settings)
    backend = backend_named(settings.backend)
    way = backend.decide(spec, settings)
    cost, cache_folder = backend.cost(spec, way, settings.dtype), settings.cache_folder
    return SimulationPlan(spec, settings, way, cost, cache_folder, settings.reuse, settings.keep_answers)


def plan_elsewhere(spec: NetworkSpec, settings: SimulationSettings) -> SimulationPlan:
    """The plan of a worker, whose machine may be another than that which checked the settings."""
    plan = draft_plan(spec, settings)
    return dataclasses.replace(plan, python=_python(plan.settings))


def check_machine(settings: SimulationSettings) -> Machine:
    """What of this machine simulates. UserError, with what to do, if no network can be simulated in this way here."""
    if settings.cluster is not None:
        check_address(settings.cluster)
    settings = _resolved(settings)
    backend = backend_named(settings.backend)
    backend.check(settings)
    python = _python(settings)
    if python is not None:
        check_python(python, settings.backend, settings.connectivity)
        return Machine(python)
    return Machine(target=backend.check_machine(settings))


def check_plan_memory(plan: SimulationPlan) -> None:
    """UserError if the memory of this machine, or of its GPU, does not suffice."""
    check_memory(plan.cost.memory, plan.workers)
    if plan.cost.gpu_memory is not None:
        found = plan.target.gpu if plan.target is not None else None
        check_gpu_memory(plan.cost.gpu_memory, found or find_gpu())


def advice(spec: NetworkSpec, settings: SimulationSettings) -> str:
    """See `SimulationPlan.advice`."""
    return draft_plan(spec, settings).advice()


def _python(settings: SimulationSettings) -> Path | None:
    return simulating_python(backend_named(settings.backend).needs_brian2cuda(settings), settings.python)


def _resolved(settings: SimulationSettings) -> SimulationSettings:
    """The settings with the backend that 'auto' means on this machine."""
    return dataclasses.replace(settings, backend=_auto(compiler())) if settings.backend == "auto" else settings


@cache
def _auto(found: str | None) -> str:
    """'auto' for a machine with this compiler; reported once."""
    backend = "numpy" if found is None else "cpp"
    reason = "no C++ compiler was found" if found is None else f"the C++ compiler is {found}"
    log.info("backend auto: %s, as %s", backend, reason)
    return backend
