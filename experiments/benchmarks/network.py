"""The network that all competitors run: convolutions 1-32-64-128 (3x3, strides 1, 2, 2) on images of 28x28, leaky
integrate-and-fire neurons, a linear readout; random weights, scaled until every layer fires at the rate asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.spec import NetworkSpec

DESCRIPTION = (
    "conv 1-32-64-128, 3x3, padding 1, strides 1 2 2, images 28x28, LIF decay 0.5, threshold 1, reset to 0, 4 steps, "
    "linear readout to 10 classes, mean over the steps"
)
CHANNELS, STRIDES, CLASSES, SIZE = (1, 32, 64, 128), (1, 2, 2), 10, 28
STEPS, DECAY, THRESHOLD = 4, 0.5, 1.0
# Weights that scatter around zero excite half of the neurons at most; 0.4 is what every layer surely reaches.
HIGHEST_RATE = 0.4
CALIBRATION_IMAGES = 16


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights as float64 arrays whose values float32 holds too, so that both types run the same network.

    convolutions   three of ``(out, in, 3, 3)``
    readout        ``(classes, neurons of the last layer)``
    rates          spikes per neuron and step that each layer reached on the images of the calibration
    """

    convolutions: tuple[np.ndarray, ...]
    readout: np.ndarray
    rates: tuple[float, ...]


class PlainNetwork(nn.Module):
    """The network as one would write it in PyTorch for speed: a loop over time, first convolution once per image.

    `spikes` adds up the spikes of each layer over all calls while `counting`.
    """

    def __init__(self, weights: Weights, counting: bool = False) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            for before, after, stride in zip(CHANNELS, CHANNELS[1:], STRIDES, strict=False)
        )
        self.readout = nn.Linear(weights.readout.shape[1], CLASSES, bias=False)
        self.counting, self.spikes = counting, [0] * len(STRIDES)
        self.double().set_weights(weights)

    @torch.no_grad()
    def set_weights(self, weights: Weights) -> None:
        """Take other weights into the same tensors, so that what was compiled for them stays valid."""
        for layer, array in zip(
            [*self.convolutions, self.readout], [*weights.convolutions, weights.readout], strict=True
        ):
            layer.weight.copy_(torch.from_numpy(array))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(images, classes)`` of images ``(images, 1, 28, 28)``."""
        held = self.convolutions[0](images)
        membranes: list[Tensor] = []
        spikes: list[Tensor] = []
        answers = torch.zeros(())
        for step in range(STEPS):
            for number, convolution in enumerate(self.convolutions):
                if step == 0:
                    membranes.append(held.clone() if number == 0 else convolution(spikes[number - 1]))
                    spikes.append(torch.empty_like(membranes[number]))
                elif number == 0:
                    membranes[0].mul_(DECAY).add_(held)
                else:
                    membranes[number] = convolution(spikes[number - 1]).add_(membranes[number], alpha=DECAY)
                spikes[number] = _spikes(membranes[number], spikes[number])
                membranes[number].addcmul_(membranes[number], spikes[number], value=-1)
                if self.counting:
                    self.spikes[number] += int(spikes[number].sum())
            answers = answers + self.readout(spikes[-1].flatten(1))
        return answers / STEPS


def _spikes(v: Tensor, memory: Tensor) -> Tensor:
    """Spikes (0 or 1); `memory` of the same shape may be written over."""
    if torch.compiler.is_compiling():
        # The compiler does not take `out` in channels_last, and needs no help with memory.
        return (v > THRESHOLD).to(v.dtype)
    # Eager: new memory and truth values, which must become numbers, cost more than the arithmetic.
    return torch.gt(v, THRESHOLD, out=memory)


def random_images(count: int, seed: int) -> np.ndarray:
    """Normally distributed pixels, float64 ``(count, 1, 28, 28)``, whose values float32 holds too."""
    draw = np.random.default_rng(seed)
    return draw.standard_normal((count, 1, SIZE, SIZE), dtype=np.float32).astype(np.float64)


def calibrated(rate: float, images: np.ndarray, seed: int) -> Weights:
    """Random weights with which every layer fires `rate` spikes per neuron and step on the first of the images."""
    if not 0 < rate <= HIGHEST_RATE:
        raise UserError(
            f"a firing rate of {rate:g}: use more than 0 and at most {HIGHEST_RATE} spikes per neuron and step"
        )
    draw = np.random.default_rng(seed)
    shown = torch.from_numpy(images[:CALIBRATION_IMAGES])
    spikes = shown.expand(STEPS, *shown.shape)
    convolutions, rates = [], []
    for before, after, stride in zip(CHANNELS, CHANNELS[1:], STRIDES, strict=False):
        unit = draw.standard_normal((after, before, 3, 3))
        scale = _scale(rate, _currents(spikes, unit, stride))
        convolutions.append((unit * scale).astype(np.float32).astype(np.float64))
        spikes = _fire(_currents(spikes, convolutions[-1], stride))
        rates.append(float(spikes.mean()))
        if abs(rates[-1] - rate) > 0.05 * rate:
            raise UserError(f"layer {len(rates)} fires at {rates[-1]:.4f} where {rate:g} was asked; use another rate")
    neurons = math.prod(spikes.shape[2:])
    readout = draw.standard_normal((CLASSES, neurons)) / math.sqrt(neurons * rate)
    return Weights(tuple(convolutions), readout.astype(np.float32).astype(np.float64), tuple(rates))


def _currents(spikes: Tensor, weight: np.ndarray, stride: int) -> Tensor:
    """What arrives in each step: ``(steps, images, channels, height, width)``."""
    found = functional.conv2d(spikes.flatten(0, 1), torch.from_numpy(weight), stride=stride, padding=1)
    return found.reshape(*spikes.shape[:2], *found.shape[1:])


def _fire(currents: Tensor) -> Tensor:
    v, spikes = torch.zeros_like(currents[0]), []
    for current in currents:
        v = DECAY * v + current
        spikes.append((v > THRESHOLD).to(v.dtype))
        v = v * (1 - spikes[-1])
    return torch.stack(spikes)


def _scale(rate: float, currents: Tensor) -> float:
    """The factor with which these currents make the neurons fire at a rate, by bisection of its logarithm."""
    low, high = 1e-4, 1e4
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if float(_fire(currents * middle).mean()) < rate else (low, middle)
    return math.sqrt(low * high)


def model(weights: Weights) -> nn.Module:
    """The network in the project's own layers."""
    layers: list[nn.Module] = []
    for number, (array, stride) in enumerate(zip(weights.convolutions, STRIDES, strict=True)):
        convolution = nn.Conv2d(array.shape[1], array.shape[0], 3, stride=stride, padding=1, bias=False)
        convolution.weight.data = torch.from_numpy(array)
        layers += [convolution, *([HoldCurrent(STEPS)] if number == 0 else []), LIF(STEPS, DECAY, threshold=THRESHOLD)]
    readout = nn.Linear(weights.readout.shape[1], CLASSES, bias=False)
    readout.weight.data = torch.from_numpy(weights.readout)
    return nn.Sequential(*layers, nn.Flatten(), readout, MeanOverSteps(STEPS)).eval()


def specification(weights: Weights) -> NetworkSpec:
    """The network as the simulator takes it, by the same way that trained networks go."""
    return convert(model(weights), (CHANNELS[0], SIZE, SIZE))


@torch.inference_mode()
def reference(weights: Weights, images: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Spikes per layer and logits in float64, as PyTorch finds them."""
    network = PlainNetwork(weights, counting=True)
    logits = [network(part) for part in torch.from_numpy(images).split(64)]
    return network.spikes, torch.cat(logits).numpy()
