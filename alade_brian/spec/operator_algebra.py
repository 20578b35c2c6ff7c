"""Algebra of linear operators: what two operators, one behind the other, are as one operator.

The sum that reaches a neuron is the same but for the order in which it is added up. Where a convolution or a pooling
can stay one, it does; everything else becomes a list of connections.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import sparse

from alade_brian.spec.network import (
    Convolution,
    Dense,
    Identity,
    Operator,
    Pooling,
    Shape,
    Sparse,
    TransposedConvolution,
)
from alade_brian.spec.operators import planar
from alade_brian.spec.operators.convolution import per_input
from alade_brian.spec.synapses import matrix


def compose(inner: Operator, source: Shape, outer: Operator) -> Operator:
    """`outer` behind `inner` as one operator on the source."""
    found = in_closed_form(inner, source, outer)
    if found is not None:
        return found
    middle = inner.output_shape(source)
    return _listed(matrix(outer, middle) @ matrix(inner, source), outer.output_shape(middle))


def in_closed_form(inner: Operator, source: Shape, outer: Operator) -> Operator | None:
    """`outer` behind `inner` as one operator where that need not be a list of connections; otherwise None."""
    match inner, outer:
        case _, Identity() if np.all(outer.gain == 1):
            return inner
        case Identity(), _ if np.all(inner.gain == 1):
            return outer
        case Identity(), Identity():
            return Identity(inner.per_neuron(source) * outer.per_neuron(source))
        case _, Dense():
            return _dense_after(inner, source, outer.weight)
        case Identity(), Convolution() if inner.gain.shape in ((), source[:1]):
            gain = np.broadcast_to(inner.gain, source[:1])
            return dataclasses.replace(outer, weight=outer.weight * per_input(gain, outer))
        case Identity(), TransposedConvolution() if inner.gain.shape in ((), source[:1]):
            gain = np.broadcast_to(inner.gain, source[:1])
            return dataclasses.replace(outer, weight=outer.weight * gain[:, None, None, None])
        case Identity(), Pooling() if inner.gain.shape in ((), source[:1]):
            return dataclasses.replace(outer, gain=outer.gain * inner.gain)
        case Pooling(), Convolution() if _windows_stay_apart(inner, outer):
            return _convolution_after_pooling(inner, source, outer)
        case Convolution(), Pooling() if not any(outer.padding):
            return _pooling_after_convolution(inner, outer)
        case _:
            return None


def _listed(whole: sparse.sparray, shape: Shape) -> Sparse:
    entries = sparse.coo_array(whole)
    return Sparse(entries.coords[0], entries.coords[1], entries.data, shape)


def _dense_after(inner: Operator, source: Shape, weight: np.ndarray) -> Dense:
    if isinstance(inner, Identity) and inner.gain.ndim == 0:
        return Dense(weight * inner.gain)
    return Dense(np.asarray((matrix(inner, source).T @ sparse.csr_array(weight.T)).toarray()).T)


def _windows_stay_apart(pooling: Pooling, convolution: Convolution) -> bool:
    """Whether the convolution's padding can be counted in the pooling's own pixels."""
    overlapping = any(k > s for k, s in zip(pooling.kernel, pooling.stride, strict=True))
    return not any(pooling.padding) and not (overlapping and any(convolution.padding))


def _convolution_after_pooling(pooling: Pooling, source: Shape, convolution: Convolution) -> Convolution:
    rows, columns = planar(pooling.output_shape(source))[1:]
    # Pixels that the pooling left over must not be read through the padding.
    weight = _upsample(convolution.undilated().weight, pooling.kernel, pooling.stride) * pooling.scale
    extent = tuple((n - 1) * s + k for n, s, k in zip((rows, columns), pooling.stride, pooling.kernel, strict=True))
    return Convolution(
        weight * per_input(np.broadcast_to(pooling.gain, source[:1]), convolution),
        stride=(convolution.stride[0] * pooling.stride[0], convolution.stride[1] * pooling.stride[1]),
        padding=(convolution.padding[0] * pooling.stride[0], convolution.padding[1] * pooling.stride[1]),
        groups=convolution.groups,
        extent=None if extent == planar(source)[1:] else (extent[0], extent[1]),
    )


def _pooling_after_convolution(convolution: Convolution, pooling: Pooling) -> Convolution:
    convolution = convolution.undilated()
    # A window of the convolution's outputs is one larger kernel: the kernel, moved by its stride, added up.
    rows, columns = convolution.weight.shape[2:]
    shape = tuple((k - 1) * s + n for k, s, n in zip(pooling.kernel, convolution.stride, (rows, columns), strict=True))
    weight = np.zeros((*convolution.weight.shape[:2], *shape))
    for y in range(pooling.kernel[0]):
        for x in range(pooling.kernel[1]):
            top, left = y * convolution.stride[0], x * convolution.stride[1]
            weight[:, :, top : top + rows, left : left + columns] += convolution.weight
    stride = (convolution.stride[0] * pooling.stride[0], convolution.stride[1] * pooling.stride[1])
    gain = np.broadcast_to(pooling.gain, weight.shape[:1])[:, None, None, None]
    return dataclasses.replace(convolution, weight=weight * pooling.scale * gain, stride=stride)


def _upsample(weight: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
    """A kernel over pooled pixels as a kernel over the pixels themselves."""
    rows, columns = weight.shape[2:]
    large = np.zeros((*weight.shape[:2], (rows - 1) * stride[0] + kernel[0], (columns - 1) * stride[1] + kernel[1]))
    for y in range(rows):
        for x in range(columns):
            top, left = y * stride[0], x * stride[1]
            large[:, :, top : top + kernel[0], left : left + kernel[1]] += weight[:, :, y : y + 1, x : x + 1]
    return large
