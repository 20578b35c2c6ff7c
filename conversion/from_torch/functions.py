"""Torch functions and tensor methods in a `forward`, lowered: sums, constants, and other names for the axes.

Each takes the network so far and then what torch's own takes, with values in the place of tensors.
"""

from __future__ import annotations

import builtins
import operator as python_operator
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

from alade_brian.conversion.from_torch.pooling import POOLING_FUNCTIONS
from alade_brian.conversion.from_torch.shapes import to_numpy
from alade_brian.conversion.lowering import AffineInput, CannotLower, SpecBuilder, add, concatenate, reshape, scale
from alade_brian.spec.network import Shape

FunctionLowering = Callable[..., Any]


class Batch:
    """The number of images, of which a network must not depend: what ``x.size(0)`` is."""

    def __repr__(self) -> str:
        return "the number of images"


def concatenated(lowering: SpecBuilder, tensors: Sequence[Any], dim: int = 0) -> AffineInput:
    """torch.cat."""
    values = [v for v in tensors if isinstance(v, AffineInput)]
    if len(values) != len(tensors):
        raise CannotLower("tensors", "a constant", "is no layer's output; concatenate outputs of layers")
    if dim not in (1, -len(values[0].shape)):
        raise CannotLower("dim", dim, "must concatenate channels or features: use dim=1")
    return concatenate(values)


def flattened(lowering: SpecBuilder, value: AffineInput, start_dim: int = 0, end_dim: int = -1) -> AffineInput:
    """torch.flatten; axis 0 is the batch."""
    axes = len(value.shape) + 1
    start, end = start_dim % axes, end_dim % axes
    if start == 0:
        raise CannotLower("start_dim", start_dim, "flattens the batch; use start_dim=1")
    before, after = value.shape[: start - 1], value.shape[end:]
    return reshape(value, (*before, prod(value.shape[start - 1 : end]), *after))


def unflattened(lowering: SpecBuilder, value: AffineInput, dim: int, sizes: Sequence[int]) -> AffineInput:
    """torch.unflatten; axis 0 is the batch."""
    axis = dim % (len(value.shape) + 1)
    if axis == 0:
        raise CannotLower("dim", dim, "divides the batch; use dim=1")
    part = _sizes(sizes, value.shape[axis - 1])
    return reshape(value, (*value.shape[: axis - 1], *part, *value.shape[axis:]))


def reshaped(lowering: SpecBuilder, value: AffineInput, *sizes: Any) -> AffineInput:
    """Tensor.view and Tensor.reshape; the first size must be the number of images."""
    wanted = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else list(sizes)
    if not wanted or not all(isinstance(n, int) for n in wanted[1:]):
        raise CannotLower("size", tuple(wanted), "must leave the batch the first axis: use (x.size(0), -1)")
    # A number of images written as a number could be any; -1 is it if the rest is everything else.
    known = not isinstance(wanted[0], int) or (wanted[0] == -1 and prod(wanted[1:]) == prod(value.shape))
    if not known or (wanted[0] == -1 and -1 in wanted[1:]):
        raise CannotLower("size", tuple(wanted), "must leave the batch the first axis: use (x.size(0), -1)")
    return reshape(value, _sizes(wanted[1:], prod(value.shape)))


