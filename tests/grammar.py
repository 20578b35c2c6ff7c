"""Random networks over the whole grammar of layers, neurons and readouts, as a hypothesis strategy.

All numbers are dyadic, and a count of binary places is kept, so that every sum is exact in float64: then both networks
must agree to the last bit, at the threshold too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from networks import dyadic_
from torch import Tensor, nn

from alade_brian.models import (
    IF,
    LI,
    LIF,
    AdaptiveLIF,
    Alpha,
    CubaLI,
    CubaLIF,
    EveryStep,
    FirstSpike,
    HoldCurrent,
    I,
    LastStep,
    MaxOverSteps,
    MeanOverSteps,
    Neuron,
    PopulationVote,
    Recurrent,
    Scale,
    SumOverSteps,
    SumPool1d,
    SumPool2d,
    Synaptic,
)

Shape = tuple[int, ...]

# Binary places behind the point that linear layers may reach, and neurons behind them: float64 has 53 in all.
LINEAR_PLACES, NEURON_PLACES = 26, 44
LARGEST = 108


@dataclass(frozen=True)
class Signal:
    """What flows between layers: its shape, whether it is spikes whose maximum is their OR, and its binary places."""

    shape: Shape
    spikes: bool
    places: int


class RandomBlock(nn.Module):
    """Linear layers into neurons; a ``residual`` block adds its input to theirs, a ``wide`` one puts it beside its
    output, ``again`` passes the layers twice, and a ``product`` multiplies its spikes with those that came in."""

    def __init__(self, layers: list[nn.Module], neuron: nn.Module, merge: str) -> None:
        super().__init__()
        self.layers, self.neuron, self.merge = nn.Sequential(*layers), neuron, merge

    def forward(self, x: Tensor) -> Tensor:
        if self.merge == "residual":
            return self.neuron(self.layers(x) + x)
        if self.merge == "again":
            return self.neuron(torch.sub(self.layers(self.layers(x)), 0.5))
        if self.merge == "product":
            return self.neuron(self.layers(x)) * x.view(x.size(0), *x.shape[1:])
        return torch.cat([self.neuron(self.layers(x)), x], 1) if self.merge == "wide" else self.neuron(self.layers(x))


class Grower:
    """Draws a network layer by layer and keeps track of what flows.

    Size is hypothesis's own choice, so that it can look for a smaller network; the rest comes from a random generator,
    which varies it more than hypothesis would.
    """

    def __init__(self, steps: int, seed: int) -> None:
        self.steps, self.random = steps, np.random.default_rng(seed)

    def one(self, *options: Any) -> Any:
        return options[self.random.integers(len(options))]

    def upto(self, first: int, last: int) -> int:
        return int(self.random.integers(first, last + 1))

    def coin(self) -> bool:
        return bool(self.random.integers(2))

    def constant(self, shape: Shape, *options: float) -> float | Tensor:
        """One of the options for all neurons, or one per channel or neuron, perhaps learned."""
        kind = self.one("number", "number", "number", "channel", "neuron", "learned")
        if kind == "number":
            return float(self.one(*options))
        size = (shape[0], *[1] * (len(shape) - 1)) if kind == "channel" else shape if kind == "neuron" else ()
        values = torch.from_numpy(np.asarray(self.random.choice(options, size)))
        return nn.Parameter(values) if kind == "learned" else values

    # Layers

    def linear(self, signal: Signal, keeps_shape: bool = False) -> tuple[list[nn.Module], Signal]:
        """Some linear layers, and the maximum of spikes or of currents among them, that fit the signal."""
        layers: list[nn.Module] = []
        kinds = ["norm", "scale", "weights"]
        if not keeps_shape:
            kinds += ["weights", "weights", "pool", "pool", "axes"]
        drawn = [self.one(*kinds) for _ in range(self.upto(1, 4))]
        if not keeps_shape and self.coin():
            # Right behind neurons it is their spikes' OR.
            drawn.insert(0 if signal.spikes else self.upto(0, len(drawn)), "maximum")
        for kind in drawn:
            layer = self._layer(kind, signal, keeps_shape)
            after = None if layer is None else _after(layer, signal)
            if layer is not None and after is not None and not (keeps_shape and after.shape != signal.shape):
                layers.append(layer)
                signal = after
        return layers, signal

    def _layer(self, kind: str, signal: Signal, keeps_shape: bool) -> nn.Module | None:
        shape = signal.shape
        if kind == "norm":
            norm = nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])
            norm.eps = 0.0
            return norm
        if kind == "scale":
            return Scale(self.constant(shape, 0.5, 1.5, 2.0, -1.0))
        if kind == "axes":
            return nn.Flatten() if len(shape) > 1 and self.one(True, False, False) else self._unflattened(shape)
        if kind in ("pool", "maximum"):
            return self._pool(shape, kind == "maximum")
        return self._weights(shape, keeps_shape)

    def _unflattened(self, shape: Shape) -> nn.Module | None:
        if len(shape) != 1 or shape[0] % 4:
            return None
        return nn.Unflatten(1, self.one((shape[0] // 4, 2, 2), (2, shape[0] // 2), (shape[0] // 4, 1, 4)))

    def _pool(self, shape: Shape, maximum: bool) -> nn.Module | None:
        if len(shape) == 2:
            options = [
                nn.AvgPool1d(2),
                nn.AvgPool1d(2, 1, 1),
                SumPool1d(3, 2),
                nn.AdaptiveAvgPool1d(max(1, shape[1] // 2) if shape[1] % 2 == 0 else shape[1]),
            ]
            largest_of_line = [nn.MaxPool1d(2), nn.MaxPool1d(3, 1, 1), nn.MaxPool1d(2, 2, ceil_mode=True)]
            return self.one(*largest_of_line) if maximum else self.one(*options)
        if len(shape) == 3:
            largest = [
                nn.MaxPool2d(2),
                nn.MaxPool2d(2, 1),
                nn.MaxPool2d(3, 2, 1),
                nn.MaxPool2d((1, 2), dilation=(1, 2)),
                nn.MaxPool2d((2, 3), (2, 1), (1, 1), ceil_mode=True),
                nn.AdaptiveMaxPool2d(tuple(n // 2 if n % 2 == 0 else None for n in shape[1:])),
            ]
            means = [
                nn.AvgPool2d(2),
                nn.AvgPool2d(2, 1),
                nn.AvgPool2d((2, 1), padding=(1, 0)),
                nn.AvgPool2d(3, 2, divisor_override=8),
                nn.AdaptiveAvgPool2d(tuple(n // 2 if n % 2 == 0 else None for n in shape[1:])),
            ]
            sums = [SumPool2d(2), SumPool2d((1, 3), 2, (0, 1))]
            return self.one(*largest) if maximum else self.one(*means, *sums)
        return None

    def _weights(self, shape: Shape, keeps_shape: bool) -> nn.Module:
        bias = self.coin()
        if len(shape) == 1:
            return nn.Linear(shape[0], shape[0] if keeps_shape else self.one(4, 6, 8, 4, 6, 8, 1), bias)
        axes = len(shape) - 1
        outputs = shape[0] if keeps_shape else self.upto(1, 4)
        groups = shape[0] if outputs % shape[0] == 0 and self.coin() else 1
        size = tuple(self.upto(1, 3) for _ in range(axes))
        if keeps_shape or self.one(True, False, False):
            conv = nn.Conv1d if axes == 1 else nn.Conv2d
            return conv(shape[0], outputs, size, padding="same", groups=groups, bias=bias)
        stride = tuple(self.upto(1, 2) for _ in range(axes))
        padding = tuple(self.upto(0, 1) for _ in range(axes))
        dilation = self.one(1, 1, 2)
        if self.coin():
            upward = nn.ConvTranspose1d if axes == 1 else nn.ConvTranspose2d
            more = tuple(s - 1 for s in stride)
            return upward(shape[0], outputs, size, stride, padding, more, groups, bias, dilation)
        conv = nn.Conv1d if axes == 1 else nn.Conv2d
        return conv(shape[0], outputs, size, stride, padding, dilation, groups, bias)

    # Neurons

    def neuron(self, signal: Signal, passive: bool | None = None) -> tuple[nn.Module, Signal]:
        """A layer of neurons of any class, perhaps recurrent, and what it sends."""
        options = [LIF, LIF, IF, CubaLIF, Synaptic, Alpha, AdaptiveLIF] if not passive else []
        options += [] if passive is False else [LI, I, CubaLI]
        cls = self.one(*options)
        keywords, places = self._keywords(cls, signal.shape)
        neuron: Neuron = cls(self.steps, **keywords)
        amplitude = torch.as_tensor(keywords.get("amplitude", 1.0))
        channel = amplitude.expand(signal.shape).reshape(signal.shape[0], -1)
        whole = neuron.spiking and bool((channel > 0).all() and (channel == channel[:, :1]).all())
        sent = Signal(signal.shape, whole, 1 if neuron.spiking else signal.places + places)
        if signal.places + places > NEURON_PLACES:
            return IF(self.steps, threshold=0.5), Signal(signal.shape, True, 0)
        return (self._recurrent(neuron, sent) if self.one(True, False, False) else neuron), sent

    def _keywords(self, cls: type[Neuron], shape: Shape) -> tuple[dict, int]:
        """Constants and conventions, and how many binary places the dynamics add."""
        keywords: dict = {"v_initial": self.constant(shape, 0.0, 0.0, 0.25, -0.5)}
        places = 2
        if cls not in (IF, I):
            # The gain of Alpha is dyadic for the decays 0.5 and 0.25 only, whose Euler steps are not.
            keywords["method"] = "exact" if cls is Alpha else self.one("exact", "euler")
            places += self._decays(cls, shape, keywords)
        if cls not in (IF, I, Synaptic):
            keywords["scale_input"] = self.one(False, False, True)
        if cls.spiking:
            keywords |= self._conventions(shape)
        return keywords, places

    def _decays(self, cls: type[Neuron], shape: Shape, keywords: dict) -> int:
        names = {
            Synaptic: ("alpha", "beta"),
            Alpha: ("alpha", "beta"),
            AdaptiveLIF: ("decay", "adaptation_decay"),
            CubaLIF: ("decay", "syn_decay"),
            CubaLI: ("decay", "syn_decay"),
        }.get(cls, ("decay",))
        values = (0.5, 0.25) if keywords["method"] == "exact" else (0.5, 0.75)
        for name in names:
            keywords[name] = self.constant(shape, *values)
        if cls is Alpha:
            alpha = keywords["alpha"]
            keywords["beta"] = 0.75 - (alpha.detach() if isinstance(alpha, Tensor) else alpha)
        if cls is AdaptiveLIF:
            keywords["jump"] = self.constant(shape, 0.25, 0.5)
        return 2 * self.steps * (1 if cls in (LIF, LI, AdaptiveLIF) else 2) + 2

    def _conventions(self, shape: Shape) -> dict:
        rules = ("value", 0.0), ("value", -0.25), ("value", 0.25), ("subtract", 0.5), ("subtract", 0.75), ("none", 0.0)
        reset, v_reset = self.one(*rules)
        return {
            "threshold": self.constant(shape, 0.125, 0.25, 0.75),
            "comparison": self.one(">", ">="),
            "leak": self.one("after_reset", "before_reset"),
            "reset": reset,
            "v_reset": v_reset if self.coin() else self.constant(shape, v_reset, v_reset + 0.25),
            "amplitude": self.constant(shape, 1.0, 1.0, 0.5, 1.5) if self.coin() else self.one(1.0, -1.0),
        }

    def _recurrent(self, neuron: Neuron, sent: Signal) -> nn.Module:
        shape = sent.shape
        if not neuron.spiking:
            return Recurrent(neuron, Scale(0.5)) if sent.places + self.steps < NEURON_PLACES else neuron
        everywhere = nn.Linear(prod(shape), prod(shape), bias=self.coin()) if len(shape) == 1 else None
        local = nn.Conv2d(shape[0], shape[0], 3, padding=1, bias=self.coin()) if len(shape) == 3 else None
        one_to_one = Scale(self.constant(shape, 0.5, -0.5, 1.0))
        return Recurrent(neuron, self.one(one_to_one, everywhere or local or one_to_one))

    # Blocks and readouts

    def block(self, signal: Signal) -> tuple[RandomBlock, Signal]:
        """Linear layers into neurons, and what comes out."""
        merge = self.one("plain", "plain", "residual", "wide", "again", "product" if signal.spikes else "plain")
        layers, made = self.linear(signal, keeps_shape=merge != "plain")
        if merge == "again":
            twice: Signal | None = made
            for layer in layers:
                twice = None if twice is None else _after(layer, twice)
            merge, made = ("again", twice) if twice is not None else ("plain", made)
        if merge == "residual":
            made = replace(made, places=max(made.places, signal.places))
        neuron, sent = self.neuron(made, passive=False if merge == "product" else None)
        if merge == "product":
            sent = Signal(sent.shape, sent.spikes and signal.spikes, sent.places + signal.places)
        if merge == "wide":
            wide = (sent.shape[0] + signal.shape[0], *signal.shape[1:])
            sent = Signal(wide, sent.spikes and signal.spikes, max(sent.places, signal.places))
        return RandomBlock(layers, neuron, merge), sent

    def readout(self, signal: Signal) -> list[nn.Module]:
        """The last layers: any way to read an answer."""
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(prod(signal.shape), 6, bias=self.coin())]
        after = Signal((6,), False, signal.places + 6)
        kind = self.one("logits", "membranes", "spikes")
        if kind == "logits":
            over = self.one(MeanOverSteps, SumOverSteps, LastStep, MaxOverSteps, EveryStep)
        else:
            neuron, sent = self.neuron(after, passive=kind == "membranes")
            layers.append(neuron)
            over = self.one(MeanOverSteps, SumOverSteps, LastStep, MaxOverSteps, EveryStep)
            if sent.places <= 1:  # spikes
                over = self.one(MeanOverSteps, SumOverSteps, LastStep, FirstSpike, EveryStep)
        layers.append(over(self.steps, decision=self.one("class", "value")))
        if self.coin():
            counts = over is SumOverSteps and kind != "logits" and sent.places <= 1
            layers.append(PopulationVote(self.one(2, 3), average=not counts))
        return layers


def _after(layer: nn.Module, signal: Signal) -> Signal | None:
    """What a layer makes of a signal; None where it does not fit, or makes too many neurons or binary places."""
    try:
        with torch.no_grad():
            shape = tuple(layer.eval().double()(torch.zeros(1, *signal.shape, dtype=torch.float64)).shape[1:])
    except RuntimeError:
        return None
    maximum = isinstance(layer, nn.MaxPool1d | nn.MaxPool2d | nn.AdaptiveMaxPool2d)
    changes_nothing = maximum or isinstance(layer, nn.Flatten | nn.Unflatten)
    more = 0 if changes_nothing else 7 if isinstance(layer, nn.modules.batchnorm._BatchNorm) else 6
    places = max(signal.places + more, 20 if more == 7 else 0)
    if prod(shape) > LARGEST or min(shape, default=0) < 1 or places > LINEAR_PLACES:
        return None
    return Signal(shape, signal.spikes and changes_nothing, places)


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, Shape]:
    """A network in eval mode, float64, and the shape of its images."""
    axes, size = draw(st.sampled_from([3, 2, 1])), st.integers(3, 5)
    image = (
        (draw(st.integers(3, 9)),) if axes == 1 else (draw(st.integers(1, 2)), *(draw(size) for _ in range(axes - 1)))
    )
    seed = draw(st.integers(0, 2**32 - 1))
    grow = Grower(draw(st.integers(2, 5)), seed)
    signal = Signal(image, False, 4)
    parts, signal = grow.linear(signal) if grow.coin() else ([], signal)
    parts.insert(grow.upto(0, len(parts)), HoldCurrent(grow.steps))
    neuron, signal = grow.neuron(signal)
    parts.append(neuron)
    for _ in range(draw(st.sampled_from([2, 1, 3, 0, 4]))):
        block, signal = grow.block(signal)
        parts.append(block)
    net = dyadic_(nn.Sequential(*parts, *grow.readout(signal)).double(), seed)
    for module in net.modules():
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.data.abs_()  # so that few layers are silent
    return net, image
