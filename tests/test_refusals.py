"""What a refusal says: the class that is the cause, each cause once, its place in the user's file, and what to write."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_frameworks import STEPS, assert_spikes_agree, images, random_
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS, Framework, frameworks, same_class
from alade_brian.conversion.lowering import Behind
from alade_brian.conversion.refusals import Refusal, RefusedLayers
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.spec import operator_algebra


def refused(model: nn.Module, shape: tuple[int, ...], **how: Any) -> tuple[Refusal, ...]:
    with pytest.raises(RefusedLayers) as caught:
        convert(model, shape, **how)
    return caught.value.refusals


def default(cls: type[nn.Module]) -> nn.Module | None:
    """A layer with the arguments that it can be made with; None where it needs more."""
    for arguments in ((), (0.9,), (4, 3), (0.9, 0.8), (0.9, 0.8, 4), (nn.Linear(4, 3), 3)):
        try:
            return cls(*arguments)
        except Exception:
            continue
    return None


@pytest.mark.parametrize("name", frameworks())
def test_a_layer_of_a_framework_is_converted_or_refused_by_the_name_of_its_class(name: str) -> None:
    framework, judged = FRAMEWORKS[name](), 0
    for cls in framework.classes:
        if any(same_class(cls, kept) for kept in (framework.neurons, framework.layers, framework.containers)):
            continue
        layer = default(cls)
        modes = ("s", "m") if "step_mode" in dir(cls) else ("",)
        for mode in modes if layer is not None else ():
            assert layer is not None
            try:
                layer.step_mode = mode
            except Exception:
                continue  # it knows the other mode only
            found = refused(nn.Sequential(nn.Linear(4, 3), layer), (4,), steps=3)
            assert [r.value for r in found if r.argument == "class"] == [cls.__name__], cls
            assert not [r for r in found if r.argument != "class"], cls
            judged += 1
    assert judged >= 3


class Block(nn.Module):
    """A layer of a framework that is refused, with layers of torch in it."""

    __module__ = "toyblocks.inner"

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x)


def test_a_refused_class_is_not_looked_into_wherever_its_framework_keeps_it() -> None:
    framework = Framework(name="toyblocks", title="Toy", neurons={}, refused={Block: "is a toy; use nn.Linear"})
    FRAMEWORKS.register("toyblocks")(lambda: framework)
    try:
        found = refused(nn.Sequential(HoldCurrent(2), Block(), LIF(2), MeanOverSteps(2)), (4,))
        assert [(r.layer, r.value, r.remedy) for r in found] == [("1 (Block)", "Block", "is a toy; use nn.Linear")]
    finally:
        FRAMEWORKS.remove("toyblocks")


class Unsupported(nn.Module):
    """A neuron without a lowering, in a loop, before one that is known."""

    def __init__(self, torch_only: bool) -> None:
        super().__init__()
        norse = None if torch_only else pytest.importorskip("norse.torch")
        self.fc, self.hidden = nn.Linear(8, 6), nn.GRUCell(6, 6) if torch_only else norse.LIFMCRecurrentCell(6, 6)
        self.last = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        state, seen = None, []
        for _ in range(STEPS):
            if isinstance(self.hidden, nn.GRUCell):
                spikes = state = self.hidden(self.fc(x), state)
            else:
                spikes, state = self.hidden(self.fc(x), state)
            seen.append(self.last(spikes)[:, :2] * 2)
        return torch.stack(seen).max(0)[0]


@pytest.mark.parametrize("torch_only", [True, False])
def test_a_cause_is_listed_once_with_its_place_and_without_what_follows_from_it(torch_only: bool) -> None:
    model = Unsupported(torch_only)
    (only,) = refused(model, (8,))
    lines, first = inspect.getsourcelines(Unsupported.forward)
    (line,) = [
        first + k for k, text in enumerate(lines) if "self.hidden(" in text and ("spikes = " in text) == torch_only
    ]
    assert only.layer == f"hidden ({type(model.hidden).__name__})" and only.argument == "class"
    assert only.place == f"test_refusals.py, line {line}"


class Operations(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.hold, self.fc, self.lif = HoldCurrent(2), nn.Linear(4, 4), LIF(2)
        self.last, self.mean, self.function = nn.Linear(2, 2), MeanOverSteps(2), function

    def forward(self, x: Tensor) -> Tensor:
        return self.mean(self.last(self.function(self.lif(self.fc(self.hold(x))))))


def test_a_refused_function_leaves_its_shape_so_that_nothing_follows() -> None:
    for function in (lambda v: torch.softmax(v, 1)[:, :2], lambda v: v.cumsum(1).unfold(1, 2, 2).max(2)[0]):
        assert len(refused(Operations(function), (4,))) == 1


REWRITES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "threshold": (lambda v: (v > 0.5).to(v.dtype)[:, :2], r"spikes, mem = self.lif\(current, mem\)"),
    "relu": (lambda v: torch.relu(v)[:, :2], r"LIF\(steps, decay=0.9\)"),
    "softmax": (lambda v: v.softmax(1)[:, :2], "leave it out of the network"),
    "einsum": (lambda v: torch.einsum("ni,ji->nj", v, torch.ones(2, 4)), r"write nn.Linear"),
}


@pytest.mark.parametrize("case", REWRITES)
def test_a_refusal_says_what_to_write(case: str) -> None:
    function, words = REWRITES[case]
    with pytest.raises(RefusedLayers, match=words):
        convert(Operations(function), (4,))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.ReLU(), "LIF"),
        (nn.LayerNorm(4), "nn.BatchNorm1d"),
        (nn.Softmax(1), "leave it out"),
        (nn.MaxPool3d(1), "MaxPool2d"),
    ],
)
def test_a_refused_layer_of_torch_says_what_to_use(layer: nn.Module, words: str) -> None:
    with pytest.raises(RefusedLayers, match=words):
        convert(nn.Sequential(HoldCurrent(2), nn.Linear(4, 4), layer, LIF(2), MeanOverSteps(2)), (4,))


def test_a_forward_that_cannot_be_traced_is_named_with_its_line() -> None:
    class Depends(Operations):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    (only,) = refused(Depends(lambda v: v), (4,))
    assert only.place == f"test_refusals.py, line {inspect.getsourcelines(Depends.forward)[1] + 1}"


class Shortcut(nn.Module):
    """A membrane shortcut: a convolution behind a sum of convolutions, without a neuron between."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.hold, self.lif = HoldCurrent(2), LIF(2)
        self.one, self.two, self.last = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 3, 3, stride=2), last
        self.end = nn.Sequential(LIF(2), nn.Flatten(), nn.Linear(12, 2), MeanOverSteps(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.last(self.two(self.one(self.lif(self.hold(x))) + self.hold(x))))


def test_what_is_refused_is_refused_before_long_lists_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    listed = operator_algebra._listed
    monkeypatch.setattr(operator_algebra, "_listed", lambda whole, shape: made.append(shape) or listed(whole, shape))
    with pytest.raises(RefusedLayers, match="GELU"):
        convert(Shortcut(nn.GELU()), (1, 5, 5))
    assert not made
    model = random_(Shortcut(nn.Identity()))
    spec = convert(model, (1, 5, 5))
    assert len(made) == 1 and not any(isinstance(p.operator, Behind) for p in spec.projections)
    assert_spikes_agree(model, images(1, 5, 5), silent=("end.0",))


class Derived:
    """Classes that derive from a framework's neuron, and change nothing or something."""

    @staticmethod
    def of(base: type[nn.Module], changes: dict[str, Any]) -> type[nn.Module]:
        return type("Derived", (base,), changes)


def test_a_class_that_changes_nothing_is_taken_for_its_base() -> None:
    snn = pytest.importorskip("snntorch")
    kept = Derived.of(snn.Leaky, {"extra_repr": lambda self: "derived", "mine": lambda self: 1})
    model = random_(nn.Sequential(nn.Linear(20, 8), kept(0.8, init_hidden=True, output=True)))
    assert_spikes_agree(model, images(20), steps=STEPS)
    changed = Derived.of(snn.Leaky, {"_base_state_function": lambda self, x: x})
    words = (
        r"1 \(Derived\): class = Derived steps otherwise than snnTorch's Leaky: it defines _base_state_function anew"
    )
    with pytest.raises(RefusedLayers, match=words):
        convert(nn.Sequential(nn.Linear(20, 8), changed(0.8, init_hidden=True)), (20,), steps=3)


def test_spikingjelly_classes_that_change_nothing() -> None:
    layer = pytest.importorskip("spikingjelly.activation_based.layer")
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    net = nn.Sequential(Derived.of(layer.Linear, {})(20, 8), Derived.of(neuron.LIFNode, {})(v_threshold=0.4))
    assert_spikes_agree(random_(net), images(20), steps=STEPS)
