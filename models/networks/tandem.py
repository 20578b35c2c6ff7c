"""A network that can be converted layer by layer: each layer is an analogue one with ReLU, or one of spiking neurons
that count what the ReLU would give.

Source of the layers and of their impulse of an input: Wu, Xu, Han, Zhou, Zhang, Li, Tan, "Progressive tandem learning
for pattern recognition with deep spiking neural networks", TPAMI 2021 (arXiv 2007.01204), and its authors' code.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from alade_brian.models.coding import Impulse
from alade_brian.models.networks.description import BackboneDescription
from alade_brian.models.networks.stem import pooled_end
from alade_brian.models.neurons.quantal import QuantalIF


class TandemLayer(nn.Module):
    """Weights with a bias, and neurons that lose and send their threshold: ``(steps * n, ...)`` in and out.

    As it is built, and as it is simulated, it has no norm. While its analogue twin is trained it has one (`add_norm`),
    which `fold` makes part of the weights.

    before   what stands between it and the layer below, without weights
    """

    def __init__(self, linear: nn.Conv2d | nn.Linear, neuron: QuantalIF, before: nn.Module) -> None:
        super().__init__()
        self.before, self.linear, self.neuron = before, linear, neuron
        self.norm: nn.Module = nn.Identity()

    def add_norm(self) -> None:
        """Put a fresh batch norm behind the weights."""
        channels = self.linear.weight.shape[0]
        kind = nn.BatchNorm2d if isinstance(self.linear, nn.Conv2d) else nn.BatchNorm1d
        self.norm = kind(channels).to(self.linear.weight.device)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weights and bias with the norm's running statistics in them, without a gradient."""
        weight, bias = self.linear.weight.detach(), self.linear.bias
        assert bias is not None, "a tandem layer has a bias"
        if not isinstance(self.norm, _BatchNorm):
            return weight, bias.detach()
        norm = self.norm
        assert norm.running_mean is not None and norm.running_var is not None
        gain = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        shift = (bias.detach() - norm.running_mean) * gain + norm.bias.detach()
        return weight * gain.reshape(-1, *(1,) * (weight.ndim - 1)), shift

    def fold(self, weight: Tensor, bias: Tensor) -> None:
        """Take these weights, with the norm in them, drop the norm, and learn no more."""
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            assert self.linear.bias is not None
            self.linear.bias.copy_(bias)
        self.norm = nn.Identity()
        self.requires_grad_(False)

    def activation(self, x: Tensor) -> Tensor:
        """The analogue twin: ReLU of the normalised current, ``(n, ...)`` in and out."""
        return F.relu(self.norm(self.linear(self.before(x))))

    def spikes(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """What the neurons send where the layer has these weights."""
        current = torch.func.functional_call(self.linear, {"weight": weight, "bias": bias}, self.before(x))
        return self.neuron(current)

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.norm(self.linear(self.before(x))))


class TandemNet(nn.Module):
    """Convolutions (3x3), average pooling, fully connected layers; a `TandemLayer` each. The image is an impulse.

    ``forward``: images ``(n, C, H, W)`` -> features of every step, ``(steps * n, width)``.
    ValueError where the description asks for other neurons than `QuantalIF` with one threshold that is not learned, or
    for sequences.
    """

    def __init__(self, of: BackboneDescription) -> None:
        super().__init__()
        if of.sequence:
            raise ValueError("the backbone 'tandem' shows a still image as an impulse: use still images")
        if of.norm != "batch":
            raise ValueError(f"the backbone 'tandem' with norm '{of.norm}': its analogue twin has batch norm; use that")
        self.impulse = Impulse(of.steps)
        pool, flatten, pooled = pooled_end(of)
        layers: list[TandemLayer] = []
        channels = pairwise((of.image_shape[0], *of.channels))
        for (before, after), stride in zip(channels, of.strides, strict=True):
            layers.append(TandemLayer(nn.Conv2d(before, after, 3, stride, 1), _neuron(of), nn.Identity()))
        flat: nn.Module = nn.Sequential(pool, flatten)
        for before, units in pairwise((pooled, *of.hidden)):
            layers.append(TandemLayer(nn.Linear(before, units), _neuron(of), flat))
            flat = nn.Identity()
        self.layers = nn.ModuleList(layers)
        self.last = flat
        self.width = of.hidden[-1] if of.hidden else pooled

    def forward(self, images: Tensor) -> Tensor:
        x = self.impulse(images)
        for layer in self.layers:
            x = layer(x)
        return self.last(x)


def _neuron(of: BackboneDescription) -> QuantalIF:
    """Neurons whose threshold is a number that is saved with the model: it is calibrated, not learned."""
    neuron = of.make_neuron()
    if not isinstance(neuron, QuantalIF) or isinstance(neuron.threshold, nn.Parameter):
        raise ValueError(
            f"the backbone 'tandem' with neurons {of.neuron} {dict(of.neuron_options)}: their counts must stand for a "
            "ReLU, with a threshold that is calibrated; use QuantalIF, not learned"
        )
    del neuron.threshold
    neuron.register_buffer("threshold", torch.tensor(of.threshold))
    return neuron
