"""SpikingJelly's tutorial networks and model zoo, narrower, on smaller images.

Residual networks and VGGs are written after their papers (the package's own need torchvision); the others are the
package's own classes where these have a width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import ann2snn, functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import ms_resnet, parametric_lif_net, spikformer, spiking_vggws_ottt
from torch import Tensor, nn

from alade_brian.verification.zoo.example import Example

STEPS = 4
Node = Callable[[], nn.Module]


def if_node() -> nn.Module:
    """Integrate-and-fire."""
    return neuron.IFNode(surrogate_function=surrogate.ATan())


def lif_node() -> nn.Module:
    """Leaky integrate-and-fire."""
    return neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan())


def plif_node() -> nn.Module:
    """Leaky integrate-and-fire with a learnt time constant."""
    return neuron.ParametricLIFNode(init_tau=2.0, surrogate_function=surrogate.ATan())


class OverSteps(nn.Module):
    """A network of several steps at once, shown a held image; its answer is the mean over the steps."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.stack([x] * STEPS)).mean(0)


class OneStep(nn.Module):
    """A network of one step in a loop, the spikes added up."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        total = self.net(x)
        for _ in range(STEPS - 1):
            total = total + self.net(x)
        return total / STEPS


class Frames(nn.Module):
    """A network of several steps at once, shown one frame for each step."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean(0)


def convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps the image's size, and its batch norm."""
    padding = size // 2
    return [layer.Conv2d(inputs, outputs, size, stride, padding, bias=False), layer.BatchNorm2d(outputs)]


def csnn() -> nn.Module:
    """The convolutional network of the tutorial on Fashion-MNIST."""
    return nn.Sequential(
        *convolution(1, 4), if_node(), layer.MaxPool2d(2, 2), *convolution(4, 4), if_node(), layer.MaxPool2d(2, 2),
        layer.Flatten(), layer.Linear(16, 16, bias=False), if_node(), layer.Linear(16, 10, bias=False), if_node(),
    )  # fmt: skip


class Residual(nn.Module):
    """A residual block: spikes are made of the sum (spiking ResNet), or two layers' spikes are joined (SEW ResNet)."""

    def __init__(self, inputs: int, outputs: int, stride: int, node: Node, join: str) -> None:
        super().__init__()
        self.first = nn.Sequential(*convolution(inputs, outputs, 3, stride), node())
        self.second = nn.Sequential(*convolution(outputs, outputs))
        self.fire, self.join = node(), join
        own = [] if join == "before" else [node()]
        changes = stride > 1 or inputs != outputs
        self.shortcut = nn.Sequential(*convolution(inputs, outputs, 1, stride), *own) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.shortcut is None else self.shortcut(x)
        if self.join == "before":
            return self.fire(self.second(self.first(x)) + identity)
        spikes = self.fire(self.second(self.first(x)))
        return {
            "ADD": lambda: identity + spikes,
            "AND": lambda: identity * spikes,
            "IAND": lambda: identity * (1.0 - spikes),
        }[self.join]()


def resnet(join: str, pool: bool = False) -> nn.Module:
    """A ResNet of two stages."""
    stem = [*convolution(3, 4, 7, 2), if_node(), *([layer.MaxPool2d(3, 2, 1)] if pool else [])]
    blocks = [Residual(4, 4, 1, if_node, join), Residual(4, 8, 2, if_node, join), Residual(8, 8, 1, if_node, join)]
    return nn.Sequential(*stem, *blocks, layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(8, 10))


def vgg(norm: bool) -> nn.Module:
    """VGG-11 without its last stage."""
    parts: list[nn.Module] = []
    inputs = 3
    for width in (4, 0, 6, 0, 8, 8, 0):
        if not width:
            parts.append(layer.MaxPool2d(2, 2))
            continue
        parts += [*convolution(inputs, width)[: 2 if norm else 1], lif_node()]
        inputs = width
    head = [layer.Flatten(), layer.Linear(8 * 4, 16), lif_node(), layer.Dropout(), layer.Linear(16, 10)]
    return nn.Sequential(*parts, layer.AdaptiveAvgPool2d((2, 2)), *head)


class Recurrent(nn.Module):
    """The tutorial on recurrent connections: a container gives a neuron its own spikes of the step before."""

    def __init__(self, container: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.net = nn.Sequential(layer.Linear(16, 12), container(lif_node()), layer.Linear(12, 10), lif_node())
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.unsqueeze(0).repeat(STEPS, 1, 1)).mean(0)


