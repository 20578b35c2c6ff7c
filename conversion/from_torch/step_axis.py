"""Where the steps stand among a tensor's axes: in front, behind the images, or as one axis with them.

Each function takes the counter of calls and the arguments of torch's own, with values in the place of tensors, and
returns NotImplemented where time plays no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from alade_brian.conversion.from_torch.recordings import StepList, shape_within_step
from alade_brian.conversion.from_torch.shapes import Batch, sizes_of
from alade_brian.conversion.from_torch.time_axis import AllSteps, CallCounter, Membrane, OneStep
from alade_brian.conversion.lowering import AffineInput, CannotLower, reshape
from alade_brian.spec import Shape


def without_time(value: Any) -> Any:
    """The value of one step or of all steps; anything else as it is."""
    return value.value if isinstance(value, OneStep | AllSteps) else value


def is_sequence(value: Any) -> bool:
    """Whether a value has an axis of steps of its own."""
    whole = (isinstance(value, AllSteps) and value.axis is not None) or isinstance(value, StepList)
    return whole or (isinstance(value, Membrane) and value.step is None)


def is_tensor(value: Any) -> bool:
    """Whether a value stands for a tensor with axes."""
    return isinstance(value, AllSteps | Membrane | OneStep | AffineInput | StepList)


def axes_of(clock: CallCounter, value: Any) -> int:
    """The number of a tensor's axes, those of the images and of the steps among them."""
    one = next(t for t in value.tensors if t is not None) if isinstance(value, StepList) else value
    return len(shape_within_step(clock, one)) + (2 if is_sequence(value) else 1)


def permuted(clock: CallCounter, tensor: Any, *order: Any) -> Any:
    """Tensor.permute."""
    if not is_tensor(tensor):
        return NotImplemented
    axes = axes_of(clock, tensor)
    given = [int(a) % axes for a in sizes_of(order)]
    steps = tensor.axis if is_sequence(tensor) else None
    if [a for a in given if a != steps] != [a for a in range(axes) if a != steps]:
        said = "reorders more than the axis of steps; keep images and features in their order"
        raise CannotLower("axes", tuple(given), said)
    return tensor if steps is None else replace(tensor, axis=given.index(steps))


def transposed(clock: CallCounter, tensor: Any, first: int, second: int) -> Any:
    """Tensor.transpose."""
    if not is_tensor(tensor):
        return NotImplemented
    order = list(range(axes_of(clock, tensor)))
    order[first], order[second] = order[second], order[first]
    return permuted(clock, tensor, order)


def moved(clock: CallCounter, tensor: Any, source: int, destination: int) -> Any:
    """Tensor.movedim."""
    if not is_tensor(tensor):
        return NotImplemented
    order = list(range(axes_of(clock, tensor)))
    order.insert(destination % len(order), order.pop(source % len(order)))
    return permuted(clock, tensor, order)


def repeat(clock: CallCounter, tensor: Any, *times: Any) -> Any:
    """Tensor.repeat and Tensor.expand: an image held for all steps."""
    counts = sizes_of(times)
    one = tensor.tensors[0] if isinstance(tensor, StepList) and len(tensor.tensors) == 1 else tensor
    value, axis = without_time(one), tensor.axis if is_sequence(tensor) else 0
    if isinstance(value, AffineInput) and len(counts) == len(value.shape) + 1:
        return _same_size(tensor, value, counts)
    rest = [n for place, n in enumerate(counts) if place != axis]
    fits = len(rest) == len(value.shape) + 1 and _keep(rest[1:], value.shape)
    if not fits or type(counts[axis]) is not int or not (rest[0] in (1, -1) or isinstance(rest[0], Batch)):
        said = "must repeat the images over the steps only; use x.unsqueeze(0).repeat(T, 1, ...)"
        raise CannotLower("repeat", counts, said)
    clock.axis.discard(1)
    clock.axis.add(counts[axis])
    return AllSteps(value, axis)


def _keep(counts: Sequence[Any], shape: Shape) -> bool:
    return all(c in (1, -1) or c == n for c, n in zip(counts, shape, strict=True))


def _same_size(tensor: Any, value: AffineInput, counts: Sequence[Any]) -> Any:
    """A tensor expanded to the size that it has."""
    if not _keep(counts[1:], value.shape) or not (counts[0] in (1, -1) or isinstance(counts[0], Batch)):
        said = "must repeat the images over the steps only; use x.unsqueeze(0).repeat(T, 1, ...)"
        raise CannotLower("repeat", counts, said)
    return tensor


# Steps and images as one axis -----------------------------------------------------------------------------------------


def flattened(clock: CallCounter, tensor: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """torch.flatten: of steps and images, one axis."""
    if not isinstance(tensor, AllSteps) or tensor.axis != 0:
        return NotImplemented
    axes = axes_of(clock, tensor)
    if (start_dim % axes, end_dim % axes) == (0, 1):
        return AllSteps(tensor.value, None)
    if start_dim % axes < 2:
        said = "flattens steps or images with what is in them; use flatten(0, 1) for both, or start_dim=2"
        raise CannotLower("start_dim", start_dim, said)
    return NotImplemented


def unflattened(clock: CallCounter, tensor: Any, dim: int, sizes: Sequence[Any]) -> Any:
    """torch.unflatten: of an axis with steps and images, two."""
    if not isinstance(tensor, AllSteps) or tensor.axis is not None or dim % axes_of(clock, tensor):
        return NotImplemented
    return _divided(clock, tensor.value, sizes)


def _divided(clock: CallCounter, value: AffineInput, sizes: Sequence[Any]) -> AllSteps:
    """Steps and images that shared an axis as two."""
    steps, images = sizes
    if steps not in (clock.length(), -1) or not (isinstance(images, Batch) or images == -1):
        raise CannotLower("size", tuple(sizes), f"must be the steps and the images: use ({clock.length()}, -1)")
    return AllSteps(value)


def reshaped(clock: CallCounter, tensor: Any, *sizes: Any) -> Any:
    """Tensor.view and Tensor.reshape of a tensor with all steps."""
    if not isinstance(tensor, AllSteps):
        return NotImplemented
    wanted = sizes_of(sizes)
    number = next((n for n, size in enumerate(wanted) if isinstance(size, Batch)), None)
    steps, whole = clock.length(), prod(tensor.value.shape)
    if tensor.axis in (0, None) and wanted[0] in (steps, -1) and (number == 1 or wanted[1:2] == (-1,)):
        front, made = 2, AllSteps(tensor.value)
    elif tensor.axis in (0, None) and (_folds(wanted, steps) or (wanted[0] == -1 and prod(wanted[1:]) == whole)):
        front, made = 1, AllSteps(tensor.value, None)
    elif tensor.axis == 1 and number == 0 and wanted[1] in (steps, -1):
        front, made = 2, tensor
    else:
        said = (
            "must keep steps and images in front, as two axes or as one: use (T, x.size(1), -1) or (T * x.size(1), -1)"
        )
        raise CannotLower("size", wanted, said)
    rest = wanted[front:]
    known = prod(n for n in rest if n != -1)
    shape = tuple(int(whole // known if n == -1 else n) for n in rest)
    return replace(made, value=reshape(tensor.value, shape))


def _folds(wanted: Sequence[Any], steps: int) -> bool:
    return isinstance(wanted[0], Batch) and wanted[0].times == steps
