"""NIR's linear nodes: what each makes of a shape, as an operator of the specification.

Source: the node definitions of the package nir 1.0.8 (Pedersen et al., Neuromorphic intermediate representation, Nature
Communications 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import nir
import numpy as np

from alade_brian.conversion.lowering import AffineInput, CannotLower, SpecBuilder, apply_operator, reshape, scale
from alade_brian.spec import Convolution, Dense, Identity, Operator, Pooling, Shape, Sparse


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear node on an input of known shape: an operator (None: nothing but other axes), then a bias, then a delay.

    shape   what it makes
    bias    of that shape, or None
    delay   in seconds, of that shape, or None
    """

    shape: Shape
    operator: Operator | None = None
    bias: np.ndarray | None = None
    delay: np.ndarray | None = None


def linear(node: nir.NIRNode, shape: Shape, batch_axes: int = 0) -> Linear:
    """What a linear node does to an input of that shape. CannotLower or SpecError where it does not fit.

    batch_axes   how many axes before the first one a Flatten counts
    """
    for kind, function in _functions(batch_axes).items():
        if isinstance(node, kind):
            return function(node, shape)
    return Linear(shape)


def apply(lowering: SpecBuilder, node: Linear, value: AffineInput) -> AffineInput:
    """The node's value, its delay left out."""
    if isinstance(node.operator, Identity):
        value = scale(lowering, value, node.operator.gain)
    elif node.operator is not None:
        value = apply_operator(lowering, node.operator, value)
    value = value if value.shape == node.shape else reshape(value, node.shape)
    return value if node.bias is None else replace(value, bias=value.bias + node.bias)


def numbers(node: nir.NIRNode, attribute: str) -> np.ndarray:
    """An attribute as a float64 array; CannotLower where it is missing, no number, or not finite."""
    raw = getattr(node, attribute, None)
    try:
        if raw is not None and np.iscomplexobj(raw):
            raise TypeError("complex numbers")
        array = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError):
        raise CannotLower(attribute, raw, "is no array of numbers; write numbers") from None
    wrong = array[~np.isfinite(array)]
    if raw is None or wrong.size:
        held = "missing" if raw is None else wrong.flat[0]
        raise CannotLower(attribute, held, "is no finite number; train or write the network again")
    return array


def without_leading_ones(shape: Shape, axes: int = 0) -> Shape:
    """A shape without its leading axes of length 1, as far as more than `axes` axes are left."""
    while len(shape) > max(axes, 0) and shape[0] == 1:
        shape = shape[1:]
    return shape


def fewer_axes(array: np.ndarray, axes: int) -> np.ndarray:
    """The array without as many leading axes of length 1 as it has beyond `axes`."""
    return array.reshape(without_leading_ones(array.shape, axes))


def linear_faults(node: nir.NIRNode) -> list[CannotLower]:
    """What is wrong with a linear node's own numbers, whatever its input."""
    faults = []
    for attribute in ("weight", "bias", "scale", "delay"):
        if hasattr(node, attribute):
            try:
                values = numbers(node, attribute)
                if attribute == "delay" and np.any(values < 0):
                    faults.append(CannotLower("delay", float(values.min()), "is negative; use 0 s or more"))
            except CannotLower as refusal:
                faults.append(refusal)
    return faults


def _integers(node: nir.NIRNode, attribute: str, count: int) -> tuple[int, ...]:
    """An attribute as `count` whole numbers; one number stands for all."""
    array = np.atleast_1d(numbers(node, attribute))
    if array.shape not in ((1,), (count,)) or np.any(array != np.round(array)):
        raise CannotLower(attribute, getattr(node, attribute), f"must be one whole number, or {count}")
    return tuple(int(n) for n in np.broadcast_to(array, (count,)))


def _pair(node: nir.NIRNode, attribute: str) -> tuple[int, int]:
    first, second = _integers(node, attribute, 2)
    return first, second


