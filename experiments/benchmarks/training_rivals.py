"""Who competes in `benchmark.py training`: the same network, written as its users write it for each library.

Convolutions 1-32-64-128 (3x3, strides 1, 2, 2) with batch norm, leaky integrate-and-fire neurons with the triangle as
surrogate gradient and a reset to zero, a linear readout of the mean spikes; images of 28x28, 4 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from alade_brian.benchmarks.network import CHANNELS, CLASSES, DECAY, SIZE, STEPS, STRIDES, THRESHOLD
from alade_brian.models import ExpandableNetwork, make_backbone
from alade_brian.models.kernels.kernels import reuse_freed_memory
from alade_brian.models.neurons.surrogate import triangle_spike

DESCRIPTION = (
    "conv 1-32-64-128, 3x3, padding 1, strides 1 2 2, batch norm, images 28x28, LIF decay 0.5, threshold 1, reset to "
    "0, triangle surrogate, 4 steps, linear readout of the mean spikes to 10 classes; SGD with momentum"
)
PIXELS = SIZE // 4 * (SIZE // 4)


def ours() -> nn.Module:
    """This project's network of one extractor."""
    reuse_freed_memory()
    network = ExpandableNetwork(
        lambda: make_backbone(
            "small",
            (1, SIZE, SIZE),
            channels=CHANNELS[1:],
            strides=STRIDES,
            pool=1,
            steps=STEPS,
            decay=DECAY,
            threshold=THRESHOLD,
        ),
        STEPS,
    )
    network.add_extractor()
    network.set_classifier(CLASSES)
    return network


def layers() -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions with their norms."""
    return [
        (nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
        for before, after, stride in zip(CHANNELS, CHANNELS[1:], STRIDES, strict=False)
    ]


class Staged(nn.Module):
    """Convolutions with their norms, and the readout; the neurons between them are others' business."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(*pair) for pair in layers())
        self.readout = nn.Linear(CHANNELS[-1] * PIXELS, CLASSES, bias=False)


class Loop(Staged):
    """Step by step through all layers; torch's automatic gradient. The first convolution is computed once."""

    def forward(self, images: Tensor) -> Tensor:
        held = self.stages[0](images)
        kept: list[Tensor | None] = [None] * len(self.stages)
        sums = torch.zeros(())
        for _ in range(STEPS):
            spikes = held
            for number, stage in enumerate(self.stages):
                current = held if number == 0 else stage(spikes)
                before = kept[number]
                v = current if before is None else DECAY * before + current
                spikes = triangle_spike(v - THRESHOLD)
                kept[number] = v * (1 - spikes)
            sums = sums + spikes
        return self.readout(sums.flatten(1) / STEPS)


class Folded(Staged):
    """Layer by layer: all steps of a layer go through convolution and norm together, the neurons loop."""

    def forward(self, images: Tensor) -> Tensor:
        held = self.stages[0](images)
        spikes = self._neurons([held] * STEPS)
        for stage in list(self.stages)[1:]:
            spikes = self._neurons(list(stage(torch.cat(spikes)).chunk(STEPS)))
        return self.readout(torch.stack(spikes).mean(0).flatten(1))

    @staticmethod
    def _neurons(currents: list[Tensor]) -> list[Tensor]:
        v, found = torch.zeros(()), []
        for current in currents:
            v = DECAY * v + current
            found.append(triangle_spike(v - THRESHOLD))
            v = v * (1 - found[-1])
        return found


def snntorch_network() -> nn.Module:
    """snnTorch: its neurons in a loop over the steps."""
    import snntorch
    from snntorch import surrogate

    class SnnTorchNetwork(Staged):
        def __init__(self) -> None:
            super().__init__()
            self.neurons = nn.ModuleList(
                snntorch.Leaky(
                    DECAY, THRESHOLD, spike_grad=surrogate.triangular(), reset_mechanism="zero", reset_delay=False
                )
                for _ in STRIDES
            )

        def forward(self, images: Tensor) -> Tensor:
            held = self.stages[0](images)
            kept = [cast(Any, neuron).reset_mem() for neuron in self.neurons]
            sums = torch.zeros(())
            for _ in range(STEPS):
                spikes = held
                for number, (stage, neuron) in enumerate(zip(self.stages, self.neurons, strict=True)):
                    current = held if number == 0 else stage(spikes)
                    spikes, kept[number] = neuron(current, kept[number])
                sums = sums + spikes
            return self.readout(sums.flatten(1) / STEPS)

    return SnnTorchNetwork()


def spikingjelly_network() -> nn.Module:
    """SpikingJelly: its multi-step mode, which passes all steps through a layer together."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    class SpikingJellyNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(*layers()[0])
            parts: list[nn.Module] = [self._lif()]
            for conv, norm in layers()[1:]:
                parts += [layer.SeqToANNContainer(conv, norm), self._lif()]
            self.rest = nn.Sequential(*parts)
            self.readout = nn.Linear(CHANNELS[-1] * PIXELS, CLASSES, bias=False)

        @staticmethod
        def _lif() -> nn.Module:
            return neuron.LIFNode(
                tau=1 / (1 - DECAY), decay_input=False, v_threshold=THRESHOLD, v_reset=0.0,
                surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0), step_mode="m",
            )  # fmt: skip

        def forward(self, images: Tensor) -> Tensor:
            functional.reset_net(self)
            held = self.first(images)
            spikes = self.rest(held.unsqueeze(0).expand(STEPS, *held.shape))
            return self.readout(spikes.mean(0).flatten(1))

    return SpikingJellyNetwork()


def compiled() -> nn.Module:
    """`Folded` through torch.compile."""
    return torch.compile(Folded())  # type: ignore[return-value]


RIVALS: Mapping[str, Callable[[], nn.Module]] = {
    "ours": ours,
    "loop": Loop,
    "folded": Folded,
    "snntorch": snntorch_network,
    "spikingjelly": spikingjelly_network,
    "compiled": compiled,
}
