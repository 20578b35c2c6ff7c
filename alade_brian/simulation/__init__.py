"""Brian2 as a function: a specification and images in, spikes and logits out. Nothing here knows torch."""

from alade_brian.simulation.engines import BACKENDS
from alade_brian.simulation.plan import SimulationPlan
from alade_brian.simulation.planning import advice, check_machine, plan_simulation
from alade_brian.simulation.settings import CONNECTIVITIES, SimulationSettings
from alade_brian.simulation.simulator import Simulator, open_simulator, simulate
from alade_brian.simulation.synaptic_events import synaptic_events

__all__ = [
    "BACKENDS",
    "CONNECTIVITIES",
    "SimulationPlan",
    "SimulationSettings",
    "Simulator",
    "advice",
    "check_machine",
    "open_simulator",
    "plan_simulation",
    "simulate",
    "synaptic_events",
]