def _linear(node: Any, shape: Shape) -> Linear:
    weight = numbers(node, "weight")
    weight = fewer_axes(weight, len(shape) + 1) if weight.ndim > 2 else weight
    lead, (outputs, inputs) = weight.shape[:-2], weight.shape[-2:] if weight.ndim >= 2 else (0, 0)
    if weight.ndim < 2 or shape != (*lead, inputs):
        fits, remedy = f"reads {(*lead, inputs)}" if weight.ndim >= 2 else "is no matrix", "make the two fit"
        if len(shape) > 1 and prod(shape) == inputs:
            remedy = "put a Flatten(start_dim=0) in front of it"
        elif weight.ndim >= 2 and shape[1:] == (*lead, inputs):
            remedy = "leave the first axis out of the Input's shape if it counts presentations or steps"
        raise CannotLower("weight", f"of shape {weight.shape}", f"{fits}, its input has the shape {shape}; {remedy}")
    made = (*lead, outputs)
    operator = Dense(weight) if not lead else _block_diagonal(weight.reshape(-1, outputs, inputs), made)
    return Linear(made, operator, _fitting(node, "bias", made) if isinstance(node, nir.Affine) else None)


def _block_diagonal(weight: np.ndarray, made: Shape) -> Sparse:
    """A stack of matrices, each on its own part of the input: ``(blocks, outputs, inputs)``."""
    blocks, outputs, inputs = weight.shape
    block, row, column = (index.ravel() for index in np.indices((blocks, outputs, inputs)))
    return Sparse(block * outputs + row, block * inputs + column, weight.ravel(), made)


def _fitting(node: nir.NIRNode, attribute: str, shape: Shape) -> np.ndarray:
    """An attribute broadcast to a shape."""
    array = fewer_axes(numbers(node, attribute), len(shape))
    fits = array.size == 1 or (
        array.ndim == len(shape) and all(a in (1, n) for a, n in zip(array.shape, shape, strict=True))
    )
    if not fits:
        raise CannotLower(attribute, f"of shape {array.shape}", f"does not fit the shape {shape}; make the two fit")
    return np.broadcast_to(array.reshape(()) if array.size == 1 else array, shape)


def _scale(node: nir.Scale, shape: Shape) -> Linear:
    return Linear(shape, Identity(_fitting(node, "scale", shape)))


def _delay(node: nir.Delay, shape: Shape) -> Linear:
    return Linear(shape, delay=_fitting(node, "delay", shape))


def _conv1d(node: nir.Conv1d, shape: Shape) -> Linear:
    weight = numbers(node, "weight")
    if weight.ndim != 3 or len(shape) != 2:
        raise CannotLower(
            "weight", f"of shape {weight.shape}", f"needs three axes and an input (channels, length), not {shape}"
        )
    _check_declared(node, "input_shape", shape)
    stride, dilation = _integers(node, "stride", 1)[0], _integers(node, "dilation", 1)[0]
    padding = node.padding if isinstance(node.padding, str) else (0, *_integers(node, "padding", 1))
    return _convolution(node, shape, weight[:, :, None, :], (1, stride), padding, (1, dilation))


def _conv2d(node: nir.Conv2d, shape: Shape) -> Linear:
    weight = numbers(node, "weight")
    if weight.ndim != 4 or len(shape) != 3:
        raise CannotLower(
            "weight", f"of shape {weight.shape}", f"needs four axes and an input (channels, height, width), not {shape}"
        )
    _check_declared(node, "input_shape", shape)
    padding = node.padding if isinstance(node.padding, str) else _pair(node, "padding")
    return _convolution(node, shape, weight, _pair(node, "stride"), padding, _pair(node, "dilation"))


def _check_declared(node: nir.NIRNode, attribute: str, shape: Shape) -> None:
    """CannotLower where a node says another shape of its input, with or without the channels."""
    declared = getattr(node, attribute, None)
    if declared is None:
        return
    said = tuple(np.atleast_1d(declared).tolist())
    if said != shape[1:] and without_leading_ones(said, len(shape)) != shape:
        raise CannotLower(
            attribute, declared, f"contradicts the {shape[1:]} that comes in; leave it out or make the two fit"
        )


