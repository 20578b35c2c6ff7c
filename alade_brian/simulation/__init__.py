"""Brian2 as a function: a specification and images in, spikes and logits out. Nothing here knows torch."""

from alade_brian.simulation.resources import advice
from alade_brian.simulation.settings import BACKENDS, CONNECTIVITIES, SimulationSettings
from alade_brian.simulation.simulator import Simulator, open_simulator, simulate
from alade_brian.simulation.synaptic_events import synaptic_events

__all__ = [
    "BACKENDS",
    "CONNECTIVITIES",
    "SimulationSettings",
    "Simulator",
    "advice",
    "open_simulator",
    "simulate",
    "synaptic_events",
]
