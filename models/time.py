"""Where time begins and ends in a network: an image becomes a held current, logits become their mean over the steps."""

from __future__ import annotations

from torch import Tensor, nn


class HoldCurrent(nn.Module):
    """Direct coding: ``(images, ...)`` -> ``(steps * images, ...)``, the same current in every step.

    It may stand behind the first convolution and batch norm: a held current needs them only once.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, current: Tensor) -> Tensor:
        return current.expand(self.steps, *current.shape).reshape(-1, *current.shape[1:])


class MeanOverSteps(nn.Module):
    """The readout's decision: ``(steps * images, classes)`` -> ``(images, classes)``, the mean over the steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, logits: Tensor) -> Tensor:
        return logits.reshape(self.steps, -1, *logits.shape[1:]).mean(0)
