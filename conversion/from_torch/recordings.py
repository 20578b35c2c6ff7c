"""Recordings of single steps: tensors that a loop fills, writes or concatenates step by step.

A recording that holds every step once, in their order, is what `torch.stack` of these steps gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from alade_brian.conversion.from_torch.shapes import Batch
from alade_brian.conversion.from_torch.time_axis import AllSteps, CallCounter, Membrane, OneStep, same_in_step
from alade_brian.conversion.lowering import AffineInput, CannotLower, reshape

_WRITE = "write each step once, whole: rec[step] = spikes"


@dataclass(frozen=True, eq=False)
class Blank:
    """A tensor with no axis of images in front: nothing can be done with it but write steps into it."""

    sizes: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class StepList:
    """Tensors of single steps side by side along an axis of their own; None for one that is yet to be written."""

    tensors: tuple[Any, ...]
    axis: int


def stacked(clock: CallCounter, tensors: Sequence[Any], axis: int = 0) -> Any:
    """A list with a tensor of every step, in their order, as one tensor with the steps at that place."""
    last = tensors[-1]
    if all(isinstance(t, Membrane) for t in tensors):
        if [t.step for t in tensors] != list(range(len(tensors))):
            raise CannotLower("tensors", "membranes", "are not those of every step in their order")
        clock.axis.add(len(tensors))
        return replace(last, step=None, axis=axis)
    clock.axis.add(len(tensors))
    if all(isinstance(t, AffineInput) and t is last for t in tensors):
        return AllSteps(last, axis)
    if not all(isinstance(t, OneStep) for t in tensors) or [t.step for t in tensors] != list(range(len(tensors))):
        raise CannotLower("tensors", "a list", "is not one tensor of every step in their order")
    for one in tensors:
        if not same_in_step(one.value, last.value, one.step):
            raise CannotLower("tensors", f"step {one.step}", "differs from the last step's; do the same in every step")
    return AllSteps(last.value, axis)


def resolved(clock: CallCounter, value: Any) -> Any:
    """What a recording is where anything but a single step is made of it; any other value as it is."""
    if isinstance(value, Blank):
        said = "holds no step yet; write every step before it is read, or begin a state with the number of images"
        raise CannotLower("tensor", f"of sizes {tuple(map(int, value.sizes))}", said)
    if not isinstance(value, StepList):
        return value
    missing = [step for step, tensor in enumerate(value.tensors) if tensor is None]
    if missing:
        raise CannotLower("recording", f"step {missing[0]}", f"is read before it is written; {_WRITE}")
    first = value.tensors[0]
    if len(value.tensors) == 1 and value.axis and not isinstance(first, Membrane):
        return with_axis_of_one(clock, first, value.axis - 1)
    steps = [t.step for t in value.tensors if isinstance(t, OneStep | Membrane)]
    if steps != list(range(len(steps))):
        said = "is no step, nor every step in their order; use all of them, a step's number, or -1 for the last"
        raise CannotLower("tensors", "a part of the steps", said)
    return stacked(clock, value.tensors, value.axis)


def resolved_in(clock: CallCounter, tree: Any) -> Any:
    """Nested arguments with every recording in them resolved."""
    return _changed(tree, lambda recording: resolved(clock, recording))


def without_recordings(tree: Any) -> Any:
    """Nested arguments with None in the place of every recording."""
    return _changed(tree, lambda recording: None)


def _changed(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Nested arguments with every recording in them changed; what holds none is left as it is."""
    if isinstance(tree, dict):
        return {key: _changed(item, change) for key, item in tree.items()}
    if isinstance(tree, tuple | list) and _holds_recording(tree):
        return type(tree)(_changed(item, change) for item in tree)
    return change(tree) if isinstance(tree, StepList | Blank) else tree


def _holds_recording(tree: Any) -> bool:
    if isinstance(tree, dict):
        return any(_holds_recording(item) for item in tree.values())
    if isinstance(tree, tuple | list):
        return any(_holds_recording(item) for item in tree)
    return isinstance(tree, StepList | Blank)


