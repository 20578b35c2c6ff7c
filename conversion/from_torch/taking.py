"""Parts of tensors: single steps of a sequence, some of its steps, and channels or features of a layer.

Each function takes the counter of calls and the arguments of torch's own, with values in the place of tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from alade_brian.conversion.from_torch.recordings import StepList, shown_index, with_axis_of_one, within_step
from alade_brian.conversion.from_torch.step_axis import axes_of, is_sequence, is_tensor, without_time
from alade_brian.conversion.from_torch.time_axis import AllSteps, CallCounter, Membrane, OneStep, StepReduction
from alade_brian.conversion.lowering import AffineInput, CannotLower, reshape
from alade_brian.conversion.parts import part_of

_NO_STEP = "is no step; use a step's number, or -1 for the last"


def item(clock: CallCounter, whole: Any, index: Any) -> Any:
    """``x[t]``, ``x[:, t]``, ``x[..., t]``; a slice along the steps, the channels or the features; ``x[:, None]``."""
    if not is_tensor(whole) and not isinstance(whole, StepReduction):
        return whole[index]
    items = list(index) if isinstance(index, tuple) else [index]
    if any(entry is None for entry in items):
        return _with_new_axis(clock, whole, items)
    picked = _picked(items, whole, clock)
    if not picked:
        return whole  # all of it
    if isinstance(whole, StepReduction):
        raise CannotLower("index", shown_index(index), _NO_STEP)
    steps = whole.axis if is_sequence(whole) else None
    made = whole
    for axis in sorted(picked, reverse=True):  # from behind: a number takes its axis away
        if axis != steps:
            made = _of_features(clock, made, axis, picked[axis], index)
    if steps is None or steps not in picked:
        return made
    number = picked[steps]
    if type(number) is int:
        return _step(clock, made, number, index)
    if isinstance(number, slice):
        # A number that was taken out before the steps has moved their axis.
        return _steps(made, made.axis, range(_length(clock, made))[number])
    raise CannotLower("index", shown_index(index), _NO_STEP)


def _picked(items: list[Any], whole: Any, clock: CallCounter) -> dict[Any, Any]:
    """What an index takes out, by axis; axes that it takes whole are left out."""
    if any(entry is Ellipsis for entry in items):
        where = next(k for k, entry in enumerate(items) if entry is Ellipsis)
        axes = 1 if isinstance(whole, StepReduction) else axes_of(clock, whole)
        items[where : where + 1] = [slice(None)] * (axes - len(items) + 1)
    whole_axis = slice(None), slice(0, None), slice(None, None, 1)
    return {axis: entry for axis, entry in enumerate(items) if not (isinstance(entry, slice) and entry in whole_axis)}


def _with_new_axis(clock: CallCounter, whole: Any, items: list[Any]) -> Any:
    places = [k for k, entry in enumerate(items) if entry is None]
    rest = [entry for entry in items if entry is not None]
    if len(places) > 1 or not all(entry is Ellipsis or entry == slice(None) for entry in rest):
        raise CannotLower("index", "None", "adds an axis and takes a part at once; use unsqueeze, then index")
    behind = any(entry is Ellipsis for entry in items[: places[0]])
    return unsqueeze(clock, whole, places[0] - len(items) if behind else places[0])


def _length(clock: CallCounter, whole: Any) -> int:
    return len(whole.tensors) if isinstance(whole, StepList) else clock.length()


def _step(clock: CallCounter, whole: Any, number: int, index: Any) -> Any:
    if isinstance(whole, StepList):
        if not -len(whole.tensors) <= number < len(whole.tensors):
            raise CannotLower("index", shown_index(index), f"is beyond the {len(whole.tensors)} steps that there are")
        found = whole.tensors[number]
        if found is None:
            raise CannotLower("recording", f"step {number}", "is read before it is written")
        return found
    if number == -1:
        return StepReduction(whole, "last")
    if number < 0:
        raise CannotLower("index", shown_index(index), _NO_STEP)
    return _single(whole, number)


def _single(whole: Any, number: int) -> Any:
    return OneStep(whole.value, number) if isinstance(whole, AllSteps) else replace(whole, step=number)


def _steps(whole: Any, axis: int, numbers: range) -> Any:
    """Some steps of a sequence, with their axis."""
    if not numbers:
        raise CannotLower("index", "nothing", "takes no step; take some of them")
    every = whole.tensors if isinstance(whole, StepList) else None
    return StepList(tuple(_single(whole, k) if every is None else every[k] for k in numbers), axis)


def _of_features(clock: CallCounter, whole: Any, axis: int, taken: Any, index: Any) -> Any:
    """A part of every step, along an axis of channels, pixels or features; a number takes the axis away."""
    place = _place(whole, axis, "index", shown_index(index))
    if isinstance(whole, StepList):
        raise CannotLower(
            "index", shown_index(index), "takes a part of a recording; take it of every step before it is recorded"
        )
    shape = getattr(without_time(whole), "shape", ())
    if place >= len(shape):
        raise CannotLower("index", shown_index(index), "takes a part of an axis that no layer's output has here")
    size = shape[place]
    if type(taken) is int:
        if not -size <= taken < size:
            raise CannotLower("index", shown_index(index), f"is beyond the {size} that there are")
        one = part(clock, whole, place, range(taken % size, taken % size + 1))
        return _without_axis(clock, one, place)
    if isinstance(taken, slice):
        return part(clock, whole, place, range(size)[taken])
    raise CannotLower("index", shown_index(index), "takes a part by a list or a tensor; use slices")


def part(clock: CallCounter, whole: Any, place: int, taken: range) -> Any:
    """Some places of a tensor along an axis behind the images."""
    key = ("part", place, taken.start, taken.stop, taken.step)
    return within_step(clock, whole, key, lambda value: part_of(clock.lowering, value, place, taken))


def _place(whole: Any, axis: int, argument: str, value: Any) -> int:
    """The place of an axis that is not the steps' among those behind the images; refused for the images'."""
    steps = whole.axis if is_sequence(whole) else None
    place = axis - 1 - (steps is not None and steps < axis)
    if place < 0:
        raise CannotLower(
            argument, value, "takes or changes the axis of the images; let layers take all images at once"
        )
    return place


def _without_axis(clock: CallCounter, whole: Any, place: int) -> Any:
    def made(value: AffineInput) -> AffineInput:
        return reshape(value, (*value.shape[:place], *value.shape[place + 1 :]))

    if len(getattr(without_time(whole), "shape", ())) == 1:
        raise CannotLower("index", place + 1, "leaves no axis of features; take a slice of one, x[:, k:k + 1]")
    made_of = _moved_steps(whole, place)
    return within_step(clock, made_of, ("squeeze", place), made)


def _moved_steps(whole: Any, place: int) -> Any:
    """A tensor whose axis of steps is counted without an axis of features before it."""
    steps = whole.axis if isinstance(whole, AllSteps) else None
    return replace(whole, axis=steps - 1) if steps is not None and steps > place + 1 else whole


def select(clock: CallCounter, whole: Any, dim: int, index: int) -> Any:
    """torch.select."""
    if not is_tensor(whole):
        return NotImplemented
    return item(clock, whole, (*[slice(None)] * (dim % axes_of(clock, whole)), index))


def narrow(clock: CallCounter, whole: Any, dim: int, start: int, length: int) -> Any:
    """torch.narrow."""
    if not is_tensor(whole):
        return NotImplemented
    return item(clock, whole, (*[slice(None)] * (dim % axes_of(clock, whole)), slice(start, start + length)))


def unbind(clock: CallCounter, whole: Any, dim: int = 0) -> Any:
    """torch.unbind along the steps."""
    if not is_sequence(whole):
        return NotImplemented
    return tuple(select(clock, whole, dim, step) for step in range(_length(clock, whole)))


def divided(name: str) -> Callable[..., Any]:
    """torch.chunk, torch.split and torch.tensor_split: along the steps, the channels or the features."""

    def divide(clock: CallCounter, whole: Any, *args: Any, **more: Any) -> Any:
        if not is_tensor(whole):
            return NotImplemented
        given = dict(more)
        dim = given.pop("dim", args[1] if len(args) > 1 else 0) % axes_of(clock, whole)
        how = [*args[:1], *given.values()]
        along_steps = is_sequence(whole) and dim == whole.axis
        if along_steps:
            length = _length(clock, whole)
        else:
            place = _place(whole, dim, "dim", dim)
            shape = getattr(without_time(whole), "shape", ())
            if isinstance(whole, StepList | Membrane) or place >= len(shape):
                raise CannotLower("dim", dim, f"is no axis that {name} can divide here; divide outputs of layers")
            length = shape[place]
        # torch itself says which places each part has.
        places = getattr(torch.arange(length), name)(*how)
        parts = [range(int(p[0]), int(p[-1]) + 1) if len(p) else range(0) for p in places]
        return tuple(_steps(whole, dim, p) if along_steps else part(clock, whole, place, p) for p in parts)

    return divide


def unsqueeze(clock: CallCounter, tensor: Any, dim: int) -> Any:
    """Tensor.unsqueeze: an axis of steps, or one more of features."""
    if not is_tensor(tensor) or isinstance(tensor, StepList):
        raise CannotLower("dim", dim, "adds an axis that is not the steps'; use unsqueeze(0) on the images")
    dim %= axes_of(clock, tensor) + 1
    if is_sequence(tensor):
        if isinstance(tensor, Membrane) or dim < 2:
            said = "adds an axis before the images or the steps; a sequence has its steps already"
            raise CannotLower("dim", dim, said)
        place = dim - 1 - (tensor.axis < dim)
        moved = replace(tensor, axis=tensor.axis + 1) if tensor.axis >= dim else tensor
        return with_axis_of_one(clock, moved, place)
    if isinstance(tensor, AffineInput) and dim == 0:
        clock.axis.add(1)
        return AllSteps(tensor)
    # Whether it is the steps' is told by what becomes of it: a repetition, or further steps beside it.
    return StepList((tensor,), dim)


def squeeze(clock: CallCounter, tensor: Any, dim: Any = None) -> Any:
    """Tensor.squeeze: the axis of a single step, or one of features."""
    if not is_tensor(tensor):
        return NotImplemented
    if dim is None or isinstance(dim, tuple | list):
        said = "takes away the axis of a single image, too; name the axis, as in x.squeeze(1)"
        raise CannotLower("dim", dim, said)
    axis = dim % axes_of(clock, tensor)
    if is_sequence(tensor) and axis == tensor.axis:
        if isinstance(tensor, StepList) and len(tensor.tensors) == 1:
            return _step(clock, tensor, 0, 0)
        if _length(clock, tensor) > 1:
            return tensor  # as torch does
        return _single(tensor, 0)
    if isinstance(tensor, StepList | Membrane):
        raise CannotLower("dim", dim, "is an axis of a recording; take it away in every step before it is recorded")
    place = _place(tensor, axis, "dim", dim)
    return tensor if without_time(tensor).shape[place] != 1 else _without_axis(clock, tensor, place)