def converted(mode: Any) -> nn.Module:
    """A network with ReLU units, converted by `ann2snn`."""
    units = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 10),
    ).eval()  # fmt: skip
    loader = [(torch.rand(8, 1, 10, 10), torch.zeros(8))]
    return OneStep(ann2snn.Converter(ann2snn.RateCodingRecipe(dataloader=loader, mode=mode)).convert(units))


def membrane_resnet(kind: type[nn.Module]) -> nn.Module:
    """The package's networks with membrane shortcuts."""
    return kind(T=STEPS, num_classes=10, layers=(1, 1, 1), base_channels=4, stem_kernel_size=3, stem_stride=1)


def plif_net(kind: type[nn.Module]) -> nn.Module:
    """The package's networks with learnt time constants."""
    return kind(channels=4, spiking_neuron=neuron.ParametricLIFNode, init_tau=2.0, detach_reset=True)


def transformer() -> nn.Module:
    """The package's Spikformer for small images."""
    return spikformer.spikformer_cifar10(T=STEPS, num_classes=10)


def online() -> nn.Module:
    """The package's VGG for training online through time."""
    return OneStep(spiking_vggws_ottt.ottt_spiking_vgg11(num_classes=10))


EXAMPLES: tuple[Example, ...] = (
    Example(
        "tutorial: one dense layer of `LIFNode`",
        lambda: OneStep(nn.Sequential(layer.Flatten(), layer.Linear(36, 10, bias=False), lif_node())),
        (1, 6, 6),
    ),
    Example("tutorial: convolutional network (CSNN), several steps at once", lambda: OverSteps(csnn()), (1, 8, 8)),
    Example("tutorial: convolutional network (CSNN), step by step", lambda: OneStep(csnn()), (1, 8, 8)),
    Example(
        "tutorial: recurrent connections, `LinearRecurrentContainer`",
        lambda: Recurrent(lambda node: layer.LinearRecurrentContainer(node, 12, 12)),
        (16,),
    ),
    Example(
        "tutorial: recurrent connections, `ElementWiseRecurrentContainer`",
        lambda: Recurrent(lambda node: layer.ElementWiseRecurrentContainer(node, torch.add)),
        (16,),
    ),
    Example(
        "tutorial: stateful synapses, `SynapseFilter`",
        lambda: OverSteps(
            nn.Sequential(
                layer.Linear(16, 12), lif_node(), layer.SynapseFilter(tau=2.0), layer.Linear(12, 10), lif_node()
            )
        ),
        (16,),
    ),
    Example("tutorial: `ann2snn`, largest activation", lambda: converted("max"), (1, 10, 10)),
    Example("tutorial: `ann2snn`, 99.9th percentile", lambda: converted("99.9%"), (1, 10, 10)),
    Example("PLIF net, Fashion-MNIST", lambda: OverSteps(plif_net(parametric_lif_net.FashionMNISTNet)), (1, 28, 28)),
    Example(
        "PLIF net, DVS128 Gesture",
        lambda: Frames(plif_net(parametric_lif_net.DVSGestureNet)),
        (STEPS, 2, 128, 128),
        {"sequence": True},
    ),
    Example("spiking VGG", lambda: OverSteps(vgg(False)), (3, 16, 16)),
    Example("spiking VGG with batch norm", lambda: OverSteps(vgg(True)), (3, 16, 16)),
    Example("spiking ResNet", lambda: OverSteps(resnet("before")), (3, 16, 16)),
    Example("spiking ResNet, pooled stem", lambda: OverSteps(resnet("before", pool=True)), (3, 16, 16)),
    Example("SEW ResNet, ADD", lambda: OverSteps(resnet("ADD")), (3, 16, 16)),
    Example("SEW ResNet, AND", lambda: OverSteps(resnet("AND")), (3, 16, 16)),
    Example("SEW ResNet, IAND", lambda: OverSteps(resnet("IAND")), (3, 16, 16)),
    Example("MS ResNet", lambda: membrane_resnet(ms_resnet.MSResNet), (3, 8, 8)),
    Example("Max ResNet", lambda: membrane_resnet(ms_resnet.MaxResNet), (3, 8, 8)),
    Example("Spikformer", transformer, (3, 32, 32)),
    Example("VGG for online training (OTTT)", online, (3, 32, 32)),
)
