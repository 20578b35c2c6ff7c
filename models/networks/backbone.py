"""Feature extractors by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from alade_brian import plugins
from alade_brian.models.networks.resnet import RESNETS, ResNet, ResNetLayout
from alade_brian.models.networks.stem import ConvolutionStage, Norm, Stem
from alade_brian.registry import Registry


class ConvBackbone(nn.Module):
    """A small spiking convolutional net: per stage 3x3 convolution, batch norm, LIF; at the end average pooling.

    image_shape   (channels, height, width)
    channels      channels of each stage
    strides       stride of each stage
    pool          window of the average pooling behind the last stage, which must fit into its image
    steps, decay, threshold: see `LIF`
    norm          ``batch``, or ``none``: a bias instead
    sequence      images are ``(steps, n, C, H, W)``

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
        norm: Norm = "batch",
        sequence: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != len(strides) or not channels:
            raise ValueError(f"{len(channels)} channel numbers and {len(strides)} strides: give one of each per stage")
        first = Stem(image_shape[0], channels[0], 3, strides[0], steps, decay, threshold, norm, sequence)
        stages: list[nn.Module] = [first]
        for before, width, stride in zip(channels, channels[1:], strides[1:], strict=False):
            stages.append(ConvolutionStage(before, width, 3, stride, steps, decay, threshold, norm))
        rows, columns = image_shape[1:]
        for stride in strides:
            rows, columns = (rows - 1) // stride + 1, (columns - 1) // stride + 1
        if pool > min(rows, columns):
            raise ValueError(f"a pooling window of {pool} does not fit into the last stage's {rows}x{columns} image")
        self.stages = nn.ModuleList(stages)
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.flatten = nn.Flatten()
        self.width = channels[-1] * (rows // pool) * (columns // pool)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for stage in self.stages:
            x = stage(x)
        return self.flatten(self.pool(x))


@dataclass(frozen=True)
class BackboneSettings:
    """What an extractor is built with, as far as it needs it: see `ConvBackbone` and `ResNet`."""

    width: float = 1.0
    channels: Sequence[int] = (16, 32, 64)
    strides: Sequence[int] = (1, 2, 1)
    pool: int = 2
    steps: int = 4
    decay: float = 0.5
    threshold: float = 1.0
    norm: Norm = "batch"
    sequence: bool = False


# Takes (channels, height, width) of an image; gives a module with a `width`, the number of its features, whose forward
# takes images ``(n, C, H, W)`` and gives the features of every step, ``(steps * n, width)``.
MakeBackbone = Callable[[tuple[int, int, int], BackboneSettings], nn.Module]


def _resnet(layout: ResNetLayout) -> MakeBackbone:
    def make(image_shape: tuple[int, int, int], given: BackboneSettings) -> nn.Module:
        common = (given.steps, given.decay, given.threshold, given.norm, given.sequence)
        return ResNet(layout, image_shape, given.width, *common)

    return make


def _small(image_shape: tuple[int, int, int], given: BackboneSettings) -> nn.Module:
    common = (given.steps, given.decay, given.threshold, given.norm, given.sequence)
    return ConvBackbone(image_shape, given.channels, given.strides, given.pool, *common)


BACKBONES: Registry[str, MakeBackbone] = Registry(
    "backbone", {"small": _small} | {name: _resnet(layout) for name, layout in RESNETS.items()}, also=(plugins.FORM,)
)


def make_backbone(name: str, image_shape: tuple[int, int, int], **settings: Any) -> nn.Module:
    """An extractor by name: `small` (see `ConvBackbone`), one of `RESNETS` (see `ResNet`), whose channels `width`
    multiplies, or what a plug-in's file holds. `settings` are the fields of `BackboneSettings`.

    UserError if there is none of that name; ValueError if the images are too small.
    """
    return plugins.find(BACKBONES, name)(image_shape, BackboneSettings(**settings))
