"""A fully connected spiking network: what to show both simulators besides a run's checkpoint."""

from __future__ import annotations

from math import prod

from torch import nn

from alade_brian.models.coding import HoldCurrent
from alade_brian.models.layers.readouts import MeanOverSteps
from alade_brian.models.neurons.leaky import LIF

STEPS, HIDDEN = 4, (256, 128)


def dense_network(image_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """pixels -> 256 -> 128 -> classes, with ALADE-SNN's neuron (decay 0.5, threshold 1) in both hidden layers."""
    first, second = HIDDEN
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(image_shape), first),
        HoldCurrent(STEPS),
        LIF(STEPS),
        nn.Linear(first, second),
        LIF(STEPS),
        nn.Linear(second, classes),
        MeanOverSteps(STEPS),
    )
