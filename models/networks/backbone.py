"""Feature extractors by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from alade_brian import plugins
from alade_brian.models.networks.description import BackboneDescription
from alade_brian.models.networks.latency import LatencyNet
from alade_brian.models.networks.preact import PreActNet
from alade_brian.models.networks.resnet import RESNETS, ResNet
from alade_brian.models.networks.sew import SewNet
from alade_brian.models.networks.stem import ConvolutionStage, Stem, pooled_end
from alade_brian.models.networks.tandem import TandemNet
from alade_brian.registry import Registry


class ConvBackbone(nn.Module):
    """A small spiking convolutional net: per stage 3x3 convolution, norm, neurons; at the end average pooling.

    ``forward``: images ``(n, C, H, W)`` -> features of every step, ``(steps * n, width)``.
    """

    def __init__(self, of: BackboneDescription) -> None:
        super().__init__()
        end = pooled_end(of)
        channels, strides = of.channels, of.strides
        stages: list[nn.Module] = [Stem(channels[0], 3, strides[0], of)]
        for before, width, stride in zip(channels, channels[1:], strides[1:], strict=False):
            stages.append(ConvolutionStage(before, width, 3, stride, of))
        self.stages = nn.ModuleList(stages)
        self.pool, self.flatten, self.width = end

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for stage in self.stages:
            x = stage(x)
        return self.flatten(self.pool(x))


# Gives a module with a `width`, the number of its features, whose forward takes images ``(n, C, H, W)`` and gives the
# features of every step, ``(steps * n, width)``.
MakeBackbone = Callable[[BackboneDescription], nn.Module]

BACKBONES: Registry[str, MakeBackbone] = Registry(
    "backbone",
    {
        "small": ConvBackbone,
        "preact": PreActNet,
        "sew": SewNet,
        "tandem": TandemNet,
        "latency": LatencyNet,
        **dict.fromkeys(RESNETS, ResNet),
    },
    also=(plugins.FORM,),
)


def make_backbone(name: str, image_shape: tuple[int, int, int], **numbers: Any) -> nn.Module:
    """An extractor by name: `small` (see `ConvBackbone`), `preact` (see `PreActNet`), `sew` (see `SewNet`), `tandem`
    (see `TandemNet`), `latency` (see `LatencyNet`), one of `RESNETS` (see `ResNet`), or one of a plug-in's file.

    numbers   see `BackboneDescription`
    UserError if there is none of that name; ValueError if the images are too small or the neuron cannot be made.
    """
    return build_backbone(BackboneDescription(image_shape, name, **numbers))


def build_backbone(of: BackboneDescription) -> nn.Module:
    """The extractor of a description; errors as of `make_backbone`."""
    if of.hidden and of.backbone in BACKBONES and of.backbone != "tandem":
        raise ValueError(f"hidden layers {list(of.hidden)}: the backbone '{of.backbone}' has none; use 'tandem'")
    return plugins.find(BACKBONES, of.backbone)(of)
