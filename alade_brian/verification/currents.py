"""What a projection brings to its targets, computed from what its source sent, without a simulation."""

from __future__ import annotations

from math import prod

import numpy as np

from alade_brian.spec import MaxPooling, Operator, Shape
from alade_brian.spec.synapses import matrix


def shifted(values: np.ndarray, steps: int) -> np.ndarray:
    """Values ``(images, steps, ...)`` that many steps later, zeros before them; earlier where it is negative."""
    moved = np.zeros_like(values)
    count = values.shape[1]
    if abs(steps) < count:
        moved[:, max(0, steps) : count + min(0, steps)] = values[:, max(0, -steps) : count - max(0, steps)]
    return moved


def apply(operator: Operator, values: np.ndarray, shape: Shape) -> np.ndarray:
    """An operator on values ``(images, steps, source size)``: ``(images, steps, outputs)``."""
    weight = operator.full_weight
    if weight is not None:
        return values @ weight.T
    if isinstance(operator, MaxPooling):
        return np.asarray(values[..., operator.taps(shape)].max(-2))
    flat = values.reshape(-1, prod(shape))
    return np.asarray((matrix(operator, shape) @ flat.T).T).reshape(*values.shape[:2], -1)