def within_step(clock: CallCounter, tensor: Any, key: tuple[Any, ...], make: Callable[[AffineInput], Any]) -> Any:
    """A tensor whose value is what `make` gives of it; made once per value and `key`, so that equal steps share it."""
    if isinstance(tensor, OneStep | AllSteps):
        return replace(tensor, value=within_step(clock, tensor.value, key, make))
    if not isinstance(tensor, AffineInput):
        raise CannotLower("input", "a membrane or a state", "is only an answer; build the network on spikes")
    return clock.remember((*key, id(tensor)), lambda: make(tensor), tensor)


def with_axis_of_one(clock: CallCounter, tensor: Any, place: int) -> Any:
    """A tensor with another axis of one; `place` is its place among the axes behind the images."""

    def made(value: AffineInput) -> AffineInput:
        return reshape(value, (*value.shape[:place], 1, *value.shape[place:]))

    return within_step(clock, tensor, ("unsqueeze", place), made)


def shape_within_step(clock: CallCounter, tensor: Any) -> tuple[int, ...]:
    """The shape of what a tensor holds of one image in one step."""
    if isinstance(tensor, Membrane):
        return clock.calls[tensor.population].sends.shape
    return tuple(tensor.value.shape if isinstance(tensor, OneStep | AllSteps) else tensor.shape)


# Writing a step into a tensor made before the loop --------------------------------------------------------------------


def written(clock: CallCounter, whole: Any, index: Any, value: Any) -> Any:
    """``rec[t] = spikes`` and ``rec[:, t] = spikes``: the recording with that step in it."""
    sizes = () if isinstance(whole, StepList) else _sizes(clock, whole)
    axis, number = _step_of(index, _axes(clock, whole) if isinstance(whole, StepList) else len(sizes))
    if isinstance(whole, StepList):
        record = whole
        if axis != record.axis:
            said = f"writes along axis {axis}, not {record.axis} as before; {_WRITE}"
            raise CannotLower("index", shown_index(index), said)
    else:
        record = StepList((None,) * int(sizes[axis]), axis)
        _check_sizes(clock, [n for k, n in enumerate(sizes) if k != axis], value)
    length = len(record.tensors)
    if not -length <= number < length:
        raise CannotLower("index", shown_index(index), f"is beyond the {length} steps that the recording has")
    number %= length
    _check_written(clock, record, number, value)
    tensors = tuple(value if k == number else t for k, t in enumerate(record.tensors))
    made = StepList(tensors, axis)
    return made if None in tensors else stacked(clock, tensors, axis)


def _step_of(index: Any, axes: int) -> tuple[int, int]:
    """The axis and the number of the step that an index of a tensor with so many axes writes."""
    items = list(index) if isinstance(index, tuple) else [index]
    numbers = [k for k, item in enumerate(items) if type(item) is int]
    whole = (slice(None), slice(0, None), slice(None, None, 1))
    others = [item for item in items if type(item) is not int]
    plain = all(item is Ellipsis or _among(item, whole) for item in others)
    if len(numbers) != 1 or not plain or len(items) > axes + (Ellipsis in others):
        raise CannotLower("index", shown_index(index), f"writes something other than one whole step; {_WRITE}")
    place = numbers[0]
    return place + (axes - len(items) if Ellipsis in items[:place] else 0), items[place]


def _among(item: Any, slices: Sequence[slice]) -> bool:
    return isinstance(item, slice) and item in slices


def shown_index(index: Any) -> str:
    """An index as a user may have written it."""
    items = index if isinstance(index, tuple) else (index,)

    def one(item: Any) -> str:
        if isinstance(item, slice):
            ends = ["" if end is None else str(end) for end in (item.start, item.stop)]
            return ":".join(ends) + ("" if item.step is None else f":{item.step}")
        return "..." if item is Ellipsis else str(item) if isinstance(item, int | list) else "a tensor"

    return f"[{', '.join(map(one, items))}]"


