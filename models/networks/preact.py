"""A residual network with pre-activation blocks: the shortcut carries currents, not spikes.

He, Zhang, Ren, Sun, ECCV 2016 (arXiv 1603.05027), with spiking neurons in the place of its rectifiers.
"""

from __future__ import annotations

from torch import Tensor, nn

from alade_brian.models.coding import Frames, HoldCurrent
from alade_brian.models.kernels.multistep import normalised_spikes
from alade_brian.models.kernels.spike_convolution import convolve
from alade_brian.models.networks.description import BackboneDescription
from alade_brian.models.networks.stem import convolution, last_pool


class PreActBlock(nn.Module):
    """norm-neurons-conv-norm-neurons-conv, plus the shortcut: currents ``(steps * n, before, height, width)`` in,
    ``(steps * n, after, ...)`` out.

    The shortcut is the block's own current; where the shape changes, a 1x1 convolution of its first spikes.
    """

    def __init__(self, before: int, after: int, stride: int, of: BackboneDescription) -> None:
        super().__init__()
        self.norm1 = _norm(before, of)
        self.neuron1 = of.make_neuron()
        self.conv1, self.norm2 = convolution(before, after, 3, stride, of.norm)
        self.neuron2 = of.make_neuron()
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=of.norm == "none")
        changes = stride != 1 or before != after
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        spikes = normalised_spikes(x, self.norm1, self.neuron1)
        inner = normalised_spikes(convolve(self.conv1, spikes), self.norm2, self.neuron2)
        return convolve(self.conv2, inner) + (x if self.shortcut is None else convolve(self.shortcut, spikes))


class PreActNet(nn.Module):
    """A convolution, a pre-activation block per stage, a last norm and neurons, average pooling.

    `channels` and `strides` of the description are those of the stages; the first convolution has the channels of the
    first stage. ``forward``: images -> features of every step, ``(steps * n, width)``.
    """

    def __init__(self, of: BackboneDescription) -> None:
        super().__init__()
        self.conv = nn.Conv2d(of.image_shape[0], of.channels[0], 3, 1, 1, bias=of.norm == "none")
        self.frames = Frames() if of.sequence else None
        self.hold = None if of.sequence else HoldCurrent(of.steps)
        before = (of.channels[0], *of.channels)
        self.blocks = nn.Sequential(
            *(PreActBlock(a, b, s, of) for a, b, s in zip(before, of.channels, of.strides, strict=False))
        )
        self.norm = _norm(of.channels[-1], of)
        self.neuron = of.make_neuron()
        self.pool, self.width = last_pool(of)
        self.flatten = nn.Flatten()

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images) if self.frames is None else convolve(self.conv, self.frames(images))
        x = self.blocks(x if self.hold is None else self.hold(x))
        return self.flatten(self.pool(normalised_spikes(x, self.norm, self.neuron)))


def _norm(channels: int, of: BackboneDescription) -> nn.Module:
    return nn.BatchNorm2d(channels) if of.norm == "batch" else nn.Identity()
