"""What a forward of another framework returns is read as it is, or refused: never more steps of it, never fewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from networks import NUMPY
from test_foreign_resets import hidden
from test_frameworks import STEPS, images, random_
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert, detached
from alade_brian.conversion.from_torch.frameworks.registry import in_double
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.verification.torch_reference import record
from alade_brian.verification.verify import verify

Output = Callable[[list[Tensor], list[Tensor], list[Tensor]], Any]


class Steps(nn.Module):
    """A loop that hands the spikes, membranes and currents of all steps, as lists, to a function."""

    def __init__(self, output: Output) -> None:
        snn = pytest.importorskip("snntorch")
        super().__init__()
        self.fc1, self.lif1, self.fc2, self.lif2 = nn.Linear(20, 30), snn.Leaky(0.9), nn.Linear(30, 5), snn.Leaky(0.8)
        self.output = output
        random_(self)

    def forward(self, x: Tensor) -> Any:
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        spikes, membranes, currents = [], [], []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            currents.append(self.fc2(spk1))
            spk2, mem2 = self.lif2(currents[-1], mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return self.output(spikes, membranes, currents)


def by_hand(model: nn.Module, shown: np.ndarray) -> Any:
    """What the framework itself gives in float64."""
    with torch.no_grad():
        return in_double(detached(model).double())(torch.from_numpy(shown))


# By name: what is returned, and the decoding of the readout that is exactly that.
EXACT: dict[str, tuple[Output, str]] = {
    "last membrane": (lambda s, m, c: m[-1], "last_membrane"),
    "last membrane of a stack, by number": (lambda s, m, c: torch.stack(m)[STEPS - 1], "last_membrane"),
    "last spikes": (lambda s, m, c: s[-1], "last_membrane"),
    "last spikes of a stack, by number": (lambda s, m, c: torch.stack(s)[STEPS - 1], "last_membrane"),
    "last current": (lambda s, m, c: c[-1], "last_membrane"),
    "last two steps' spikes": (lambda s, m, c: s[-1] + s[-2], "last_membrane"),
    "all but the first step's spikes": (lambda s, m, c: sum(s[2:], s[1]), "last_membrane"),
    "sum of currents": (lambda s, m, c: sum(c), "mean_input"),
    "sum of spikes, kept axis": (lambda s, m, c: torch.stack(s).sum(0, keepdim=True), "spike_count"),
    "last membrane and last spikes": (lambda s, m, c: (m[-1], s[-1]), "last_membrane"),
    "list of spikes": (lambda s, m, c: s, "spike_count"),
    "list of membranes": (lambda s, m, c: m, "mean_membrane"),
    "list of currents": (lambda s, m, c: c, "mean_input"),
    "lists in a tuple": (lambda s, m, c: (s, m), "spike_count"),
    "stack behind the images": (lambda s, m, c: torch.stack(s, dim=1), "spike_count"),
    "stack as the last axis": (lambda s, m, c: torch.stack(m, -1), "mean_membrane"),
    "mean of a stack behind the images": (lambda s, m, c: torch.stack(m, 1).mean(1), "mean_membrane"),
    "last of a stack as the last axis": (lambda s, m, c: torch.stack(m, 2)[..., -1], "last_membrane"),
    "stack turned": (lambda s, m, c: torch.stack(s).transpose(0, 1).sum(dim=1), "spike_count"),
    "a list of whole recordings": (lambda s, m, c: [torch.stack(s).sum(0), torch.stack(m)], "spike_count"),
}


def over_steps(returned: Any, case: str, decoding: str) -> Tensor:
    """The first of several things that are returned, its steps put together as the decoding says."""
    steps = isinstance(returned, list) and len(returned) == STEPS
    first = returned[0] if isinstance(returned, tuple | list) and not steps else returned
    whole = torch.stack(first) if isinstance(first, list) else first
    axis = {"stack behind the images": 1, "stack as the last axis": -1}.get(case, 0)
    if whole.numel() == len(images(20)) * 5:
        return whole
    return whole.sum(axis) if decoding == "spike_count" else whole.mean(axis)


@pytest.mark.parametrize("case", EXACT)
def test_what_is_returned_is_what_is_read(case: str) -> None:
    output, decoding = EXACT[case]
    model, shown = Steps(output), images(20)
    spec = convert(model, (20,))
    assert spec.readout.decoding == decoding
    found, right = verify(model, shown, spec, NUMPY), over_steps(by_hand(model, shown), case, decoding)
    np.testing.assert_allclose(found.logits_brian2, right.reshape(len(shown), -1).numpy(), atol=1e-9)
    assert found.agrees and np.ptp(found.logits_brian2) > 0


SINGLE = "torch.stack"
REFUSED: dict[str, tuple[Output, str]] = {
    "first membrane": (lambda s, m, c: m[0], SINGLE),
    "first spikes": (lambda s, m, c: s[0], SINGLE),
    "first current": (lambda s, m, c: c[0], SINGLE),
    "first spikes of a stack": (lambda s, m, c: torch.stack(s)[0], SINGLE),
    "first membrane of a stack": (lambda s, m, c: torch.stack(m)[0], SINGLE),
    "one step's spikes counted from the end": (lambda s, m, c: torch.stack(s)[-2], "is no step"),
    "list of membranes, last first": (lambda s, m, c: m[::-1], SINGLE),
    "a list of some steps": (lambda s, m, c: s[1:], SINGLE),
    "tuple in a tuple": (lambda s, m, c: ((torch.stack(s), torch.stack(m)),), "flat tuple"),
    "dict": (
        lambda s, m, c: {"spikes": torch.stack(s), "membranes": torch.stack(m)},
        "output='spikes' or output='membranes'",
    ),
    "sum over the axis of images": (lambda s, m, c: torch.stack(s, dim=1).sum(0), "must be the steps'; use dim=1"),
    "softmax of every step": (lambda s, m, c: torch.stack(m).softmax(-1).mean(0), "apply it to their sum or mean"),
    "softmax over the images": (lambda s, m, c: m[-1].softmax(0), "must be the classes'; use dim=1"),
    "steps and images on one axis": (lambda s, m, c: torch.stack(s).flatten(0, 1), "unflatten"),
    "another layer's output in one step": (lambda s, m, c: torch.stack([2 * s[0], *s[1:]]), "differs from the last"),
    "sum over the neurons": (lambda s, m, c: torch.stack(s).sum(2), "dim=0"),
    "sum over everything": (lambda s, m, c: torch.stack(s).sum(), "dim=0"),
    "mean over later steps": (lambda s, m, c: torch.stack(s)[2:].mean(0), "is no step"),
    "mean over later steps of a list": (lambda s, m, c: torch.stack(s[2:]).mean(0), "every step"),
    "mean over later membranes": (lambda s, m, c: torch.stack(m[2:]).mean(0), "every step"),
    "sum over earlier steps": (lambda s, m, c: torch.stack(s[:4]).sum(0), "of the loop's 8; stack every step"),
    "mean over earlier membranes": (lambda s, m, c: torch.stack(m[:4]).mean(0), "of the loop's 8; stack every step"),
    "every other step": (lambda s, m, c: torch.stack(s)[::2].sum(0), "is no step"),
    "the place of the maximum": (lambda s, m, c: torch.stack(m).max(0)[1], "no answer of neurons"),
    "no output of neurons": (lambda s, m, c: 3, "no answer of neurons"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_part_of_the_steps_is_refused(case: str) -> None:
    output, words = REFUSED[case]
    with pytest.raises(RefusedLayers, match=words):
        convert(Steps(output), (20,))


def test_output_and_readout_must_fit_what_is_returned() -> None:
    both = Steps(lambda s, m, c: (s[-1], m[-1]))
    assert convert(both, (20,), output=1).readout.population == "lif2"
    with pytest.raises(RefusedLayers, match="returns 2 tensors, counted from 0"):
        convert(both, (20,), output=2)
    with pytest.raises(RefusedLayers, match="returns one tensor; leave output= out"):
        convert(Steps(lambda s, m, c: m[-1]), (20,), output=1)
    with pytest.raises(RefusedLayers, match="is not what the forward gives, last_membrane"):
        convert(Steps(lambda s, m, c: m[-1]), (20,), readout="mean_membrane")
    with pytest.raises(RefusedLayers, match="readout = first_spike is not known here; use one of"):
        convert(Steps(lambda s, m, c: torch.stack(s)), (20,), readout="first_spike")
    rate = Steps(lambda s, m, c: torch.stack(s).sum(0) / STEPS)
    assert convert(rate, (20,), readout="spike_rate").readout.decoding == "spike_rate"


def test_a_readout_module_must_give_the_output_that_is_chosen() -> None:
    from alade_brian.models import LIF, HoldCurrent, MeanOverSteps

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hold, self.fc, self.lif = HoldCurrent(3), nn.Linear(4, 2), LIF(3)
            self.read = MeanOverSteps(3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            spikes = self.lif(self.fc(self.hold(x)))
            return spikes, self.read(spikes)

    assert convert(Both(), (4,), output=1).readout.decoding == "spike_rate"
    with pytest.raises(RefusedLayers, match="not what the readout module gives"):
        convert(Both(), (4,))


# A forward of one step, called in a loop outside --------------------------------------------------------------------------


class NorseStep(nn.Module):
    """One step with two states that are arguments."""

    def __init__(self, form: str) -> None:
        norse = pytest.importorskip("norse.torch")
        super().__init__()
        self.first, self.cell = nn.Linear(4, 6), norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.3)))
        self.fc, self.read, self.form = nn.Linear(6, 3), norse.LICell(), form
        random_(self)

    def forward(self, x: Tensor, state: Any = None, read: Any = None) -> Any:
        spikes, state = self.cell(self.first(x), state)
        output, read = self.read(self.fc(spikes), read)
        return {
            "two states": (output, state, read),
            "states first": (state, read, output),
            "swapped": (output, read, state),
            "one forgotten": (output, state),
            "none returned": output,
        }[self.form]


class OneState(nn.Module):
    """One step with one state."""

    def __init__(self, form: str) -> None:
        norse = pytest.importorskip("norse.torch")
        super().__init__()
        self.net = norse.SequentialState(
            nn.Linear(4, 6), norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.3))), nn.Linear(6, 3), norse.LICell()
        )
        self.form, self.kept = form, None
        random_(self)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        if self.form == "kept":
            output, self.kept = self.net(x, self.kept)
            return output
        if self.form == "unpacked":
            output, state = self.net(x, state)
            return output, state
        return self.net(x, state)


def called_by_hand(model: nn.Module, frames: Sequence[np.ndarray], output: int = 0) -> np.ndarray:
    """The outputs of all steps, ``(steps, images, outputs)``, the states passed on by hand in float64."""
    exact, states, made = in_double(detached(model).double()), (), []
    with torch.no_grad():
        for frame in frames:
            returned = exact(torch.from_numpy(frame), *states)
            if isinstance(returned, tuple):
                states = tuple(r for k, r in enumerate(returned) if k != output)
            made.append(returned[output] if isinstance(returned, tuple) else returned)
    return torch.stack(made).numpy()


@pytest.mark.parametrize("form", ["container", "unpacked", "kept"])
def test_norse_one_step_passes_its_state_on(form: str) -> None:
    model, shown = OneState(form), images(4, count=5)
    right = called_by_hand(model, [shown] * STEPS)
    for _ in range(2):
        found = verify(model, shown, None, NUMPY, steps=STEPS)
        np.testing.assert_allclose(found.logits_brian2, right.mean(0), atol=1e-9)
        assert found.agrees and found.layers[0].spikes_reference > STEPS, str(found)
    recorded = record(model, shown, convert(model, (4,), steps=STEPS), batch=2)
    np.testing.assert_allclose(recorded.logits, right.mean(0), atol=1e-9)


def test_norse_one_step_over_frames() -> None:
    model, shown = OneState("container"), images(STEPS, 4, count=5)
    found = verify(model, shown, None, NUMPY, sequence=True)
    np.testing.assert_allclose(found.logits_brian2, called_by_hand(model, shown.swapaxes(0, 1)).mean(0), atol=1e-9)
    assert found.agrees and found.layers[0].spikes_reference > STEPS, str(found)


@pytest.mark.parametrize(("form", "output"), [("two states", 0), ("states first", 2)])
def test_several_states_are_passed_on_in_their_order(form: str, output: int) -> None:
    model, shown = NorseStep(form), images(4, count=5)
    right = called_by_hand(model, [shown] * STEPS, output)
    found = verify(model, shown, None, NUMPY, steps=STEPS, output=output)
    np.testing.assert_allclose(found.logits_brian2, right.mean(0), atol=1e-9)
    assert found.agrees and found.layers[0].spikes_reference > STEPS, str(found)


@pytest.mark.parametrize("form", ["swapped", "one forgotten", "none returned"])
def test_states_that_are_not_passed_on_to_the_next_call_are_refused(form: str) -> None:
    with pytest.raises(
        RefusedLayers, match="called once per step: take the state as an argument whose default is None"
    ):
        convert(NorseStep(form), (4,), steps=STEPS)


class SnnTorchStep(nn.Module):
    """One step; the states are arguments, reset in it, or hidden."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.fc1, self.fc2, self.form = nn.Linear(20, 30), nn.Linear(30, 5), form
        snn = pytest.importorskip("snntorch")
        self.lif1, self.lif2 = snn.Leaky(0.9), snn.Leaky(0.8, threshold=0.5)
        random_(self)

    def forward(self, x: Tensor, mem1: Any = None, mem2: Any = None) -> Any:
        if self.form == "reset" or (self.form == "begun" and mem1 is None):
            mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        spk1, mem1 = self.lif1(self.fc1(x), mem1)
        spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
        return spk2 if self.form == "spikes" else (spk2, mem1, mem2)


