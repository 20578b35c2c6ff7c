"""A state that another framework's forward resets or sets between steps is refused; before the first step it is fine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from test_frameworks import STEPS, assert_spikes_agree, images, random_
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.refusals import RefusedLayers


class Resets(nn.Module):
    """Hidden states, and something done to them before some steps."""

    def __init__(self, neurons: Sequence[nn.Module], change: Callable[[Resets], Any], before: Sequence[int]) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(20, 30), nn.Linear(30, 5)
        self.lif1, self.lif2 = neurons
        self.change, self.before = change, before
        random_(self)

    def forward(self, x: Tensor) -> Tensor:
        spikes = []
        for step in range(STEPS):
            if step in self.before:
                self.change(self)
            spikes.append(self.lif2(self.fc2(self.lif1(self.fc1(x)))))
        if STEPS in self.before:
            self.change(self)
        return torch.stack(spikes)


def reset_by_class(net: nn.Module) -> None:
    from snntorch import utils

    utils.reset(net)


def reset_net(net: nn.Module) -> None:
    from spikingjelly.activation_based import functional

    functional.reset_net(net)


def clear(net: Resets) -> None:
    net.lif1.mem = torch.zeros_like(net.lif1.mem)  # type: ignore[arg-type]


CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a neuron's own": ("snntorch", lambda net: net.lif1.reset_mem()),
    "under its older name": ("snntorch", lambda net: net.lif2.init_leaky()),
    "of all snnTorch neurons": ("snntorch", reset_by_class),
    "of a class": ("snntorch", lambda net: type(net.lif1).reset_hidden()),
    "the membrane set": ("snntorch", clear),
    "the membrane cleared in its place": ("snntorch", lambda net: net.lif1.mem.zero_()),
    "of a SpikingJelly network": ("spikingjelly", reset_net),
    "of one SpikingJelly neuron": ("spikingjelly", lambda net: net.lif2.reset()),
    "a SpikingJelly membrane set": ("spikingjelly", lambda net: setattr(net.lif1, "v", 0.0)),
}


def hidden(framework: str) -> list[nn.Module]:
    if framework == "snntorch":
        snn = pytest.importorskip("snntorch")
        snn.Leaky.instances.clear()  # snnTorch resets all neurons of the process, and fails at some classes
        return [snn.Leaky(0.9, init_hidden=True), snn.Leaky(0.8, init_hidden=True, threshold=0.5)]
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    return [neuron.IFNode(), neuron.IFNode(v_threshold=0.5)]


@pytest.mark.parametrize("name", CHANGES)
def test_a_reset_between_steps_is_refused_with_its_place(name: str) -> None:
    framework, change = CHANGES[name]
    words = r"lif. \(\w+\): state = of the neurons is reset or changed before step 3 \(test_foreign_resets.py, line"
    with pytest.raises(RefusedLayers, match=words):
        convert(Resets(hidden(framework), change, [3]), (20,))
    with pytest.raises(RefusedLayers, match="before step 1 "):
        convert(Resets(hidden(framework), change, range(STEPS)), (20,))
    assert_spikes_agree(Resets(hidden(framework), change, [0, STEPS]), images(20))


def test_a_state_that_does_not_begin_at_rest_is_refused() -> None:
    with pytest.raises(RefusedLayers, match="something other than rest before the first step"):
        convert(Resets(hidden("spikingjelly"), lambda net: setattr(net.lif1, "v", 0.5), [0]), (20,))
    resting = pytest.importorskip("spikingjelly.activation_based.neuron").IFNode(v_reset=0.1)
    neurons = [resting, hidden("spikingjelly")[1]]
    assert_spikes_agree(Resets(neurons, lambda net: setattr(net.lif1, "v", 0.1), [0]), images(20))


def test_watching_leaves_the_frameworks_as_they_were() -> None:
    snn = pytest.importorskip("snntorch")
    before = dict(vars(snn.Leaky))
    model = Resets(hidden("snntorch"), lambda net: None, [])
    convert(model, (20,))
    assert dict(vars(snn.Leaky)) == before and "reset_mem" not in vars(model.lif1)
