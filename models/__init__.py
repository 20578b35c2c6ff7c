"""Spiking neurons with two faces (a torch step and Brian2 equations), backbones, and the expandable network.

Every module here works on tensors whose first axis is time and batch folded together, time outermost:
``(steps * images, ...)``. That is why ordinary torch layers stand between the neurons as they are, and why batch norm
averages over time and batch.
"""

from alade_brian.models.backbone import ConvBackbone
from alade_brian.models.expandable import ExpandableNetwork
from alade_brian.models.neurons import IF, LIF, SpikingNeuron, neuron_classes
from alade_brian.models.time import HoldCurrent, MeanOverSteps

__all__ = [
    "IF",
    "LIF",
    "ConvBackbone",
    "ExpandableNetwork",
    "HoldCurrent",
    "MeanOverSteps",
    "SpikingNeuron",
    "neuron_classes",
]
