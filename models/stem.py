"""Where an image enters a network: its first convolution, and the time axis."""

from __future__ import annotations

from typing import Literal

from torch import nn

from alade_brian.models.neurons import LIF
from alade_brian.models.time import Frames, HoldCurrent

Norm = Literal["batch", "none"]


def convolution(
    before: int, after: int, kernel: int, stride: int = 1, norm: Norm = "batch"
) -> tuple[nn.Conv2d, nn.Module]:
    """A convolution that keeps the size (at stride 1) and its norm: batch norm, or none and a bias instead."""
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=norm == "none")
    return layer, nn.BatchNorm2d(after) if norm == "batch" else nn.Identity()


class Stem(nn.Sequential):
    """The first convolution, its norm and neurons: images ``(n, C, H, W)`` -> spikes ``(steps * n, channels, ...)``.

    The current of a still image is the same in every step, so the convolution is done once per image and held; of a
    `sequence` ``(steps, n, C, H, W)`` every step has a frame of its own.
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        stride: int,
        steps: int,
        decay: float,
        threshold: float,
        norm: Norm = "batch",
        sequence: bool = False,
    ) -> None:
        super().__init__()
        conv, normalised = convolution(before, after, kernel, stride, norm)
        if sequence:
            self.add_module("frames", Frames())
        self.add_module("conv", conv)
        self.add_module("norm", normalised)
        if not sequence:
            self.add_module("hold", HoldCurrent(steps))
        self.add_module("lif", LIF(steps, decay, threshold=threshold))
