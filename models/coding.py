"""Where time begins in a network: an image becomes a held current or an impulse, a recording a sequence of frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alade_brian.spec import NeuronEquations, constant


class HoldCurrent(nn.Module):
    """Direct coding: ``(images, ...)`` -> ``(steps * images, ...)``, the same current in every step.

    It may stand behind the first convolution and batch norm: a held current needs them only once.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, current: Tensor) -> Tensor:
        return current.expand(self.steps, *current.shape).reshape(-1, *current.shape[1:])


class Impulse(nn.Module):
    """All of a presentation's current in its first step: ``(images, ...)`` -> ``(steps * images, ...)``, `steps` times
    the current, then zeros. The mean over the steps is that of `HoldCurrent`.

    Source: the input of progressive tandem learning (Wu et al., TPAMI 2021, arXiv 2007.01204) in its public code, there
    without the factor `steps`, with thresholds smaller by it.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, current: Tensor) -> Tensor:
        later = current.new_zeros((self.steps - 1) * len(current), *current.shape[1:])
        return torch.cat([self.steps * current, later])

    def equations(self) -> NeuronEquations:
        """A relay that is open in the first step of a presentation: it passes its input on `gate` times."""
        return NeuronEquations(
            "v : 1\ndrive : 1\ngate : 1",
            {"gate_initial": constant(self.steps)},
            spiking=False,
            reset="none",
            input="drive",
            update="v = drive*gate\ndrive = 0\ngate = 0",
        )


class Frames(nn.Module):
    """A sequence of frames, one per step: ``(steps, n, C, H, W)`` -> ``(steps * n, C, H, W)``."""

    def forward(self, frames: Tensor) -> Tensor:
        return frames.flatten(0, 1)