def _convolution(
    node: Any,
    shape: Shape,
    weight: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, int],
) -> Linear:
    groups = _integers(node, "groups", 1)[0]
    if padding == "same" and stride != (1, 1):
        raise CannotLower("padding", "'same'", f"goes only with stride 1, not {stride}; write the padding in numbers")
    if isinstance(padding, str) and padding not in ("same", "valid"):
        raise CannotLower("padding", repr(padding), "is unknown; use 'same', 'valid' or numbers")
    pads = (0, 0) if isinstance(padding, str) else (int(padding[0]), int(padding[1]))
    operator = Convolution(weight, stride, pads, groups, dilation=dilation)
    operator = _same(operator) if padding == "same" else operator
    made = operator.output_shape(shape)
    bias = numbers(node, "bias")
    if bias.size != 1 and bias.shape not in ((made[0],), (made[0], *[1] * (len(made) - 1))):
        raise CannotLower("bias", f"of shape {bias.shape}", f"is not one number for each of {made[0]} channels")
    return Linear(made, operator, np.broadcast_to(bias.reshape(-1, *[1] * (len(made) - 1)), made))


def _same(convolution: Convolution) -> Convolution:
    """The convolution with the padding that keeps the image's size.

    Where the number of pixels to add is odd, PyTorch adds the odd one at the end. A row of zeros at the beginning of
    the kernel makes that even.
    """
    total = [d * (k - 1) for d, k in zip(convolution.dilation, convolution.weight.shape[2:], strict=True)]
    if any(t % 2 for t in total):
        convolution = convolution.undilated()
        more = [t % 2 for t in total]
        weight = np.pad(convolution.weight, ((0, 0), (0, 0), (more[0], 0), (more[1], 0)))
        return replace(convolution, weight=weight, padding=((total[0] + 1) // 2, (total[1] + 1) // 2))
    return replace(convolution, padding=(total[0] // 2, total[1] // 2))


def _pooling(node: Any, shape: Shape) -> Linear:
    if len(shape) != 3:
        raise CannotLower("input", shape, "is no image (channels, height, width); pool before a Flatten")
    kernel, stride, padding = (_pair(node, name) for name in ("kernel_size", "stride", "padding"))
    operator = Pooling(kernel, stride, padding=padding, average=isinstance(node, nir.AvgPool2d))
    return Linear(operator.output_shape(shape), operator)


def counts_batch(node: nir.NIRNode) -> bool:
    """Whether a node is a Flatten that leaves the first axis as it is, which PyTorch's does with a batch's."""
    return isinstance(node, nir.Flatten) and np.ndim(node.start_dim) == 0 and int(node.start_dim) > 0


def _flatten(node: nir.Flatten, shape: Shape, batch_axes: int) -> Linear:
    """A Flatten whose declared input has more axes than comes in counts its axes from the first of those: a batch.

    Sinabs writes zeros for their lengths.
    """
    declared = (node.input_type or {}).get("input")
    said = shape if declared is None else tuple(np.atleast_1d(declared).tolist())
    more = len(said) - len(shape)
    if more < 0 or (any(said) and without_leading_ones(said, len(shape)) != shape):
        raise CannotLower("input_type", declared, f"contradicts the {shape} that comes in; make the two fit")
    start, end = (int(_integers(node, name, 1)[0]) for name in ("start_dim", "end_dim"))
    if len(shape) == 1:
        return Linear(shape)  # nothing to flatten, however the axes are counted
    more = more or batch_axes
    first = start + len(shape) if start < 0 else max(start - more, 0)
    last = end + len(shape) if end < 0 else end - more
    if not 0 <= first <= last < len(shape):
        raise CannotLower("start_dim, end_dim", (start, end), f"are no axes of an input of shape {shape}; use 0 and -1")
    return Linear((*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]))


def _functions(batch_axes: int = 0) -> Mapping[type[nir.NIRNode], Callable[[Any, Shape], Linear]]:
    """The function of every linear node; a node that is not listed passes its input on."""
    return {
        nir.Affine: _linear,
        nir.Linear: _linear,
        nir.Scale: _scale,
        nir.Delay: _delay,
        nir.Conv1d: _conv1d,
        nir.Conv2d: _conv2d,
        nir.AvgPool2d: _pooling,
        nir.SumPool2d: _pooling,
        nir.Flatten: partial(_flatten, batch_axes=batch_axes),
    }


def linear_kinds() -> tuple[str, ...]:
    """Names of the linear nodes that are read."""
    return tuple(kind.__name__ for kind in _functions())
