"""Which tensor of a traced forward is its answer, and how the steps are put together in it.

A tensor of one step of a loop is the answer of that step alone: of the last one it can be read, of any other it cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from alade_brian.conversion.from_torch.time_axis import AllSteps, Membrane, OneStep, StepReduction, readout_of
from alade_brian.conversion.lowering import AffineInput, CannotLower, ReadoutValue, SpecBuilder, settled
from alade_brian.spec import DECODINGS, Identity, Readout, same_operator

_WAYS = "return torch.stack(steps) for every step, its .sum(0) or .mean(0), or steps[-1] for the last step"


def readout_for(
    lowering: SpecBuilder, output: Any, index: int, decoding: str | None, steps: int, one_step: bool
) -> Readout:
    """The readout that gives what a forward returns.

    output     what the forward returns, as values
    index      which of several tensors is the answer
    decoding   how every step is read, where the forward leaves it open
    one_step   whether the forward is one step, called in a loop outside

    Raises CannotLower if no readout gives it, or if it is not clear which tensor is meant.
    """
    ways = {name: each.over_time for name, each in DECODINGS.items() if each.over_time is not None}
    if decoding is not None and decoding not in ways:
        raise CannotLower("readout", decoding, f"is not known here; use one of {', '.join(ways)}")
    answer = _chosen(output, index)
    if lowering.readout is not None:
        return _own(lowering, lowering.readout, answer, decoding)
    reading = answer if isinstance(answer, StepReduction) else _over_steps(answer, steps, one_step)
    if reading.how != "every":
        return _fitting(readout_of(lowering, reading, steps, _free_name(lowering)), decoding)
    how = ways[decoding] if decoding else _usual(lowering, reading)
    return readout_of(lowering, replace(reading, how=how), steps, _free_name(lowering))


def _chosen(output: Any, index: int) -> Any:
    """The tensor that is the answer, of all that a forward returns."""
    if isinstance(output, Mapping):
        said = f"is not one tensor; return {' or '.join(map(repr, output))} alone, or a tuple, of which output= chooses"
        raise CannotLower("output", "a dict", said)
    if not isinstance(output, tuple | list):
        if index:
            raise CannotLower("output", index, "is asked for, but the forward returns one tensor; leave output= out")
        return output
    _refuse_steps(output)
    if not -len(output) <= index < len(output):
        raise CannotLower(
            "output", index, f"is asked for, but the forward returns {len(output)} tensors, counted from 0"
        )
    answer = output[index]
    if isinstance(answer, tuple | list):
        _refuse_steps(answer)
        raise CannotLower("output", f"a {_kind(answer)} in a {_kind(output)}", "is not one tensor; return a flat tuple")
    return answer


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
