"""What torch's functions and tensors' methods do to the axis of time: stacking, sums over the steps, states of sizes.

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
from torch import Tensor

from alade_brian.conversion.from_torch.recordings import Blank, joined, stacked, written
from alade_brian.conversion.from_torch.shapes import Batch, sizes_of
from alade_brian.conversion.from_torch.step_axis import (
    axes_of,
    flattened,
    is_sequence,
    moved,
    permuted,
    repeat,
    reshaped,
    transposed,
    unflattened,
    without_time,
)
from alade_brian.conversion.from_torch.taking import divided, item, narrow, select, squeeze, unbind, unsqueeze
from alade_brian.conversion.from_torch.time_axis import (
    AllSteps,
    CallCounter,
    Decided,
    Membrane,
    OneStep,
    StepReduction,
)
from alade_brian.conversion.lowering import AffineInput, CannotLower, ReadoutValue

# Put the steps together -----------------------------------------------------------------------------------------------


def _stack(clock: CallCounter, tensors: Any, dim: int = 0) -> Any:
    if not isinstance(tensors, tuple | list) or not tensors:
        raise CannotLower("tensors", type(tensors).__name__, "are no list; stack a list with a tensor for each step")
    if all(isinstance(t, Membrane | OneStep | AffineInput) for t in tensors):
        dim %= axes_of(clock, tensors[0]) + 1
    return stacked(clock, tensors, dim)


def _reduce(how: Any) -> Callable[..., Any]:
    def reduce(clock: CallCounter, tensor: Any, dim: Any = None, *rest: Any, **more: Any) -> Any:
        if not is_sequence(tensor):
            return NotImplemented
        given = dim[0] if isinstance(dim, tuple | list) and len(dim) == 1 else dim
        if not isinstance(given, int) or given % axes_of(clock, tensor) != tensor.axis:
            raise CannotLower("dim", dim, f"must be the steps'; use dim={tensor.axis}")
        made = StepReduction(tensor, how)
        return (made, "indices") if how == "max" else made

    return reduce


def _first(pair: Any) -> Any:
    return pair[0] if isinstance(pair, tuple) else pair


# Sizes, constants and states ------------------------------------------------------------------------------------------


def _getattr(clock: CallCounter, whole: Any, name: str) -> Any:
    if name == "shape":
        return _size(clock, whole)
    if name == "values" and isinstance(whole, tuple):
        return whole[0]
    return name if name in ("device", "dtype") else NotImplemented


def _size(clock: CallCounter, whole: Any, dim: int | None = None) -> Any:
    if not isinstance(whole, AllSteps) or whole.axis != 0:
        return NotImplemented
    shape = (clock.length(), Batch(clock.images), *whole.value.shape)
    return shape if dim is None else shape[dim]


def _filled(number: float) -> Callable[..., Any]:
    """A tensor of a given size, the same number everywhere."""

    def filled(clock: CallCounter, tensor: Any, *shape: Any, **more: Any) -> Any:
        whole = sizes_of(shape)
        if len(whole) > 1 and not isinstance(whole[0], Batch) and any(isinstance(n, Batch) for n in whole):
            return Blank(whole)
        if not whole or not isinstance(whole[0], Batch):
            raise CannotLower("shape", whole, "must begin with the number of images; use x.size(0)")
        return AffineInput(whole[1:], (), np.full(whole[1:], number))

    return filled


def _filled_like(number: float) -> Callable[..., Any]:
    """A tensor of another's size, the same number everywhere."""

    def filled_like(clock: CallCounter, tensor: Any, **more: Any) -> Any:
        shape = clock.calls[tensor.population].sends.shape if isinstance(tensor, Membrane) else None
        shape = without_time(tensor).shape if shape is None else shape
        made = AffineInput(shape, (), np.full(shape, number))
        return replace(tensor, value=made) if isinstance(tensor, AllSteps) else made

    return filled_like


