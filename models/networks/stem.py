"""Stages of a convolutional network, and where an image enters it: its first convolution, and the time axis."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from alade_brian.models.coding import Frames, HoldCurrent
from alade_brian.models.kernels.multistep import normalised_spikes
from alade_brian.models.kernels.spike_convolution import convolve
from alade_brian.models.neurons.leaky import LIF

Norm = Literal["batch", "none"]


def convolution(
    before: int, after: int, kernel: int, stride: int = 1, norm: Norm = "batch"
) -> tuple[nn.Conv2d, nn.Module]:
    """A convolution that keeps the size (at stride 1) and its norm: batch norm, or none and a bias instead."""
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=norm == "none")
    return layer, nn.BatchNorm2d(after) if norm == "batch" else nn.Identity()


class ConvolutionStage(nn.Module):
    """A convolution, its norm and neurons, ``(steps * n, channels, height, width)`` in and out."""

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
    ) -> None:
        super().__init__()
        self.conv, self.norm = convolution(before, after, kernel, stride, norm)
        self.lif = LIF(steps, decay, threshold=threshold)

    def forward(self, x: Tensor) -> Tensor:
        return normalised_spikes(convolve(self.conv, x), self.norm, self.lif)


class Stem(ConvolutionStage):
    """The first stage: images ``(n, C, H, W)`` -> spikes ``(steps * n, channels, ...)``.

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
        super().__init__(before, after, kernel, stride, steps, decay, threshold, norm)
        self.frames = Frames() if sequence else None
        self.hold = None if sequence else HoldCurrent(steps)

    def forward(self, images: Tensor) -> Tensor:
        x = images if self.frames is None else self.frames(images)
        return normalised_spikes(convolve(self.conv, x), self.norm, self.lif, hold=self.hold)
