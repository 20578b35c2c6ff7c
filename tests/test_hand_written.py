"""Neurons that users write by hand, as one step of a module, against the module itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import NUMPY
from test_frameworks import STEPS, images, random_
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.verification.verify import verify

NEURONS = 6
State = tuple[Tensor, Tensor]


class Surrogate(torch.autograd.Function):
    """A step with a gradient of its own, as such classes are usually written: the spikes are float32."""

    @staticmethod
    def forward(ctx, distance):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(distance)
        return (distance > 0).float()

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient * (ctx.saved_tensors[0].abs() < 1)


class ByHand(nn.Module):
    """A step that is a function of the module, its input and its state."""

    def __init__(self, step: Callable[[ByHand, Tensor, Tensor], State]) -> None:
        super().__init__()
        self.step, self.fire = step, Surrogate.apply
        self.beta = nn.Parameter(torch.linspace(0.0, 1.0, NEURONS))
        self.tau = nn.Parameter(torch.full((1, NEURONS), 2.5))

    def forward(self, current: Tensor, mem: Tensor) -> State:
        return self.step(self, current, mem)


def subtracts(self: ByHand, current: Tensor, mem: Tensor) -> State:
    mem = 0.9 * mem + current
    spikes = (mem > 1.0).to(mem.dtype)
    return spikes, mem - spikes


def to_zero(self: ByHand, current: Tensor, mem: Tensor) -> State:
    mem = self.beta.clamp(0, 1) * mem + current
    spikes = self.fire(mem - 0.8)
    return spikes, mem * (1 - spikes)


def to_a_value(self: ByHand, current: Tensor, mem: Tensor) -> State:
    """Euler's step towards a resting value; everything by torch.where."""
    mem = mem + (0.5 * current - (mem - 0.1)) / self.tau
    fired = mem >= 0.3
    return torch.where(fired, torch.ones_like(mem), torch.zeros_like(mem)), torch.where(fired, -0.2, mem)


def spikes_first(self: ByHand, current: Tensor, mem: Tensor) -> State:
    """The state is compared before the step's input arrives."""
    spikes = self.fire(mem - 1.0)
    return spikes, self.beta * mem + current - (self.beta * spikes * 1.0).detach()


def spikes_first_to_zero(self: ByHand, current: Tensor, mem: Tensor) -> State:
    spikes = self.fire(mem - 1.0)
    return spikes, 0.7 * mem * (1 - spikes) + 2 * current


def reset_in_the_next_step(self: ByHand, current: Tensor, mem: Tensor) -> State:
    reset = (mem > 0.7).float()
    mem = self.beta * mem + current - 0.7 * reset
    return self.fire(mem - 0.7), mem


def never_reset(self: ByHand, current: Tensor, mem: Tensor) -> State:
    mem = current + self.beta * mem
    return (1.0 < mem).double(), mem


FORMS = {
    each.__name__: each
    for each in (
        subtracts,
        to_zero,
        to_a_value,
        spikes_first,
        spikes_first_to_zero,
        reset_in_the_next_step,
        never_reset,
    )
}


class Looped(nn.Module):
    """A loop that begins with zeros, or with the number 0."""

    def __init__(self, neuron: nn.Module, zero: bool = False, membranes: bool = False) -> None:
        super().__init__()
        self.fc, self.neuron, self.last = nn.Linear(5, NEURONS), neuron, nn.Linear(NEURONS, 3)
        self.zero, self.membranes = zero, membranes

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc(x)
        mem, seen = 0.0 if self.zero else torch.zeros_like(current), []
        for _ in range(STEPS):
            spikes, mem = self.neuron(self.fc(x), mem)
            seen.append(mem if self.membranes else self.last(spikes))
        return torch.stack(seen).mean(0)


def by_hand(model: Looped, shown: np.ndarray) -> Tensor:
    """The loop in float64, spikes cast where they are sent on."""
    exact = model.double()
    with torch.no_grad():
        current = exact.fc(torch.from_numpy(shown))
        mem, total = torch.zeros_like(current), torch.zeros(())
        for _ in range(STEPS):
            spikes, mem = exact.neuron(current, mem)
            total = total + (mem if exact.membranes else exact.last(spikes.double()))
    return total / STEPS


@pytest.mark.parametrize("form", FORMS)
def test_a_step_by_hand_is_its_neuron(form: str) -> None:
    model, shown = random_(Looped(ByHand(FORMS[form]), zero=form == "subtracts")), images(5, count=6)
    found = verify(model, shown, None, NUMPY)
    np.testing.assert_allclose(found.logits_brian2, by_hand(model, shown).numpy(), atol=1e-9)
    assert found.agrees and found.layers[0].spikes_reference > STEPS, str(found)


@pytest.mark.parametrize("form", ["subtracts", "to_zero", "reset_in_the_next_step"])
def test_the_state_that_a_step_returns_can_be_the_answer(form: str) -> None:
    model, shown = random_(Looped(ByHand(FORMS[form]), membranes=True)), images(5, count=6)
    found = verify(model, shown, None, NUMPY)
    np.testing.assert_allclose(found.logits_brian2, by_hand(model, shown).numpy(), atol=1e-9)


