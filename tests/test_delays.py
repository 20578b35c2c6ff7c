"""Delays as layers: of spikes, of currents and of images, and weighted sums of them, step by step as SpikingJelly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from networks import assert_same
from test_frameworks import images, random_
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.refusals import RefusedLayers

layer = pytest.importorskip("spikingjelly.activation_based.layer")
neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
functional = pytest.importorskip("spikingjelly.activation_based.functional")
STEPS = 7


class Interpolated(nn.Module):
    """A delay between two whole numbers of steps: what is linear between them, as learned delays have it."""

    def __init__(self, steps: int, part: float) -> None:
        super().__init__()
        self.early, self.late, self.part = layer.Delay(steps), layer.Delay(steps + 1), part

    def forward(self, x: Tensor) -> Tensor:
        return (1 - self.part) * self.early(x) + self.part * self.late(x)


def lif() -> nn.Module:
    return neuron.LIFNode(2.0, v_threshold=0.4)


BETWEEN: dict[str, Callable[[], list[nn.Module]]] = {
    "of spikes": lambda: [layer.Delay(2), layer.Linear(12, 8)],
    "of no step": lambda: [layer.Delay(0), layer.Linear(12, 8)],
    "of currents without bias": lambda: [layer.Linear(12, 8, bias=False), layer.Delay(3)],
    "of currents with a bias": lambda: [layer.Linear(12, 8), layer.Delay(2)],
    "beyond the presentation": lambda: [layer.Linear(12, 8), layer.Delay(STEPS - 1), layer.Linear(8, 8)],
    "one behind the other": lambda: [layer.Delay(1), layer.Linear(12, 8), layer.Delay(2)],
    "between two steps": lambda: [Interpolated(1, 0.3), layer.Linear(12, 8)],
    "of currents between two steps": lambda: [layer.Linear(12, 8), Interpolated(0, 0.75)],
}


def network(between: list[nn.Module], mode: str) -> nn.Module:
    net = random_(
        nn.Sequential(layer.Linear(6, 12), lif(), *between, neuron.IFNode(v_threshold=0.3), layer.Linear(8, 3))
    )
    functional.set_step_mode(net, mode)
    return net


class OverASequence(nn.Module):
    """The steps are the first axis of what comes in."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean(0)


# An image that is held, and shown in a loop outside.
SINGLE = ("of spikes", "of currents with a bias", "between two steps")


@pytest.mark.parametrize(("case", "mode"), [*((c, "m") for c in BETWEEN), *((c, "s") for c in SINGLE)])
def test_delays_are_those_of_spikingjelly(case: str, mode: str) -> None:
    """Of a sequence whose steps are an axis, or of an image that is held and shown in a loop outside."""
    net = network(BETWEEN[case](), mode)
    whole = OverASequence(net) if mode == "m" else net
    spec = convert(whole, (6,), steps=STEPS, sequence=mode == "m")
    assert_same(whole, images(STEPS, 6) if mode == "m" else images(6), spec=spec)


@pytest.mark.parametrize("sequence", [True, False])
def test_what_is_shown_can_be_delayed(sequence: bool) -> None:
    net = random_(nn.Sequential(layer.Delay(2), layer.Linear(6, 12), lif(), layer.Linear(12, 3)))
    functional.set_step_mode(net, "m" if sequence else "s")
    whole = OverASequence(net) if sequence else net
    spec = convert(whole, (6,), steps=STEPS, sequence=sequence)
    assert_same(whole, images(STEPS, 6) if sequence else images(6), spec=spec)


def test_a_delay_of_spikes_is_the_projections_own() -> None:
    spec = convert(network(BETWEEN["of spikes"](), "s"), (6,), steps=STEPS)
    assert {(p.source, p.delay) for p in spec.projections} == {("image", 0), ("1", 2), ("4", 0)}
    taps = convert(network([Interpolated(1, 0.25), layer.Linear(12, 8)], "s"), (6,), steps=STEPS)
    weights = {p.delay: p.operator.values() for p in taps.inputs("4")}
    np.testing.assert_allclose(weights[1], 3 * weights[2])


class Twice(nn.Module):
    """A delay that is given two signals in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.late, self.lif = nn.Linear(6, 6), layer.Delay(1), lif()

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(self.late(self.fc(x)) + self.late(x))


def test_a_delay_that_means_something_else_is_refused() -> None:
    """Of two signals, of steps that it takes for images, and of one step where it expects all."""
    with pytest.raises(RefusedLayers, match="holds one signal and is given two"):
        convert(Twice(), (6,), steps=4)
    folded = layer.SeqToANNContainer(layer.Delay(1), nn.Linear(6, 6))
    for delay, words in ((folded, "put the delay behind the container"), (layer.Delay(1), "use step_mode='m'")):
        net = OverASequence(nn.Sequential(delay, neuron.IFNode(step_mode="m")))
        with pytest.raises(RefusedLayers, match=words):
            convert(net, (6,), steps=4, sequence=True)
    with pytest.raises(RefusedLayers, match="use step_mode='s'"):
        convert(nn.Sequential(layer.Delay(1, step_mode="m"), lif()), (6,), steps=4)
