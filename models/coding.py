"""Where time begins in a network: an image becomes a held current, a recording a sequence of frames."""

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


class Frames(nn.Module):
    """A sequence of frames, one per step: ``(steps, n, C, H, W)`` -> ``(steps * n, C, H, W)``."""

    def forward(self, frames: Tensor) -> Tensor:
        return frames.flatten(0, 1)