def test_the_constants_are_those_that_were_written() -> None:
    neuron = convert(Looped(ByHand(to_a_value)), (5,)).population("neuron").neuron
    assert (neuron.comparison, neuron.reset) == (">=", "value")
    values = {name: float(p.value.ravel()[0]) for name, p in neuron.parameters.items()}
    assert values["v_threshold"] == 0.3 and values["v_reset"] == -0.2
    assert values["tau"] == pytest.approx(-1 / np.log(1 - 1 / 2.5))
    assert (values["gain"], values["offset"]) == pytest.approx((0.2, 0.04))


def square(self: ByHand, current: Tensor, mem: Tensor) -> State:
    mem = mem * mem + current
    return (mem > 1).float(), mem * 0.5


def half_reset(self: ByHand, current: Tensor, mem: Tensor) -> State:
    mem = 0.9 * mem + current
    spikes = (mem > 1).float()
    return spikes, mem - 0.5 * spikes * mem


def by_sigmoid(self: ByHand, current: Tensor, mem: Tensor) -> State:
    mem = torch.tanh(mem) + current
    return (mem > 1).float(), mem


def graded(self: ByHand, current: Tensor, mem: Tensor) -> State:
    mem = 0.9 * mem + current
    spikes = (mem > 1).float()
    return spikes * mem, mem - spikes


def growing(self: ByHand, current: Tensor, mem: Tensor) -> State:
    mem = 1.5 * mem + current
    return (mem > 1).float(), mem


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (square, "not linear in the input and the state"),
        (half_reset, "neither subtracts a number nor sets the state to one"),
        (by_sigmoid, "it uses tanh"),
        (graded, "what it returns first is not the spikes"),
        (growing, r"multiplies the state by \[1.5\]"),
    ],
)
def test_another_step_is_refused_with_the_rewrite(step: Callable[..., State], words: str) -> None:
    pattern = rf"neuron \(ByHand\): forward = a neuron by hand .*{words}.*; write mem = beta \* mem \+ current"
    with pytest.raises(RefusedLayers, match=pattern) as caught:
        convert(Looped(ByHand(step)), (5,))
    assert len(caught.value.refusals) == 1


class Counting(ByHand):
    """A step that keeps something beside its state."""

    def __init__(self) -> None:
        super().__init__(subtracts)
        self.calls = 0

    def forward(self, current: Tensor, mem: Tensor) -> State:
        self.calls = self.calls + 1
        return super().forward(current, mem * (self.calls % 2))


def test_a_step_that_keeps_something_else_is_not_taken_for_a_neuron() -> None:
    with pytest.raises(RefusedLayers, match="gt has no lowering; a neuron's threshold written by hand"):
        convert(Looped(Counting()), (5,))


class Optional(nn.Module):
    """A step whose state may be left out in the first call."""

    def __init__(self, rest: float) -> None:
        super().__init__()
        self.rest = rest

    def forward(self, current: Tensor, mem: Tensor | None = None) -> State:
        if mem is None:
            mem = torch.full_like(current, self.rest)
        mem = 0.8 * mem + current
        spikes = (mem > 1).double()
        return spikes, mem - spikes


class Keeping(nn.Module):
    """A step that keeps its state in an attribute."""

    def __init__(self, begin: float | None) -> None:
        super().__init__()
        self.begin: float | None = begin
        self.mem: Tensor | float | None = begin
        self.beta = nn.Parameter(torch.linspace(0.2, 0.9, NEURONS))

    def reset(self) -> None:
        self.mem = self.begin

    def forward(self, current: Tensor) -> Tensor:
        if self.mem is None:
            self.mem = torch.zeros_like(current)
        self.mem = self.beta * self.mem + current
        spikes = Surrogate.apply(self.mem - 1.0)
        self.mem = self.mem * (1 - spikes)
        return spikes


class Resetting(nn.Module):
    """A loop over a neuron that keeps its state, or takes it from call to call, with something done before a step."""

    def __init__(self, neuron: nn.Module, change: Callable[[nn.Module], None], before: int = 0) -> None:
        super().__init__()
        self.fc, self.neuron, self.last = nn.Linear(5, NEURONS), neuron, nn.Linear(NEURONS, 3)
        self.change, self.before = change, before

    def forward(self, x: Tensor) -> Tensor:
        seen, mem = [], None
        for step in range(STEPS):
            if step == self.before:
                self.change(self.neuron)
            if isinstance(self.neuron, Optional):
                spikes, mem = self.neuron(self.fc(x), mem)
            else:
                spikes = self.neuron(self.fc(x))
            seen.append(self.last(spikes))
        return torch.stack(seen).mean(0)


def set_to(value: float | None) -> Callable[[nn.Module], None]:
    return lambda neuron: setattr(neuron, "mem", value)


