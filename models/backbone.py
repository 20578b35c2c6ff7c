"""Feature extractors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from alade_brian.models.neurons import LIF
from alade_brian.models.time import HoldCurrent


class ConvBackbone(nn.Module):
    """A small spiking convolutional net: per stage 3x3 convolution, batch norm, LIF; at the end average pooling.

    image_shape   (channels, height, width)
    channels      channels of each stage
    strides       stride of each stage
    pool          window of the average pooling behind the last stage, which must fit into its image
    steps, decay, threshold: see `LIF`

    ``forward``: images ``(n, C, H, W)`` -> features of every step, ``(steps * n, width)``.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: Sequence[int],
        strides: Sequence[int],
        pool: int,
        steps: int = 4,
        decay: float = 0.5,
        threshold: float = 1.0,
    ) -> None:
        super().__init__()
        if len(channels) != len(strides) or not channels:
            raise ValueError(f"{len(channels)} channel numbers and {len(strides)} strides: give one of each per stage")
        stages: list[nn.Module] = []
        rows, columns = image_shape[1:]
        for index, (width, stride) in enumerate(zip(channels, strides, strict=True)):
            before = channels[index - 1] if index else image_shape[0]
            stage = nn.Sequential()
            stage.add_module("conv", nn.Conv2d(before, width, 3, stride, 1, bias=False))
            stage.add_module("norm", nn.BatchNorm2d(width))
            if index == 0:
                # The current is the same in every step, so the stem's convolution is done once per image.
                stage.add_module("hold", HoldCurrent(steps))
            stage.add_module("lif", LIF(steps, decay, threshold=threshold))
            stages.append(stage)
            rows, columns = (rows - 1) // stride + 1, (columns - 1) // stride + 1
        if pool > min(rows, columns):
            raise ValueError(f"a pooling window of {pool} does not fit into the last stage's {rows}x{columns} image")
        self.stages = nn.ModuleList(stages)
        self.pool = nn.AvgPool2d(pool)
        self.flatten = nn.Flatten()
        self.width = channels[-1] * (rows // pool) * (columns // pool)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for stage in self.stages:
            x = stage(x)
        return self.flatten(self.pool(x))
