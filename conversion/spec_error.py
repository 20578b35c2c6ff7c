"""What the parts of a specification share: the error, and arrays that do not change under their owner's hands."""

from __future__ import annotations

import numpy as np

Shape = tuple[int, ...]


class SpecError(ValueError):
    """A specification that contradicts itself; the message says where and what to do."""


def require(condition: bool, message: str) -> None:
    """SpecError with this message unless the condition holds."""
    if not condition:
        raise SpecError(message)


def float64(array: object) -> np.ndarray:
    """A read-only float64 copy: a specification never changes under its owner's hands."""
    copy = np.array(array, dtype=np.float64)
    copy.setflags(write=False)
    return copy
