"""Spiking residual networks: the addition stands in front of the neuron, the shortcut has none; or, in those called
SEW, behind it (see `SewBlock`).

Source of the layout: He et al., Deep Residual Learning (CVPR 2016); with 3, 3 and 2 blocks as the ResNet-19 of Zheng et
al., Going Deeper With Directly-Trained Larger Spiking Neural Networks (AAAI 2021), which ALADE-SNN uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from alade_brian.models.kernels.multistep import normalised_spikes
from alade_brian.models.kernels.spike_convolution import convolve
from alade_brian.models.networks.description import BackboneDescription
from alade_brian.models.networks.sew import SewBlock
from alade_brian.models.networks.stem import Stem, convolution


@dataclass(frozen=True)
class ResNetLayout:
    """blocks, channels, strides: of each stage. stem, kernel, stride: channels, kernel and stride of the first
    convolution; pool: whether pooling follows it; sew: whether the blocks add spikes."""

    blocks: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    stem: int = 64
    kernel: int = 3
    stride: int = 1
    pool: bool = False
    sew: bool = False


RESNETS = {
    "resnet18": ResNetLayout((2, 2, 2, 2), (64, 128, 256, 512), (1, 2, 2, 2)),
    "resnet18-imagenet": ResNetLayout((2, 2, 2, 2), (64, 128, 256, 512), (1, 2, 2, 2), kernel=7, stride=2, pool=True),
    "sew-resnet18-imagenet": ResNetLayout(
        (2, 2, 2, 2), (64, 128, 256, 512), (1, 2, 2, 2), kernel=7, stride=2, pool=True, sew=True
    ),
    "resnet19": ResNetLayout((3, 3, 2), (128, 256, 512), (1, 2, 2)),
}


class BasicBlock(nn.Module):
    """conv-norm-LIF-conv-norm, plus the shortcut, LIF. The shortcut is a 1x1 convolution and norm where the shape
    changes."""

    def __init__(self, before: int, after: int, stride: int, of: BackboneDescription) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(before, after, 3, stride, of.norm)
        self.lif1 = of.make_neuron()
        self.conv2, self.norm2 = convolution(after, after, 3, 1, of.norm)
        changes = stride != 1 or before != after
        self.shortcut = nn.Sequential(*convolution(before, after, 1, stride, of.norm)) if changes else nn.Identity()
        self.lif2 = of.make_neuron()

    def forward(self, x: Tensor) -> Tensor:
        inner = normalised_spikes(convolve(self.conv1, x), self.norm1, self.lif1)
        return normalised_spikes(convolve(self.conv2, inner), self.norm2, self.lif2, added=self.shortcut(x))


class ResNet(nn.Module):
    """The body of a spiking ResNet with global average pooling.

    ``forward``: images -> features of every step, ``(steps * n, width)``.
    """

    def __init__(self, of: BackboneDescription) -> None:
        super().__init__()
        layout = RESNETS[of.backbone]
        before, *channels = [max(1, round(c * of.width)) for c in (layout.stem, *layout.channels)]
        self.stem = Stem(before, layout.kernel, layout.stride, of)
        self.stem_pool = nn.AvgPool2d(2) if layout.pool else nn.Identity()
        blocks: list[nn.Module] = []
        for count, after, stride in zip(layout.blocks, channels, layout.strides, strict=True):
            for number in range(count):
                step = stride if number == 0 else 1
                block = SewBlock if layout.sew else BasicBlock
                blocks.append(block(before, after, step, of))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AvgPool2d(_final_size(layout, of.image_shape))
        self.flatten = nn.Flatten()
        self.width = before

    def forward(self, images: Tensor) -> Tensor:
        return self.flatten(self.pool(self.blocks(self.stem_pool(self.stem(images)))))


def _final_size(layout: ResNetLayout, image_shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of the last stage's image; ValueError where the pooling of the stem leaves nothing."""
    size = [(n - 1) // layout.stride + 1 for n in image_shape[1:]]
    if layout.pool:
        size = [n // 2 for n in size]
    if min(size) < 1:
        raise ValueError(f"an image of {image_shape[1]}x{image_shape[2]} is too small for a stem with pooling")
    for stride in layout.strides:
        size = [(n - 1) // stride + 1 for n in size]
    return size[0], size[1]
