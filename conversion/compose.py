"""Algebra of linear operators: scaling an operator's outputs, and merging two operators into one, exactly or not at
all."""

from __future__ import annotations

import dataclasses
from math import prod

import numpy as np
from scipy import sparse

from alade_brian.conversion.connectivity import matrix
from alade_brian.conversion.spec import Convolution, Dense, Identity, Operator, Pooling, Shape


class CannotCompose(Exception):
    """Two operators that cannot be one operator; the message says why and what to do."""


def scale_outputs(operator: Operator, gain: np.ndarray) -> Operator:
    """The operator with its output channels multiplied by `gain`, ``(channels,)`` (``(features,)`` for dense)."""
    if isinstance(operator, Dense):
        return Dense(operator.weight * gain[:, None])
    if isinstance(operator, Convolution):
        return dataclasses.replace(operator, weight=operator.weight * gain[:, None, None, None])
    return dataclasses.replace(operator, gain=operator.gain * gain)


def dense_after(operator: Operator, source: Shape, weight: np.ndarray) -> Dense:
    """``weight @ operator`` as one dense operator on the source; `weight` is ``(out, operator's outputs)``."""
    if isinstance(operator, Identity) and operator.gain.ndim == 0:
        return Dense(weight * operator.gain)
    return Dense(np.asarray((matrix(operator, source).T @ sparse.csr_array(weight.T)).toarray()).T)


def convolution_after(operator: Operator, source: Shape, convolution: Convolution) -> Convolution:
    """The convolution of what an operator makes, as one convolution of the source."""
    if isinstance(operator, Identity):
        gain = np.broadcast_to(operator.gain, source[:1])
        return dataclasses.replace(convolution, weight=convolution.weight * _per_input(gain, convolution))
    if not isinstance(operator, Pooling):
        raise CannotCompose(
            "it follows another convolution or linear layer with no neuron between them: put a neuron there"
        )
    overlapping = any(k > s for k, s in zip(operator.kernel, operator.stride, strict=True))
    if overlapping and any(convolution.padding):
        raise CannotCompose(
            "its padding follows an overlapping average pooling: use a pooling stride of at least its kernel, or "
            "padding 0"
        )
    rows, columns = operator.output_shape(source)[1:]
    # Pixels that the pooling left over must not be read through the padding.
    weight = _upsample(undilated(convolution).weight, operator.kernel, operator.stride) / prod(operator.kernel)
    extent = tuple((n - 1) * s + k for n, s, k in zip((rows, columns), operator.stride, operator.kernel, strict=True))
    return Convolution(
        weight * _per_input(np.broadcast_to(operator.gain, source[:1]), convolution),
        stride=(convolution.stride[0] * operator.stride[0], convolution.stride[1] * operator.stride[1]),
        padding=(convolution.padding[0] * operator.stride[0], convolution.padding[1] * operator.stride[1]),
        groups=convolution.groups,
        extent=None if extent == source[1:] else (extent[0], extent[1]),
    )


def pooling_after(operator: Operator, source: Shape, pooling: Pooling) -> Operator:
    """Average pooling of what an operator makes, as one operator on the source."""
    if isinstance(operator, Identity):
        return dataclasses.replace(pooling, gain=pooling.gain * operator.gain)
    if not isinstance(operator, Convolution):
        raise CannotCompose(
            "it pools what another pooling or a linear layer made, with no neuron between: put a neuron there"
        )
    operator = undilated(operator)
    # A window of the convolution's outputs is one larger kernel: the kernel, moved by its stride, added up.
    rows, columns = operator.weight.shape[2:]
    shape = tuple((k - 1) * s + n for k, s, n in zip(pooling.kernel, operator.stride, (rows, columns), strict=True))
    weight = np.zeros((*operator.weight.shape[:2], *shape))
    for y in range(pooling.kernel[0]):
        for x in range(pooling.kernel[1]):
            top, left = y * operator.stride[0], x * operator.stride[1]
            weight[:, :, top : top + rows, left : left + columns] += operator.weight
    stride = (operator.stride[0] * pooling.stride[0], operator.stride[1] * pooling.stride[1])
    merged = dataclasses.replace(operator, weight=weight / prod(pooling.kernel), stride=stride)
    return scale_outputs(merged, np.broadcast_to(pooling.gain, weight.shape[:1]))


def undilated(convolution: Convolution) -> Convolution:
    """The same convolution with the gaps of its kernel filled with zeros, where it has any."""
    if convolution.dilation == (1, 1):
        return convolution
    (rows, columns), (down, right) = convolution.weight.shape[2:], convolution.dilation
    weight = np.zeros((*convolution.weight.shape[:2], (rows - 1) * down + 1, (columns - 1) * right + 1))
    weight[:, :, ::down, ::right] = convolution.weight
    return dataclasses.replace(convolution, weight=weight, dilation=(1, 1))


def _per_input(gain: np.ndarray, convolution: Convolution) -> np.ndarray:
    """A gain per input channel, arranged to multiply a (grouped) kernel ``(out, in / groups, kh, kw)``."""
    outputs, per_group = convolution.weight.shape[:2]
    group = np.arange(outputs) // (outputs // convolution.groups)
    return gain[group[:, None] * per_group + np.arange(per_group)][:, :, None, None]


def _upsample(weight: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
    """A kernel over pooled pixels as a kernel over the pixels themselves."""
    rows, columns = weight.shape[2:]
    large = np.zeros((*weight.shape[:2], (rows - 1) * stride[0] + kernel[0], (columns - 1) * stride[1] + kernel[1]))
    for y in range(rows):
        for x in range(columns):
            top, left = y * stride[0], x * stride[1]
            large[:, :, top : top + kernel[0], left : left + kernel[1]] += weight[:, :, y : y + 1, x : x + 1]
    return large