def _sizes(sizes: Sequence[int], whole: int) -> Shape:
    """Sizes whose product is `whole`, one of them perhaps given as -1."""
    rest = prod(n for n in sizes if n != -1)
    made = tuple(int(whole // rest if n == -1 else n) for n in sizes)
    if prod(made) != whole or list(sizes).count(-1) > 1:
        raise CannotLower("size", tuple(sizes), f"has another number of elements than the {whole} that there are")
    return made


def added(lowering: SpecBuilder, left: Any, right: Any, *, alpha: float = 1) -> AffineInput:
    """A sum of two values, or of a value and a constant."""
    if isinstance(left, AffineInput) and isinstance(right, AffineInput):
        return add(left, right if alpha == 1 else scale(lowering, right, np.asarray(alpha)))
    if isinstance(right, AffineInput):
        return added(lowering, _times(lowering, right, alpha), left)
    return scale(lowering, left, np.ones(()), alpha * _constant(right, left))


def subtracted(lowering: SpecBuilder, left: Any, right: Any, *, alpha: float = 1) -> AffineInput:
    """A difference of two values, or of a value and a constant."""
    return added(lowering, left, right, alpha=-alpha)


def multiplied(lowering: SpecBuilder, left: Any, right: Any) -> AffineInput:
    """A value times a constant."""
    if isinstance(left, AffineInput) and isinstance(right, AffineInput):
        raise CannotLower(
            "*", f"{left.shape}, {right.shape}", "multiplies outputs of layers; multiply with constants only"
        )
    return _times(lowering, left, right) if isinstance(left, AffineInput) else _times(lowering, right, left)


def divided(lowering: SpecBuilder, left: Any, right: Any) -> AffineInput:
    """A value over a constant."""
    if not isinstance(left, AffineInput) or isinstance(right, AffineInput):
        raise CannotLower("/", "a layer's output", "is divided by; divide by constants only")
    return scale(lowering, left, 1 / _constant(right, left))


def negated(lowering: SpecBuilder, value: AffineInput) -> AffineInput:
    """A value with the other sign."""
    return scale(lowering, value, np.asarray(-1.0))


def passed(lowering: SpecBuilder, value: AffineInput, *args: Any, **kwargs: Any) -> AffineInput:
    """What changes no number."""
    return value


def _times(lowering: SpecBuilder, value: AffineInput, factor: Any) -> AffineInput:
    return scale(lowering, value, _constant(factor, value))


def _constant(number: Any, value: AffineInput) -> np.ndarray:
    """A constant that meets a value: a number, or a tensor that torch would broadcast to every image's shape."""
    if not isinstance(number, int | float | torch.Tensor):
        raise CannotLower("constant", type(number).__name__, "is neither a number nor a tensor of the model")
    found = to_numpy(number) if isinstance(number, torch.Tensor) else np.asarray(float(number))
    if found.ndim == len(value.shape) + 1 and found.shape[0] == 1:
        found = found[0]
    try:
        np.broadcast_to(found, value.shape)
    except ValueError:
        raise CannotLower("constant", found.shape, f"does not fit the shape {value.shape} of one image") from None
    return found


def _dropout(
    lowering: SpecBuilder, value: AffineInput, p: float = 0.5, training: bool = True, inplace: bool = False
) -> AffineInput:
    if training:
        raise CannotLower("training", True, "drops in eval mode too; write training=self.training, or use nn.Dropout")
    return value


def _attribute(lowering: SpecBuilder, value: Any, name: str) -> Any:
    if name != "shape":
        raise CannotLower("attribute", name, "has no lowering; use x.shape only")
    return (Batch(), *value.shape)


def _item(lowering: SpecBuilder, values: Any, index: Any) -> Any:
    if isinstance(values, AffineInput):
        raise CannotLower("index", index, "takes a part of a layer's output; make the part a layer of its own")
    return values[index]


def _size(lowering: SpecBuilder, value: AffineInput, dim: int | None = None) -> Any:
    whole = (Batch(), *value.shape)
    return whole if dim is None else whole[dim]


# What drops nothing unless it trains; of torch's functions, each with `training` given by name when it is traced.
DROPOUTS = (
    nn.functional.dropout,
    nn.functional.dropout1d,
    nn.functional.dropout2d,
    nn.functional.alpha_dropout,
    nn.functional.feature_alpha_dropout,
)


def function_lowerings() -> Mapping[Any, FunctionLowering]:
    """The lowering function of every torch function that may stand in a `forward`."""
    plus, times = (python_operator.add, python_operator.iadd), (python_operator.mul, python_operator.imul)
    minus, over = (python_operator.sub, python_operator.isub), (python_operator.truediv, python_operator.itruediv)
    return {
        **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), concatenated),
        **dict.fromkeys((torch.add, *plus), added),
        **dict.fromkeys((torch.sub, torch.subtract, *minus), subtracted),
        **dict.fromkeys((torch.mul, torch.multiply, *times), multiplied),
        **dict.fromkeys((torch.div, torch.divide, *over), divided),
        **dict.fromkeys((torch.neg, python_operator.neg), negated),
        torch.flatten: flattened,
        torch.unflatten: unflattened,
        torch.reshape: reshaped,
        **dict.fromkeys(DROPOUTS, _dropout),
        **POOLING_FUNCTIONS,
        builtins.getattr: _attribute,
        python_operator.getitem: _item,
    }


def method_lowerings() -> Mapping[str, FunctionLowering]:
    """The lowering function of every tensor method that may stand in a `forward`, by name."""
    return {
        "add": added,
        "add_": added,
        "sub": subtracted,
        "sub_": subtracted,
        "mul": multiplied,
        "mul_": multiplied,
        "div": divided,
        "div_": divided,
        "neg": negated,
        "flatten": flattened,
        "unflatten": unflattened,
        "view": reshaped,
        "reshape": reshaped,
        "size": _size,
        "contiguous": passed,
        "clone": passed,
        "detach": passed,
        "double": passed,
    }


def known_functions() -> str:
    """What a refusal recommends instead of an unknown function."""
    return "torch.cat, torch.flatten, x.view(x.size(0), -1), + and -, or * and / by constants"
