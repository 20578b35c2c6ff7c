"""Fully connected networks in which every neuron fires at most once, and the output that fires first is the answer.

Source: Zhang et al., TNNLS 2022 (arXiv 2003.11837), see `alade_brian.models.neurons.latency`.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.models.coding import HoldCurrent
from alade_brian.models.networks.description import BackboneDescription
from alade_brian.models.neurons.latency import NEVER, TOLERANCE, LatencyEncoder, RelPspIF


class RampLayer(nn.Module):
    """Weights without a bias, and neurons that fire once: ``(steps * n, inputs)`` -> ``(steps * n, outputs)``."""

    def __init__(self, inputs: int, outputs: int, of: BackboneDescription) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.neuron = ramp_neuron(of)

    def forward(self, spikes: Tensor) -> Tensor:
        return self.neuron(self.linear(spikes))


class LatencyNet(nn.Module):
    """Pixels fire once, bright ones early, and layers of neurons with ramps follow.

    `channels` of the description are the neurons of the layers; its neuron is `RelPspIF`, whose option `window` is the
    number of steps in which the pixels fire. ``forward``: images ``(n, C, H, W)`` -> spikes of the last layer in every
    step, ``(steps * n, width)``.

    Images come normalised; `intensity` undoes that (see `undo_normalisation`).
    """

    def __init__(self, of: BackboneDescription) -> None:
        super().__init__()
        if of.sequence:
            raise ValueError("latency coding shows still images, and this data set has sequences: use another data set")
        if any(stride != 1 for stride in of.strides):
            raise ValueError(f"strides of {list(of.strides)} in a fully connected network: use 1 for every layer")
        window = ramp_neuron(of).window
        if of.steps <= window:
            raise ValueError(
                f"{of.steps} steps with a window of {window}: the pixels fire in all of them; use more steps than the "
                "window"
            )
        channels = of.image_shape[0]
        self.intensity = nn.Conv2d(channels, channels, 1, groups=channels).requires_grad_(False)
        self.hold = HoldCurrent(of.steps)
        self.encoder = LatencyEncoder(of.steps, window)
        self.flatten = nn.Flatten()
        sizes = (prod(of.image_shape), *of.channels)
        self.layers = nn.ModuleList(RampLayer(a, b, of) for a, b in pairwise(sizes))
        self.width = sizes[-1]

    def undo_normalisation(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Take images that are ``(intensity - mean) / std``, each ``(C,)``."""
        with torch.no_grad():
            self.intensity.weight.copy_(torch.from_numpy(std).reshape(-1, 1, 1, 1))
            assert self.intensity.bias is not None
            self.intensity.bias.copy_(torch.from_numpy(mean))

    def input_times(self, images: Tensor) -> Tensor:
        """When the pixels of images fire, not rounded to steps: ``(n, pixels)``, in windows, `NEVER` for dark ones."""
        intensity = self.flatten(self.intensity(images))
        return torch.where(intensity > TOLERANCE, (1 - intensity).clamp(min=0), torch.full_like(intensity, NEVER))

    def timed_layers(self) -> list[tuple[nn.Linear, RelPspIF]]:
        """Weights and neurons of every layer."""
        return [(layer.linear, layer.neuron) for layer in self.layers if isinstance(layer, RampLayer)]

    def forward(self, images: Tensor) -> Tensor:
        x = self.flatten(self.encoder(self.hold(self.intensity(images))))
        for layer in self.layers:
            x = layer(x)
        return x


def ramp_neuron(of: BackboneDescription) -> RelPspIF:
    """A layer of the neurons of a description; ValueError where they are others than `RelPspIF`."""
    neuron = of.make_neuron()
    if not isinstance(neuron, RelPspIF):
        raise ValueError(f"the neuron {of.neuron} in a network of ramps: use RelPspIF")
    return neuron
