"""A residual network whose shortcuts carry spikes: what leaves a block is the sum of two layers' spikes.

Source: Fang, Yu, Chen, Huang, Masquelier, Tian, "Deep residual learning in spiking neural networks", NeurIPS 2021
(arXiv 2102.04159): spike-element-wise addition.
"""

from __future__ import annotations

from torch import Tensor, nn

from alade_brian.models.kernels.multistep import normalised_spikes
from alade_brian.models.kernels.spike_convolution import convolve
from alade_brian.models.networks.description import BackboneDescription
from alade_brian.models.networks.stem import ConvolutionStage, Stem, convolution, pooled_end


class SewBlock(nn.Module):
    """conv-norm-neurons-conv-norm-neurons, and behind them the shortcut is added: spikes ``(steps * n, before, height,
    width)`` in, sums of spikes ``(steps * n, after, ...)`` out.

    The shortcut is what came in; where the shape changes, a 1x1 convolution of it with norm and neurons of its own.
    """

    def __init__(self, before: int, after: int, stride: int, of: BackboneDescription) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(before, after, 3, stride, of.norm)
        self.neuron1 = of.make_neuron()
        self.conv2, self.norm2 = convolution(after, after, 3, 1, of.norm)
        self.neuron2 = of.make_neuron()
        changes = stride != 1 or before != after
        self.shortcut = ConvolutionStage(before, after, 1, stride, of) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = normalised_spikes(convolve(self.conv1, x), self.norm1, self.neuron1)
        return normalised_spikes(convolve(self.conv2, inner), self.norm2, self.neuron2) + self.shortcut(x)


class SewNet(nn.Module):
    """A stem, then a block with spike-element-wise addition per stage, and average pooling.

    `channels` and `strides` of the description: first those of the stem, then those of the blocks. ``forward``: images
    -> features of every step, ``(steps * n, width)``.
    """

    def __init__(self, of: BackboneDescription) -> None:
        super().__init__()
        end = pooled_end(of)
        self.stem = Stem(of.channels[0], 3, of.strides[0], of)
        pairs = zip(of.channels, of.channels[1:], of.strides[1:], strict=False)
        self.blocks = nn.Sequential(*(SewBlock(before, after, stride, of) for before, after, stride in pairs))
        self.pool, self.flatten, self.width = end

    def forward(self, images: Tensor) -> Tensor:
        return self.flatten(self.pool(self.blocks(self.stem(images))))
