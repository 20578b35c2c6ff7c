"""Neurons with two faces: a torch step and Brian2 equations."""

from alade_brian.models.neurons.adaptive import AdaptiveLIF
from alade_brian.models.neurons.latency import LatencyEncoder, RelPspIF
from alade_brian.models.neurons.leaky import IF, LI, LIF, I
from alade_brian.models.neurons.neuron import Neuron
from alade_brian.models.neurons.quantal import QuantalIF, QuantalLIF
from alade_brian.models.neurons.synaptic import Alpha, CubaLI, CubaLIF, Synaptic
from alade_brian.registry import Registry

_ALL: tuple[type[Neuron], ...] = (
    LIF, IF, LI, I, CubaLIF, CubaLI, Synaptic, Alpha, AdaptiveLIF, QuantalIF, QuantalLIF, LatencyEncoder, RelPspIF,
)  # fmt: skip

# One test holds the two faces of every class in it against each other, spike by spike.
NEURONS: Registry[str, type[Neuron]] = Registry("neuron", {cls.__name__: cls for cls in _ALL})

__all__ = ["NEURONS"]
