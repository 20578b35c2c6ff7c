"""What a refused layer or function would have made, by shape only, so that what comes behind it can be judged too."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from alade_brian.conversion.from_torch.shapes import Batch
from alade_brian.conversion.from_torch.step_axis import is_sequence, without_time
from alade_brian.conversion.from_torch.time_axis import AllSteps, OneStep
from alade_brian.conversion.lowering import AffineInput, unknown


def unknown_output(module: nn.Module, argument: Any, knows_steps: bool) -> Any:
    """An unknown value of the shape that a layer makes of its argument; None if that cannot be found.

    knows_steps   whether the layer takes the axis of steps for what it is
    """
    value = without_time(argument)
    if not isinstance(value, AffineInput):
        return None
    lead = (1, 1) if is_sequence(argument) and knows_steps else (getattr(module, "steps", 1),)
    try:
        with torch.no_grad():
            made = copy.deepcopy(module)(torch.zeros(*lead, *value.shape, dtype=torch.float64))
    except Exception:
        return None
    return _shape_of(made, len(lead), argument)


def unknown_result(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], values: Sequence[Any]) -> Any:
    """The same for a function, or a method of a tensor; `values` are all of those in its arguments."""
    if not values or not all(isinstance(v, AffineInput | OneStep | AllSteps) for v in values):
        return None
    lead = 2 if any(is_sequence(v) for v in values) else 1
    try:
        given, named = _tensors_for((args, kwargs), lead)
        made = getattr(given[0], target)(*given[1:], **named) if isinstance(target, str) else target(*given, **named)
    except Exception:
        return None
    return _shape_of(made, lead, next((v for v in values if not isinstance(v, AffineInput)), values[0]))


def _tensors_for(tree: Any, lead: int) -> Any:
    """Nested arguments with zeros of their shape in the place of values, for one image and one step."""
    if isinstance(tree, dict):
        return {key: _tensors_for(item, lead) for key, item in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_tensors_for(item, lead) for item in tree)
    if isinstance(tree, AffineInput | OneStep | AllSteps):
        return torch.zeros(*(1,) * lead, *without_time(tree).shape, dtype=torch.float64)
    return 1 if isinstance(tree, Batch) else tree


def _shape_of(made: Any, lead: int, like: Any) -> Any:
    """An unknown value with the shape of a tensor; of several only the first is one that can be gone on with."""
    if isinstance(made, tuple | list):
        return (_shape_of(made[0], lead, like), *[None] * (len(made) - 1)) if made else None
    if not isinstance(made, Tensor) or made.ndim <= lead:
        return None
    value = unknown(tuple(made.shape[lead:]))
    return replace(like, value=value) if isinstance(like, OneStep | AllSteps) else value