@pytest.mark.parametrize(
    ("neuron", "change"),
    [
        (lambda: Optional(0.0), lambda neuron: None),
        (lambda: Keeping(None), lambda neuron: neuron.reset()),
        (lambda: Keeping(None), lambda neuron: None),
        (lambda: Keeping(0.0), set_to(0.0)),
    ],
)
def test_a_state_may_be_left_out_or_kept(neuron: Callable[[], nn.Module], change: Callable[[nn.Module], None]) -> None:
    model, shown = random_(Resetting(neuron(), change)), images(5, count=6)
    found = verify(model, shown, None, NUMPY)
    assert found.agrees and found.layers[0].spikes_reference > STEPS, str(found)
    # The comparison is with the module's own forward; here is that forward once more.
    exact = model.double()
    if isinstance(exact.neuron, Keeping):
        exact.neuron.reset()
        exact.last.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    with torch.no_grad():
        np.testing.assert_allclose(found.logits_brian2, exact(torch.from_numpy(shown)).numpy(), atol=1e-9)


@pytest.mark.parametrize(
    ("neuron", "change", "before", "words"),
    [
        (lambda: Optional(0.5), lambda neuron: None, 0, "without a state it does not begin with zeros"),
        (
            lambda: Keeping(None),
            lambda neuron: neuron.reset(),
            3,
            r"changed before step 3; .*test_hand_written.py, line",
        ),
        (lambda: Keeping(None), set_to(None), 1, "changed before step 1"),
        (lambda: Keeping(0.0), set_to(0.5), 0, "set to something other than rest"),
        (lambda: Keeping(0.5), lambda neuron: None, 0, "set to something other than rest"),
    ],
)
def test_a_state_that_is_reset_or_does_not_rest_is_refused(
    neuron: Callable[[], nn.Module], change: Callable[[nn.Module], None], before: int, words: str
) -> None:
    with pytest.raises(RefusedLayers, match=rf"neuron \((Optional|Keeping)\): .*{words}"):
        convert(Resetting(neuron(), change, before), (5,))


def in_its_place(self: ByHand, current: Tensor, mem: Tensor) -> State:
    mem.mul_(0.9)
    mem.add_(current)
    return (mem > 1).float(), mem


def test_a_state_that_is_changed_in_its_place_is_refused() -> None:
    with pytest.raises(RefusedLayers, match="it uses mul_"):
        convert(Looped(ByHand(in_its_place)), (5,))


class SpyTorchSurrogate(torch.autograd.Function):
    """A surrogate that writes its spikes into zeros, as SpyTorch's does (Zenke and Ganguli, 2018)."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(distance)
        out = torch.zeros_like(distance)
        out[distance > 0] = 1.0
        return out


class SpyTorchNeuron(nn.Module):
    def forward(self, current: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
        mem = 0.9 * mem + current
        spikes = SpyTorchSurrogate.apply(mem - 0.4)
        return spikes, mem * (1 - spikes)


class InItsForward(nn.Module):
    """The neuron as a module, or the same lines in the network's own loop, by a surrogate or by a comparison."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.fc, self.neuron, self.how = nn.Linear(6, 8), SpyTorchNeuron(), how

    def forward(self, x: Tensor) -> Tensor:
        mem, seen = torch.zeros(x.size(0), 8), []
        for _ in range(5):
            if self.how == "module":
                spk, mem = self.neuron(self.fc(x), mem)
            elif self.how == "surrogate":
                mem = 0.9 * mem + self.fc(x)
                spk = SpyTorchSurrogate.apply(mem - 0.4)
                mem = mem * (1 - spk)
            else:
                current = self.fc(x)
                mem = 0.9 * mem + current
                spk = (mem > 0.4).to(mem.dtype)
                mem = mem - 0.4 * spk
            seen.append(spk)
        return torch.stack(seen)


def test_a_surrogate_that_writes_into_zeros() -> None:
    found = verify(random_(InItsForward("module")), images(6, count=6), None, NUMPY)
    assert found.agrees and all(layer.spikes_reference > 0 for layer in found.layers)


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        ("surrogate", ["spk = SpyTorchSurrogate.apply(mem - 0.4)", "mem = mem * (1 - spk)"]),
        ("comparison", ["spk = (mem > 0.4).to(mem.dtype)", "mem = mem - 0.4 * spk"]),
    ],
)
def test_a_neuron_in_the_forward_is_refused_with_its_lines_as_a_module(how: str, lines: list[str]) -> None:
    with pytest.raises(RefusedLayers) as refused:
        convert(InItsForward(how), (6,))
    said = str(refused.value)
    code = said[said.index("class Neuron") : said.index("    and call spk, mem = self.neuron(current, mem)")]
    source = Path(__file__).read_text(encoding="utf-8").splitlines()
    body = [line.strip() for line in code.splitlines()[2:-1]]
    assert [line.split("  # line ")[0] for line in body] == ["mem = 0.9 * mem + current", *lines]
    for line in body[1:]:
        text, number = line.split("  # line ")
        assert source[int(number) - 1].strip() == text
    assert code.splitlines()[-1].strip() == "return spk, mem"
