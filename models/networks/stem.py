"""Stages of a convolutional network, and where an image enters it: its first convolution, and the time axis."""

from __future__ import annotations

from torch import Tensor, nn

from alade_brian.models.coding import Frames, HoldCurrent
from alade_brian.models.kernels.multistep import normalised_spikes
from alade_brian.models.kernels.spike_convolution import convolve
from alade_brian.models.networks.description import BackboneDescription, Norm


def convolution(
    before: int, after: int, kernel: int, stride: int = 1, norm: Norm = "batch"
) -> tuple[nn.Conv2d, nn.Module]:
    """A convolution that keeps the size (at stride 1) and its norm: batch norm, or none and a bias instead."""
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=norm == "none")
    return layer, nn.BatchNorm2d(after) if norm == "batch" else nn.Identity()


def last_pool(of: BackboneDescription) -> tuple[nn.Module, int]:
    """The average pooling behind stages with the strides of a description, and the number of features that it leaves.

    ValueError where its window does not fit into the last stage's image, or where channels and strides are not as many.
    """
    if len(of.channels) != len(of.strides) or not of.channels:
        raise ValueError(
            f"{len(of.channels)} channel numbers and {len(of.strides)} strides: give one of each per stage"
        )
    rows, columns = of.image_shape[1:]
    for stride in of.strides:
        rows, columns = (rows - 1) // stride + 1, (columns - 1) // stride + 1
    if of.pool > min(rows, columns):
        raise ValueError(f"a pooling window of {of.pool} does not fit into the last stage's {rows}x{columns} image")
    pool = nn.AvgPool2d(of.pool) if of.pool > 1 else nn.Identity()
    return pool, of.channels[-1] * (rows // of.pool) * (columns // of.pool)


class ConvolutionStage(nn.Module):
    """A convolution, its norm and neurons, ``(steps * n, channels, height, width)`` in and out."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, of: BackboneDescription) -> None:
        super().__init__()
        self.conv, self.norm = convolution(before, after, kernel, stride, of.norm)
        # Whatever neuron it is: the name stands in checkpoints.
        self.lif = of.make_neuron()

    def forward(self, x: Tensor) -> Tensor:
        return normalised_spikes(convolve(self.conv, x), self.norm, self.lif)


class Stem(ConvolutionStage):
    """The first stage: images ``(n, C, H, W)`` -> spikes ``(steps * n, channels, ...)``.

    The current of a still image is the same in every step, so the convolution is done once per image and held; of a
    `sequence` ``(steps, n, C, H, W)`` every step has a frame of its own.
    """

    def __init__(self, after: int, kernel: int, stride: int, of: BackboneDescription) -> None:
        super().__init__(of.image_shape[0], after, kernel, stride, of)
        self.frames = Frames() if of.sequence else None
        self.hold = None if of.sequence else HoldCurrent(of.steps)

    def forward(self, images: Tensor) -> Tensor:
        x = images if self.frames is None else self.frames(images)
        return normalised_spikes(convolve(self.conv, x), self.norm, self.lif, hold=self.hold)
