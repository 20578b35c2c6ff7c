"""Which tensor of a traced forward is its answer, and how the steps are put together in it.

A tensor of one step of a loop is the answer of that step alone: of the last one it can be read, of any other it cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from alade_brian.conversion.from_torch.recordings import stacked
from alade_brian.conversion.from_torch.time_axis import (
    AllSteps,
    CallCounter,
    Decided,
    Membrane,
    OneStep,
    StepReduction,
    readout_of,
)
from alade_brian.conversion.lowering import AffineInput, CannotLower, ReadoutValue, SpecBuilder, settled
from alade_brian.spec import DECODINGS, Identity, Readout, same_operator

_WAYS = "return torch.stack(steps) for every step, its .sum(0) or .mean(0), or steps[-1] for the last step"


def readout_for(clock: CallCounter, output: Any, index: int | str, decoding: str | None, steps: int) -> Readout:
    """The readout that gives what a forward returns.

    output     what the forward returns, as values
    index      which of several tensors is the answer
    decoding   how every step is read, where the forward leaves it open

    Raises CannotLower if no readout gives it, or if it is not clear which tensor is meant.
    """
    lowering = clock.lowering
    ways = {name: each.over_time for name, each in DECODINGS.items() if each.over_time is not None}
    if decoding is not None and decoding not in ways:
        raise CannotLower("readout", decoding, f"is not known here; use one of {', '.join(ways)}")
    answer = chosen(clock, output, index)
    if isinstance(answer, Decided):
        answer = answer.answer
        if clock.one_step and steps > 1:
            said = "of one step is no readout; return what stands before it, and decide when all steps are over"
            raise CannotLower("output", "a softmax", said)
    if lowering.readout is not None:
        return _own(lowering, lowering.readout, answer, decoding)
    reading = answer if isinstance(answer, StepReduction) else _over_steps(answer, steps, clock.one_step)
    if reading.how != "every":
        return _fitting(readout_of(lowering, reading, steps, _free_name(lowering)), decoding)
    how = ways[decoding] if decoding else _usual(lowering, reading)
    return readout_of(lowering, replace(reading, how=how), steps, _free_name(lowering))


def chosen(clock: CallCounter, output: Any, index: int | str) -> Any:
    """The tensor that is the answer, of all that a forward returns."""
    if isinstance(output, Mapping):
        if index in output:
            return _whole(clock, output[index])
        said = f"is not one tensor; say which is the answer: output={' or output='.join(map(repr, output))}"
        raise CannotLower("output", "a dict" if index == 0 else repr(index), said)
    if isinstance(index, str):
        raise CannotLower("output", repr(index), "is asked for, but the forward returns no dict; give a number")
    if not isinstance(output, tuple | list):
        if index:
            raise CannotLower("output", index, "is asked for, but the forward returns one tensor; leave output= out")
        return output
    if index == 0 and is_walk(output):
        return _whole(clock, output)
    _refuse_steps(output)
    if not -len(output) <= index < len(output):
        raise CannotLower(
            "output", index, f"is asked for, but the forward returns {len(output)} tensors, counted from 0"
        )
    return _whole(clock, output[index], output)


def _whole(clock: CallCounter, answer: Any, output: Any = None) -> Any:
    """One tensor; a list with a tensor of every step, in their order, is one."""
    if not isinstance(answer, tuple | list):
        return answer
    if is_walk(answer):
        return stacked(clock, answer)
    _refuse_steps(answer)
    within = "" if output is None else f" in a {_kind(output)}"
    raise CannotLower("output", f"a {_kind(answer)}{within}", "is not one tensor; return a flat tuple")


def steps_axis(answer: Any) -> int | None:
    """The axis of the steps in an answer; None where it has none, or where a readout module gives it."""
    whole = isinstance(answer, AllSteps) or (isinstance(answer, Membrane) and answer.step is None)
    return answer.axis if whole else None


def is_walk(sequence: Any) -> bool:
    """Whether a list holds a tensor of every step, in their order."""
    membranes = {each.population if isinstance(each, Membrane) else None for each in sequence}
    steps = [each.step for each in sequence if isinstance(each, OneStep | Membrane)]
    return len(membranes) == 1 < len(sequence) and steps == list(range(len(sequence)))


def _kind(sequence: Any) -> str:
    return "tuple" if isinstance(sequence, tuple) else "list"


def _refuse_steps(sequence: Any) -> None:
    """Refuse a list with a tensor for each step: it is neither one tensor nor several that are independent."""
    steps: dict[Any, set[int]] = {}
    for each in sequence:
        if isinstance(each, OneStep):
            steps.setdefault(each.value.shape, set()).add(each.step)
        elif isinstance(each, Membrane) and each.step is not None:
            steps.setdefault(each.population, set()).add(each.step)
    if any(len(found) > 1 for found in steps.values()):
        raise CannotLower("output", f"a {_kind(sequence)} of single steps", f"is not one tensor; {_WAYS}")


def _own(lowering: SpecBuilder, readout: Readout, answer: Any, decoding: str | None) -> Readout:
    """The readout module's own, if what it gives is the answer."""
    outputs = lowering.population(readout.population).size // readout.neurons_per_output
    if not isinstance(answer, ReadoutValue) or prod(answer.shape) != outputs:
        said = "is not what the readout module gives; return that, or choose it with output="
        raise CannotLower("output", "a tensor", said)
    return _fitting(readout, decoding)


