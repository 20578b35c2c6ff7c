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
from alade_brian.conversion.from_torch.shapes import Batch, sizes_of, to_numpy
from alade_brian.conversion.lowering import (
    AffineInput,
    CannotLower,
    SpecBuilder,
    add,
    apply_operator,
    concatenate,
    reshape,
    scale,
    spike_heights,
)
from alade_brian.spec import Dense, Shape, constant, memoryless

FunctionLowering = Callable[..., Any]


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
    wanted = sizes_of(sizes)
    if not wanted or not all(type(n) is int for n in wanted[1:]):
        raise CannotLower("size", wanted, "must leave the batch the first axis: use (x.size(0), -1)")
    # A number of images written as a number could be any; -1 is it if the rest is everything else.
    known = isinstance(wanted[0], Batch) or (wanted[0] == -1 and prod(wanted[1:]) == prod(value.shape))
    if not known or (wanted[0] == -1 and -1 in wanted[1:]):
        raise CannotLower("size", wanted, "must leave the batch the first axis: use (x.size(0), -1)")
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
    """A value times a constant, or a product of spikes."""
    if isinstance(left, AffineInput) and isinstance(right, AffineInput):
        if left.terms and right.terms:
            return spike_product(lowering, left, right)
        number, value = (left, right) if right.terms else (right, left)
        return scale(lowering, value, number.bias)
    return _times(lowering, left, right) if isinstance(left, AffineInput) else _times(lowering, right, left)


def spike_product(lowering: SpecBuilder, left: AffineInput, right: AffineInput) -> AffineInput:
    """A product of spikes, or of spikes and 1 minus spikes: SEW-ResNet's AND and IAND (Fang et al., 2021, eq. 8).

    A population without memory fires where both factors do.
    """
    if left.shape != right.shape:
        raise CannotLower("*", f"{left.shape}, {right.shape}", "multiplies only two tensors of the same shape")
    factors = [_binary(lowering, value) for value in (left, right)]
    (first, _), (second, _) = factors
    taken = {p.name for p in lowering.populations}
    # No module of a model has such a name.
    name = next(n for n in (f"product#{k}" for k in range(1, len(taken) + 2)) if n not in taken)
    both = memoryless(spiking=True, v_threshold=constant(1.5))
    fired = lowering.add_population(name, add(first, second), both)
    return scale(lowering, fired, factors[0][1] * factors[1][1])


def _binary(lowering: SpecBuilder, value: AffineInput) -> tuple[AffineInput, np.ndarray]:
    """A value that is 0 or a height, as 0 or 1 and the heights; CannotLower for any other."""
    gain, bias = spike_heights(lowering, value), value.bias
    if gain is not None and np.all(gain != 0) and np.all((bias == 0) | (bias == -gain)):
        height = np.where(bias == 0, gain, bias)
        return scale(lowering, value, 1 / height), height
    said = "multiplies what is no spikes; multiply spikes, 1 minus spikes, or constants"
    raise CannotLower("*", value.shape, said)


def weighted(lowering: SpecBuilder, value: Any, weight: Any, bias: Any = None) -> AffineInput:
    """torch.nn.functional.linear, with weights that are constants."""
    if not isinstance(value, AffineInput) or not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise CannotLower("weight", type(weight).__name__, "is no matrix of the model; use nn.Linear")
    if len(value.shape) != 1:
        raise CannotLower("input", value.shape, "is not flat; flatten it before it is multiplied by a matrix")
    made = apply_operator(lowering, Dense(to_numpy(weight)), value)
    return made if bias is None else scale(lowering, made, np.ones(()), _constant(bias, made))


def matrix_product(lowering: SpecBuilder, value: Any, matrix: Any) -> AffineInput:
    """torch.matmul: a value times a matrix of the model."""
    plain = isinstance(matrix, torch.Tensor) and matrix.ndim == 2
    return weighted(lowering, value, matrix.T if plain else matrix)


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
    if isinstance(number, Batch):
        number.refuse()
    if not isinstance(number, int | float | torch.Tensor):
        raise CannotLower("constant", type(number).__name__, "is neither a number nor a tensor of the model")
    found = to_numpy(number) if isinstance(number, torch.Tensor) else np.asarray(float(number))
    if found.ndim == len(value.shape) + 1 and len(found) and np.all(found == found[:1]):
        found = found[0]  # the same for every image
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


# What is done to every number by itself, wherever the steps stand among the axes.
ELEMENTWISE: frozenset[FunctionLowering] = frozenset(
    {added, subtracted, multiplied, divided, negated, passed, _dropout}
)


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
        nn.functional.linear: weighted,
        **dict.fromkeys((torch.matmul, torch.mm, python_operator.matmul), matrix_product),
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
        "matmul": matrix_product,
        "mm": matrix_product,
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
