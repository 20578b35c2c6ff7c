"""Shared helpers of the specification: its error, checks of numbers and names, and read-only arrays."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Pair = tuple[int, int]

# Generated code counts neurons, pixels, synapses and steps in 32 bits with a sign.
LARGEST = 2**31 - 1


class SpecError(ValueError):
    """A specification that contradicts itself; the message says where and what to do."""


def require(condition: bool, message: str) -> None:
    """Raise SpecError with this message unless the condition holds."""
    if not condition:
        raise SpecError(message)


def float64(array: object) -> np.ndarray:
    """Copy to a read-only float64 array, so that changes to the original cannot alter a specification.

    Raises SpecError for anything but real numbers.
    """
    found = np.asarray(array)
    require(found.dtype.kind in "biuf", f"an array holds {found.dtype}: use real numbers")
    copy = np.array(found, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def integer(value: object, what: str, least: int = 0) -> int:
    """The value as an int; SpecError unless it is a whole number from `least` to `LARGEST`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    require(whole, f"{what} is {value!r}: use a whole number")
    number = int(value)  # type: ignore[call-overload]
    require(least <= number <= LARGEST, f"{what} is {number}: use at least {least} and at most {LARGEST}")
    return number


def pair(value: object, what: str, least: int = 0) -> Pair:
    """Check and return two integers (vertical, horizontal); SpecError for anything else."""
    two = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    require(two, f"{what} is {value!r}: use two whole numbers, vertical and horizontal")
    vertical, horizontal = (integer(number, what, least) for number in value)  # type: ignore[attr-defined]
    return vertical, horizontal


def check_shape(shape: object, owner: str) -> Shape:
    """Return a shape as ints; SpecError unless it has 1 to 3 positive axes and at most `LARGEST` elements."""
    listed = isinstance(shape, Sequence) and not isinstance(shape, str) and len(shape) in (1, 2, 3)
    axes: tuple[Any, ...] = tuple(shape) if listed else ()  # type: ignore[arg-type]
    positive = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0 for n in axes)
    require(
        listed and positive,
        f"{owner} has the shape {shape}: use (features,), (channels, length) or (channels, height, width), all "
        "positive",
    )
    found = tuple(int(n) for n in axes)
    require(prod(found) <= LARGEST, f"{owner} has the shape {found}: use at most {LARGEST} places")
    return found


def check_name(name: object, owner: str) -> None:
    """Raise SpecError unless the name is non-empty printable text without line breaks or control characters."""
    ok = isinstance(name, str) and name != "" and name.isprintable()
    require(ok, f"{owner} has the name {name!r}: use printable characters without line breaks")
