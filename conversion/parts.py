"""A part of a value: some of its channels, rows or columns, as a value of its own."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from alade_brian.conversion.lowering import (
    AffineInput,
    Behind,
    CannotLower,
    LinearTerm,
    ReadoutValue,
    SpecBuilder,
    UnknownInput,
    apply_operator,
    unknown,
)
from alade_brian.spec import Convolution, Dense, Operator, Shape, Sparse


def part_of(lowering: SpecBuilder, value: AffineInput, axis: int, taken: range) -> AffineInput:
    """The places `taken` along an axis of a value (without batch), in their order."""
    shape = (*value.shape[:axis], len(taken), *value.shape[axis + 1 :])
    if isinstance(value, ReadoutValue):
        raise CannotLower("index", "a part of the answer", "is the end of the network; return all of it")
    if not len(taken):
        raise CannotLower("index", "nothing", "takes an empty part of a layer's output; take some of it")
    if isinstance(value, UnknownInput):
        return unknown(shape)
    if axis == 0 and taken.step == 1:
        return _channels(lowering, value, taken, shape)
    places = np.take(np.arange(prod(value.shape)).reshape(value.shape), taken, axis).ravel()
    bias = np.take(value.bias, taken, axis)
    made = apply_operator(lowering, _selection(places, shape), replace(value, bias=np.zeros(value.shape)))
    return replace(made, bias=bias)


def _selection(places: np.ndarray, shape: Shape) -> Sparse:
    """The operator that passes on what stands at these flat places."""
    return Sparse(np.arange(len(places)), places, np.ones(len(places)), shape)


def _channels(lowering: SpecBuilder, value: AffineInput, taken: range, shape: Shape) -> AffineInput:
    """Neighbouring channels: what a term has elsewhere is left out."""
    size = prod(value.shape[1:])
    low, high = taken.start * size, taken.stop * size
    terms = []
    for term in value.terms:
        begin, end = term.first, term.first + prod(term.shape)
        if low <= begin and end <= high:
            terms.append(replace(term, first=begin - low))
        elif begin < high and low < end:
            first, last = max(low, begin), min(high, end)
            terms.append(replace(_outputs(lowering, term, first - begin, last - begin), first=first - low))
    return AffineInput(shape, tuple(terms), value.bias[taken.start : taken.stop])


def _outputs(lowering: SpecBuilder, term: LinearTerm, first: int, last: int) -> LinearTerm:
    """A term with some of its operator's outputs, from flat position `first` to before `last`."""
    size = prod(term.shape[1:])
    whole = first % size == 0 and last % size == 0
    shape = ((last - first) // size, *term.shape[1:]) if whole else (last - first,)
    operator = _some_outputs(term.operator, lowering.shape(term.source), first, last)
    if operator is not None:
        return replace(term, operator=operator, shape=shape)
    alone = AffineInput(term.shape, (replace(term, first=0),), np.zeros(term.shape))
    return apply_operator(lowering, _selection(np.arange(first, last), shape), alone).terms[0]


def _some_outputs(operator: Operator, source: Shape, first: int, last: int) -> Operator | None:
    """An operator with some of its outputs only, where that is of the same kind; None if it is not."""
    if isinstance(operator, Behind):
        outer = _some_outputs(operator.outer, operator.inner.output_shape(operator.source), first, last)
        return None if outer is None else replace(operator, outer=outer)
    if isinstance(operator, Dense):
        return Dense(operator.weight[first:last])
    if isinstance(operator, Convolution) and operator.groups == 1:
        size = prod(operator.output_shape(source)[1:])
        if first % size == 0 and last % size == 0:
            return replace(operator, weight=operator.weight[first // size : last // size])
    return None
