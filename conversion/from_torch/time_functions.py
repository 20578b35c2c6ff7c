"""What torch's functions and tensors' methods do to the axis of time: stacking, indexing, sums over the steps.

Each takes the counter of calls and the arguments of the function, with values in the place of tensors, and returns
NotImplemented where time plays no part; then the lowerings of `functions` hold.
"""

from __future__ import annotations

import operator as python_operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from alade_brian.conversion.from_torch.functions import Batch
from alade_brian.conversion.from_torch.time_axis import AllSteps, CallCounter, Membrane, OneStep, StepReduction
from alade_brian.conversion.lowering import AffineInput, CannotLower


def without_time(value: Any) -> Any:
    """The value of one step or of all steps; anything else as it is."""
    return value.value if isinstance(value, OneStep | AllSteps) else value


def _stack(clock: CallCounter, tensors: Any, dim: int = 0) -> Any:
    if dim != 0 or not isinstance(tensors, tuple | list) or not tensors:
        raise CannotLower("dim", dim, "must put the steps in front; use torch.stack(list, dim=0)")
    if all(isinstance(t, Membrane) for t in tensors):
        if [t.step for t in tensors] != list(range(len(tensors))):
            raise CannotLower("tensors", "membranes", "are not those of every step in their order")
        clock.axis.add(len(tensors))
        return replace(tensors[0], step=None)
    last = tensors[-1]
    clock.axis.add(len(tensors))
    if all(isinstance(t, AffineInput) and t is last for t in tensors):
        return AllSteps(last)
    if not all(isinstance(t, OneStep) for t in tensors) or [t.step for t in tensors] != list(range(len(tensors))):
        raise CannotLower("tensors", "a list", "is not one tensor of every step in their order")
    return AllSteps(last.value)


def _reduce(how: Any) -> Callable[..., Any]:
    def reduce(clock: CallCounter, tensor: Any, dim: Any = None, *rest: Any, **more: Any) -> Any:
        if not isinstance(tensor, AllSteps) and not (isinstance(tensor, Membrane) and tensor.step is None):
            return NotImplemented
        if dim not in (0, (0,), [0]):
            raise CannotLower("dim", dim, "must be the steps'; use dim=0")
        made = StepReduction(tensor, how)
        return (made, "indices") if how == "max" else made

    return reduce


def _getitem(clock: CallCounter, whole: Any, index: Any) -> Any:
    if isinstance(whole, StepReduction | OneStep | AffineInput) or (
        isinstance(whole, Membrane) and whole.step is not None
    ):
        raise CannotLower("index", index, "takes a part of a layer's output; make the part a layer of its own")
    if isinstance(whole, AllSteps | Membrane):
        if index == -1:
            return StepReduction(whole, "last")
        if isinstance(index, int) and index >= 0:
            return OneStep(whole.value, index) if isinstance(whole, AllSteps) else replace(whole, step=index)
        raise CannotLower("index", index, "is no step; use a step's number, or -1 for the last")
    return whole[index]


def _getattr(clock: CallCounter, whole: Any, name: str) -> Any:
    if name == "shape":
        return _size(clock, whole)
    if name == "values" and isinstance(whole, tuple):
        return whole[0]
    return name if name in ("device", "dtype") else NotImplemented


def _size(clock: CallCounter, whole: Any, dim: int | None = None) -> Any:
    if not isinstance(whole, AllSteps):
        return NotImplemented
    if len(clock.axis) != 1:
        raise CannotLower("shape", "of a sequence", "is not known here; give convert steps=")
    shape = (next(iter(clock.axis)), Batch(), *whole.value.shape)
    return shape if dim is None else shape[dim]


def _zeros(clock: CallCounter, *shape: Any, **more: Any) -> Any:
    whole = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    if not whole or not isinstance(whole[0], Batch):
        raise CannotLower("shape", whole, "must begin with the number of images; use x.size(0)")
    return AffineInput(tuple(whole[1:]), (), np.zeros(tuple(whole[1:])))