@pytest.mark.parametrize("form", ["passed", "begun", "spikes"])
def test_snntorch_one_step_with_states_as_arguments(form: str) -> None:
    model, shown = SnnTorchStep(form), images(20)
    found = verify(model, shown, None, NUMPY, steps=STEPS)
    np.testing.assert_allclose(found.logits_brian2, called_by_hand(model, [shown] * STEPS).sum(0), atol=1e-9)
    assert found.agrees and np.ptp(found.logits_brian2) > 0


def test_one_step_that_resets_its_states_is_refused() -> None:
    with pytest.raises(RefusedLayers, match="reset or changed before step 1"):
        convert(SnnTorchStep("reset"), (20,), steps=STEPS)


class Required(SnnTorchStep):
    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> Any:  # type: ignore[override]
        return super().forward(x, mem1, mem2)


def test_states_that_must_be_given_are_refused_with_the_remedy() -> None:
    with pytest.raises(RefusedLayers, match="argument mem1, mem2 must be given; give states the default None"):
        convert(Required("passed"), (20,), steps=STEPS)


@pytest.mark.parametrize("framework", ["snntorch", "spikingjelly"])
def test_one_step_with_hidden_states_over_frames(framework: str) -> None:
    neurons, shown = hidden(framework), images(STEPS, 20)
    model = random_(nn.Sequential(nn.Linear(20, 30), neurons[0], nn.Linear(30, 5), neurons[1]))
    right = called_by_hand(model, shown.swapaxes(0, 1))
    found = verify(model, shown, None, NUMPY, sequence=True)
    np.testing.assert_allclose(found.logits_brian2, right.sum(0), atol=1e-9)
    assert found.agrees and np.ptp(found.logits_brian2) > 0


class FirstFrame(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(20, 5), hidden("snntorch")[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(self.fc(x[0]))


def test_one_frame_of_a_sequence_is_not_taken_for_all() -> None:
    with pytest.raises(RefusedLayers, match="of which one alone reaches neurons"):
        convert(FirstFrame(), (20,), steps=STEPS, sequence=True)


class NamedAnswer(Steps):
    """Its output layer has the name that a population for the output would have."""

    def __init__(self) -> None:
        super().__init__(lambda s, m, c: c[-1])
        self.answer = self.lif2
        del self.lif2

    @property
    def lif2(self) -> nn.Module:
        return self.answer


def test_the_population_of_an_output_gets_a_name_that_is_free() -> None:
    model, shown = NamedAnswer(), images(20)
    found = verify(model, shown, None, NUMPY)
    assert found.agrees and {a.name for a in found.layers} == {"lif1", "answer"}
    np.testing.assert_allclose(found.logits_brian2, by_hand(model, shown).numpy(), atol=1e-9)