def _scaled(sign: Callable[[float, float], float]) -> Callable[..., Any]:
    def scaled(clock: CallCounter, left: Any, right: Any, **more: Any) -> Any:
        if isinstance(left, StepReduction) and type(right) in (int, float):
            return replace(left, factor=sign(left.factor, right))
        if type(left) in (int, float) and isinstance(right, StepReduction) and sign is python_operator.mul:
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


# What a decision is made of -------------------------------------------------------------------------------------------


def decided(clock: CallCounter, answer: Any, dim: Any = None, *args: Any, **more: Any) -> Any:
    """A softmax, its logarithm, or the place of the largest: the answer is what stands before it.

    None of them changes which answer is the largest, so the logits are read instead; torch is asked for them too.
    """
    if isinstance(answer, AllSteps) or is_sequence(answer):
        raise CannotLower("softmax", "of single steps", "is no readout; apply it to their sum or mean, or leave it out")
    if not isinstance(answer, ReadoutValue | StepReduction | Membrane | OneStep):
        return NotImplemented
    if dim not in (1, -1):
        raise CannotLower("dim", dim, "must be the classes'; use dim=1")
    return Decided(answer)


# What only decides between answers, as functions and as methods.
DECISIONS: frozenset[Any] = frozenset(
    {
        torch.softmax,
        torch.log_softmax,
        torch.argmax,
        torch.nn.functional.softmax,
        torch.nn.functional.log_softmax,
        Tensor.softmax,
        Tensor.log_softmax,
        Tensor.argmax,
    }
)

CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)
TIME_FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    torch.stack: _stack,
    torch.sum: _reduce("sum"),
    torch.mean: _reduce("mean"),
    torch.max: _reduce("max"),
    torch.amax: lambda clock, *a, **k: _first(_reduce("max")(clock, *a, **k)),
    torch.zeros_like: _filled_like(0.0),
    torch.ones_like: _filled_like(1.0),
    torch.unsqueeze: unsqueeze,
    torch.squeeze: squeeze,
    torch.unbind: unbind,
    torch.select: select,
    torch.narrow: narrow,
    **{function: divided(function.__name__) for function in (torch.chunk, torch.split, torch.tensor_split)},
    **dict.fromkeys(CONCATENATIONS, joined),
    torch.permute: permuted,
    **dict.fromkeys((torch.transpose, torch.swapaxes, torch.swapdims), transposed),
    **dict.fromkeys((torch.movedim, torch.moveaxis), moved),
    torch.flatten: flattened,
    torch.unflatten: unflattened,
    torch.reshape: reshaped,
    **dict.fromkeys(DECISIONS, decided),
    python_operator.getitem: item,
    python_operator.setitem: written,
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
    "unsqueeze": unsqueeze,
    "squeeze": squeeze,
    "unbind": unbind,
    "select": select,
    "narrow": narrow,
    **{name: divided(name) for name in ("chunk", "split", "tensor_split")},
    "permute": permuted,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), transposed),
    **dict.fromkeys(("movedim", "moveaxis"), moved),
    "flatten": flattened,
    "unflatten": unflattened,
    "view": reshaped,
    "reshape": reshaped,
    **dict.fromkeys(("softmax", "log_softmax", "argmax"), decided),
    "repeat": repeat,
    "expand": repeat,
    "to": _ignore,
    "cpu": _ignore,
    "cuda": _ignore,
    "float": _ignore,
    "double": _ignore,
    "contiguous": _ignore,
    "detach": _ignore,
    "new_zeros": _filled(0.0),
    "new_ones": _filled(1.0),
    "new_empty": _filled(0.0),
}
# What takes a recording for the single steps that it holds.
TAKES_RECORDINGS: frozenset[Any] = frozenset(
    target
    for table in (TIME_FUNCTIONS, TIME_METHODS)
    for target, function in table.items()
    if function in (joined, item, written, select, narrow, unbind, squeeze, permuted, transposed, moved, repeat)
)