def _sizes(clock: CallCounter, whole: Any) -> tuple[Any, ...]:
    """The sizes of a tensor that steps are written into, the number of images marked where it is known."""
    if isinstance(whole, Blank):
        return whole.sizes
    if isinstance(whole, torch.Tensor):
        if not whole.dtype.is_floating_point:
            said = "rounds what is written into it; leave dtype= out of the recording"
            raise CannotLower("dtype", str(whole.dtype).removeprefix("torch."), said)
        return tuple(Batch(clock.images) if n == clock.images else n for n in whole.shape)
    if isinstance(whole, AffineInput) and not whole.terms:
        return (Batch(clock.images), *whole.shape)
    if isinstance(whole, AllSteps) and whole.axis is not None and not whole.value.terms:
        sizes: list[Any] = [Batch(clock.images), *whole.value.shape]
        sizes.insert(whole.axis, clock.length())
        return tuple(sizes)
    raise CannotLower("tensor", "with steps in it", f"is written to again, or is no recording; {_WRITE}")


def _check_sizes(clock: CallCounter, sizes: Sequence[Any], value: Any) -> None:
    """Refuse to write a tensor that does not fill its step; a number of images may be written as a number."""
    shape = shape_within_step(clock, value) if isinstance(value, OneStep | Membrane | AffineInput) else None
    if shape is None:
        return  # refused by what the value is
    if not sizes or tuple(sizes[1:]) != shape:
        said = f"does not fit what is written, (images, {', '.join(map(str, shape))}); give the recording that shape"
        raise CannotLower("recording", f"of steps {tuple(map(int, sizes))}", said)
    images = sizes[0]
    if not isinstance(images, Batch):
        clock.take_at_once(images, images)


def _check_written(clock: CallCounter, record: StepList, number: int, value: Any) -> None:
    if isinstance(value, AllSteps | StepList | Blank) or not isinstance(value, OneStep | Membrane | AffineInput):
        said = f"writes what is no layer's output of one step; {_WRITE}"
        raise CannotLower("recording", f"step {number}", said)
    if record.tensors[number] is not None:
        raise CannotLower("recording", f"step {number}", f"is written twice; {_WRITE}")
    first = next((t for t in record.tensors if t is not None), value)
    if shape_within_step(clock, first) != shape_within_step(clock, value):
        raise CannotLower("recording", f"step {number}", "has another shape than the steps before")


# Joining and taking apart --------------------------------------------------------------------------------------------


def joined(clock: CallCounter, tensors: Any, dim: int = 0) -> Any:
    """torch.cat along the steps: of single steps with an axis of their own, one recording."""
    given = [t for t in tensors if not (isinstance(t, torch.Tensor) and t.numel() == 0)]  # what a loop began with
    if given and all(isinstance(t, AllSteps) and t.value is given[0].value for t in given) and clock.axis == {1}:
        if any(t.axis != dim % _axes(clock, t) for t in given):
            return NotImplemented
        clock.axis = {len(given)}  # an image held for all steps
        return given[0]
    lists = [t for t in given if isinstance(t, StepList)]
    if not lists or len(lists) != len(given) or any(t.axis != dim % _axes(clock, t) for t in lists):
        return NotImplemented
    parts = tuple(t for one in lists for t in one.tensors)
    steps = [t.step for t in parts if isinstance(t, OneStep)]
    if lists[0].axis and len(parts) == len(steps) > 1 == len(set(steps)):
        return NotImplemented  # layers side by side in one step
    return StepList(parts, lists[0].axis)


def _axes(clock: CallCounter, tensor: StepList | AllSteps) -> int:
    if isinstance(tensor, AllSteps):
        return len(tensor.value.shape) + (tensor.axis is not None) + 1
    first = next(t for t in tensor.tensors if t is not None)
    return len(shape_within_step(clock, first)) + 2