def _zeros_like(clock: CallCounter, tensor: Any, **more: Any) -> Any:
    shape = without_time(tensor).shape
    return AffineInput(shape, (), np.zeros(shape))


def _unsqueeze(clock: CallCounter, tensor: Any, dim: int) -> Any:
    if dim != 0 or not isinstance(tensor, AffineInput):
        raise CannotLower("dim", dim, "adds an axis that is not the steps'; use unsqueeze(0) on the images")
    clock.axis.add(1)
    return AllSteps(tensor)


def _repeat(clock: CallCounter, tensor: Any, *times: Any) -> Any:
    counts = times[0] if len(times) == 1 and isinstance(times[0], tuple | list | torch.Size) else times
    value = without_time(tensor)
    rank = len(value.shape) + 2
    pairs = zip(counts[-len(value.shape) :], value.shape, strict=False)
    same = all(c in (1, -1) or isinstance(c, Batch) or c == n for c, n in pairs)
    if len(counts) != rank or not same or not isinstance(counts[0], int):
        said = "must repeat the images over the steps only; use x.unsqueeze(0).repeat(T, 1, ...)"
        raise CannotLower("repeat", counts, said)
    clock.axis.discard(1)
    clock.axis.add(counts[0])
    return AllSteps(value)


def _scaled(sign: Callable[[float, float], float]) -> Callable[..., Any]:
    def scaled(clock: CallCounter, left: Any, right: Any, **more: Any) -> Any:
        if isinstance(left, StepReduction) and isinstance(right, int | float):
            return replace(left, factor=sign(left.factor, right))
        if isinstance(left, int | float) and isinstance(right, StepReduction) and sign is python_operator.mul:
            return replace(right, factor=right.factor * left)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return sign(left, right)
        return NotImplemented

    return scaled


def _plus(clock: CallCounter, left: Any, right: Any, **more: Any) -> Any:
    # A sum that a loop begins with the number 0.
    for number, other in ((left, right), (right, left)):
        if isinstance(number, int | float) and number == 0 and isinstance(other, AffineInput | OneStep | AllSteps):
            return other
    return NotImplemented


def _ignore(clock: CallCounter, *args: Any, **more: Any) -> Any:
    return args[0] if args else None


def _first(pair: Any) -> Any:
    return pair[0] if isinstance(pair, tuple) else pair


TIME_FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    torch.stack: _stack,
    torch.sum: _reduce("sum"),
    torch.mean: _reduce("mean"),
    torch.max: _reduce("max"),
    torch.amax: lambda clock, *a, **k: _first(_reduce("max")(clock, *a, **k)),
    torch.zeros: _zeros,
    torch.zeros_like: _zeros_like,
    torch.unsqueeze: _unsqueeze,
    python_operator.getitem: _getitem,
    getattr: _getattr,
    torch.add: _plus,
    python_operator.add: _plus,
    python_operator.iadd: _plus,
    python_operator.mul: _scaled(python_operator.mul),
    python_operator.truediv: _scaled(python_operator.truediv),
    torch.mul: _scaled(python_operator.mul),
    torch.div: _scaled(python_operator.truediv),
}
TIME_METHODS: Mapping[str, Callable[..., Any]] = {
    "sum": _reduce("sum"),
    "mean": _reduce("mean"),
    "max": _reduce("max"),
    "amax": lambda clock, *a, **k: _first(_reduce("max")(clock, *a, **k)),
    "size": _size,
    "unsqueeze": _unsqueeze,
    "repeat": _repeat,
    "expand": _repeat,
    "to": _ignore,
    "float": _ignore,
    "double": _ignore,
    "contiguous": _ignore,
    "detach": _ignore,
    "new_zeros": lambda clock, tensor, *shape, **more: _zeros(clock, *shape),
}
