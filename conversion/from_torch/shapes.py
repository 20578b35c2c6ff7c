"""Small things that the lowering functions share: tensors as arrays, and what a layer may read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from alade_brian.conversion.lowering import AffineInput, CannotLower, SpecBuilder

LowerFunction = Callable[[SpecBuilder, str, Any, AffineInput], AffineInput]
Pair = tuple[int, int]


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """float64 copy of a tensor."""
    return tensor.detach().double().cpu().numpy()


def pair(value: Any) -> Pair:
    """A number for both axes, or one for each."""
    return (int(value[0]), int(value[1])) if isinstance(value, tuple | list) else (int(value), int(value))


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
