"""The same network without spikes: rectifiers in the place of its neurons, for a teacher."""

from __future__ import annotations

from torch import nn

from alade_brian.models.networks.backbone import build_backbone
from alade_brian.models.networks.description import BackboneDescription
from alade_brian.models.networks.expandable import ExpandableNetwork
from alade_brian.models.neurons.neuron import SpikingNeuron


class Rectifier(nn.ReLU):
    """A rectified linear layer that stands where a layer of neurons stood: ``(steps * n, ...)`` in and out."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def fusable(self) -> None:
        """It is no neuron that the compiled kernels know."""


def rectified_backbone(of: BackboneDescription) -> nn.Module:
    """The extractor of a description with a `Rectifier` for every layer of spiking neurons; errors as of
    `make_backbone`."""
    backbone = build_backbone(of)
    for name, module in list(backbone.named_modules()):
        if isinstance(module, SpikingNeuron):
            backbone.set_submodule(name, Rectifier(module.steps))
    return backbone


def rectified_network(of: BackboneDescription, outputs: int) -> ExpandableNetwork:
    """One extractor of rectifiers and a classifier with fresh weights; logits are those of the mean over the steps."""
    network = ExpandableNetwork(lambda: rectified_backbone(of), of.steps)
    network.add_extractor()
    network.set_classifier(outputs)
    return network
