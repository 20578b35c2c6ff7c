"""Small things that the lowering functions share: tensors as arrays, and what a layer may read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from alade_brian.conversion.lowering import AffineInput, CannotLower, SpecBuilder

LowerFunction = Callable[[SpecBuilder, str, Any, AffineInput], AffineInput]
Pair = tuple[int, int]
# Numbers of images to trace with, see `images_while_tracing`.
_PRIMES = tuple(n for n in range(89, 4000) if all(n % k for k in range(2, 64)))


class Batch(int):
    """The number of images, of which a network must not depend: what ``x.size(0)`` is while a forward is traced.

    It is a number, so that states can be made of it, and knows what it stands for: `times` as many where steps and
    images share an axis. Nothing else can be calculated with it: CannotLower.
    """

    images: int
    times: int

    def __new__(cls, images: int = 0, times: int = 1) -> Batch:
        made = super().__new__(cls, images * times)
        made.images, made.times = images, times
        return made

    def __mul__(self, other: Any) -> Any:
        if type(other) is not int:
            return self.refuse(other)
        return Batch(self.images, self.times * other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if type(other) is int and other and self.times % other == 0:
            return Batch(self.images, self.times // other)
        if isinstance(other, Batch) and self.times % other.times == 0:
            return self.times // other.times
        return self.refuse(other)

    def refuse(self, *other: Any) -> Any:
        """Refuse a calculation."""
        said = "is calculated with; what a network answers to an image must not depend on how many are shown"
        raise CannotLower("images", "their number", said)

    __add__ = __radd__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __rfloordiv__ = refuse
    __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __float__ = refuse


# Functions that take sizes.
SIZED = frozenset({"view", "reshape", "unflatten", "expand", "repeat", "new_zeros", "new_ones", "new_empty"})


def with_batch(args: Any, images: int) -> Any:
    """Sizes in which the number of images is marked, also where it came from `len(x)`; no other size equals it."""
    if isinstance(args, tuple | list):
        return type(args)(with_batch(item, images) for item in args)
    return Batch(images) if type(args) is int and args == images else args


def is_constant(args: tuple[Any, ...]) -> bool:
    """Whether arguments hold tensors of numbers, and no values."""
    leaves = [leaf for item in args for leaf in (item if isinstance(item, tuple | list) else (item,))]
    plain = all(isinstance(leaf, torch.Tensor | int | float | str | slice | torch.dtype | None) for leaf in leaves)
    return plain and any(isinstance(leaf, torch.Tensor) for leaf in leaves)


def images_while_tracing(model: nn.Module, lengths: tuple[int, ...]) -> int:
    """A number of images that no size in the model equals: a prime, so that no product of sizes is taken for it."""
    sizes = {n for tensor in (*model.parameters(), *model.buffers()) for n in tensor.shape} | set(lengths)
    return next(n for n in _PRIMES if not any(size and size % n == 0 for size in sizes))


def per_image(tensor: torch.Tensor, images: int) -> AffineInput | None:
    """A tensor of a trace that holds the same numbers for every image, as a value; None if it is no such tensor."""
    if not tensor.ndim or tensor.shape[0] not in (1, images):
        return None
    first = to_numpy(tensor[0])
    if tensor.shape[0] > 1 and not bool((tensor == tensor[:1]).all()):
        raise CannotLower("constant", tuple(tensor.shape), "differs from image to image; begin every image alike")
    return AffineInput(first.shape, (), first)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """float64 copy of a tensor."""
    return tensor.detach().double().cpu().numpy()


def pair(value: Any) -> Pair:
    """A number for both axes, or one for each."""
    return (int(value[0]), int(value[1])) if isinstance(value, tuple | list) else (int(value), int(value))


def sizes_of(given: Sequence[Any]) -> tuple[Any, ...]:
    """Sizes, or numbers of axes, which torch takes one by one or as one tuple."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], tuple | list) else tuple(given)


def along(axes: int, value: Any, neutral: int) -> Pair:
    """A layer's argument as (vertical, horizontal); a layer along one axis has `neutral` vertically."""
    if axes == 2:
        return pair(value)
    return neutral, int(value[0] if isinstance(value, tuple | list) else value)


def per_channel(numbers: np.ndarray, value: AffineInput) -> np.ndarray:
    """One number per channel, arranged to meet a value's shape."""
    return numbers.reshape(-1, *[1] * (len(value.shape) - 1))


def check_axes(value: AffineInput, axes: int) -> None:
    """Refuse an input with a different number of spatial axes."""
    if len(value.shape) != axes + 1:
        wanted = "(channels, length)" if axes == 1 else "(channels, height, width)"
        raise CannotLower("input", value.shape, f"is not {wanted}; use a layer for its axes, or nn.Unflatten before it")
