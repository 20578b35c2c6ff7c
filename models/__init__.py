"""Spiking neurons with two faces (a torch step and Brian2 equations), layers, readouts, backbones, and the expandable
network.

Every module here works on tensors whose first axis is time and batch folded together, time outermost:
``(steps * images, ...)``. That is why ordinary torch layers stand between the neurons as they are, and why batch norm
averages over time and batch.
"""

from alade_brian.models.coding import Frames, HoldCurrent, Impulse
from alade_brian.models.layers.linear import Recurrent, Scale, SumPool1d, SumPool2d
from alade_brian.models.layers.readouts import (
    EveryStep,
    FirstSpike,
    LastStep,
    MaxOverSteps,
    MeanOverSteps,
    OverSteps,
    PopulationVote,
    SumOverSteps,
)
from alade_brian.models.networks.backbone import BACKBONES, ConvBackbone, build_backbone, make_backbone
from alade_brian.models.networks.description import BackboneDescription, Norm, described
from alade_brian.models.networks.expandable import ExpandableNetwork
from alade_brian.models.networks.resnet import ResNet
from alade_brian.models.neurons import NEURONS
from alade_brian.models.neurons.adaptive import AdaptiveLIF
from alade_brian.models.neurons.leaky import IF, LI, LIF, I
from alade_brian.models.neurons.neuron import Neuron, PassiveNeuron, SpikingNeuron
from alade_brian.models.neurons.surrogate import ArcTan, FastSigmoid, StraightThrough, Surrogate, Triangle
from alade_brian.models.neurons.synaptic import Alpha, CubaLI, CubaLIF, Synaptic

__all__ = [
    "BACKBONES",
    "IF",
    "LI",
    "LIF",
    "NEURONS",
    "AdaptiveLIF",
    "Alpha",
    "ArcTan",
    "BackboneDescription",
    "ConvBackbone",
    "CubaLI",
    "CubaLIF",
    "EveryStep",
    "ExpandableNetwork",
    "FastSigmoid",
    "FirstSpike",
    "Frames",
    "HoldCurrent",
    "I",
    "Impulse",
    "LastStep",
    "MaxOverSteps",
    "MeanOverSteps",
    "Neuron",
    "Norm",
    "OverSteps",
    "PassiveNeuron",
    "PopulationVote",
    "Recurrent",
    "ResNet",
    "Scale",
    "SpikingNeuron",
    "StraightThrough",
    "SumOverSteps",
    "SumPool1d",
    "SumPool2d",
    "Surrogate",
    "Synaptic",
    "Triangle",
    "build_backbone",
    "described",
    "make_backbone",
]
