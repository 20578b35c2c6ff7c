"""Brian2 as a function: a specification and images in, spikes and logits out. Nothing here knows torch."""

from alade_brian.simulation.events import synaptic_events
from alade_brian.simulation.needs import advice
from alade_brian.simulation.settings import BACKENDS, CONNECTIVITIES, SimulationSettings
from alade_brian.simulation.simulator import Simulator, open_simulator, simulate

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