def _fitting(readout: Readout, decoding: str | None) -> Readout:
    if decoding not in (None, readout.decoding):
        said = f"is not what the forward gives, {readout.decoding}; leave readout= out, or return every step"
        raise CannotLower("readout", decoding, said)
    return readout


def _over_steps(answer: Any, steps: int, one_step: bool) -> StepReduction:
    """How the steps are put together in a tensor of one step or of all."""
    if isinstance(answer, AllSteps):
        if answer.axis is None:
            raise CannotLower("output", "steps and images on one axis", "is no answer; return x.unflatten(0, (T, -1))")
        return StepReduction(answer, "every")
    if not isinstance(answer, OneStep | Membrane):
        kind = "none" if answer is None else type(answer).__name__.lower()
        raise CannotLower("output", kind, "is no answer of neurons; end in MeanOverSteps or return spikes")
    whole = replace(answer, step=None) if isinstance(answer, Membrane) else AllSteps(answer.value)
    if one_step or steps == 1 or answer.step is None:
        return StepReduction(whole, "every")
    if answer.step != steps - 1:
        raise CannotLower("output", f"step {answer.step} of {steps}", f"is a part of the answer; {_WAYS}")
    summed = _summed(answer.value, steps) if isinstance(answer, OneStep) else None
    return summed or StepReduction(whole, "last")


def _usual(lowering: SpecBuilder, reading: StepReduction) -> Any:
    """Of a sequence of spikes the count is taken, of anything else the mean."""
    if isinstance(reading.of, Membrane):
        return "mean"
    terms = reading.of.value.terms
    spikes = all(not lowering.is_stimulus(t.source) and lowering.population(t.source).neuron.spiking for t in terms)
    return "sum" if spikes and len(terms) == 1 and isinstance(terms[0].operator, Identity) else "mean"


def _summed(value: AffineInput, steps: int) -> StepReduction | None:
    """What a loop added up, every term once for each step; None if it is something else."""
    groups: dict[tuple[str, int], list[Any]] = {}
    for term in value.terms:
        groups.setdefault((term.source, term.first), []).append(term)
    for terms in groups.values():
        alike = all(same_operator(settled(t.operator), settled(terms[0].operator)) for t in terms)
        if not alike or sorted(t.delay for t in terms) != list(range(steps)):
            return None
    kept = tuple(next(t for t in terms if t.delay == 0) for terms in groups.values())
    return StepReduction(AllSteps(replace(value, terms=kept, bias=value.bias / steps)), "sum")


def _free_name(lowering: SpecBuilder) -> str:
    """A name for the population that takes the answer in."""
    taken = {p.name for p in lowering.populations}
    return next(name for name in ("answer", *(f"answer_{k}" for k in range(len(taken) + 1))) if name not in taken)
