"""Which neuron reaches which, and through which number: operators of a specification as lists of synapses."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from scipy import sparse

from alade_brian.conversion.spec import (
    Convolution,
    Dense,
    Identity,
    NetworkSpec,
    Operator,
    Pooling,
    Projection,
    Shape,
    operator_values,
)


@dataclass(frozen=True, eq=False)
class Synapses:
    """Synapse k goes from neuron ``pre[k]`` to ``post[k]`` with weight ``values[k]``; sorted by pre, then post.

    `scale` is what a value is multiplied with to give the weight (1 / window size for pooling).
    """

    pre: np.ndarray
    post: np.ndarray
    value_index: np.ndarray
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.pre)

    def weights(self, operator: Operator) -> np.ndarray:
        """float64 weight of every synapse."""
        return operator_values(operator).ravel()[self.value_index] * self.scale


def synapses(operator: Operator, source: Shape) -> Synapses:
    """All synapses of an operator on a source of that shape."""
    if isinstance(operator, Dense):
        return _dense(operator.weight.shape)
    if isinstance(operator, Convolution):
        return _convolution(operator, source)
    if isinstance(operator, Pooling):
        return _pooling(operator, source)
    size = prod(source)
    return Synapses(np.arange(size), np.arange(size), _channel_index(operator, np.arange(size), source))


def projection_synapses(spec: NetworkSpec, projection: Projection) -> Synapses:
    """The synapses of a projection, its place in the target taken into account."""
    found = synapses(projection.operator, spec.shape(projection.source))
    return (
        Synapses(found.pre, found.post + projection.first, found.value_index, found.scale)
        if projection.first
        else found
    )


def matrix(operator: Operator, source: Shape) -> sparse.csr_array:
    """The operator as a sparse matrix ``(outputs, inputs)`` over flattened shapes."""
    found = synapses(operator, source)
    shape = (prod(operator.output_shape(source)), prod(source))
    return sparse.csr_array((found.weights(operator), (found.post, found.pre)), shape=shape)


def out_degrees(spec: NetworkSpec, projection: Projection) -> np.ndarray:
    """Number of synapses of every source neuron, int64 ``(source size,)``."""
    return np.bincount(projection_synapses(spec, projection).pre, minlength=prod(spec.shape(projection.source)))


def _sorted(pre: np.ndarray, post: np.ndarray, index: np.ndarray, scale: float = 1.0) -> Synapses:
    order = np.lexsort((post, pre))
    return Synapses(pre[order], post[order], index[order], scale)


def _dense(shape: tuple[int, ...]) -> Synapses:
    outputs, inputs = shape
    pre = np.repeat(np.arange(inputs), outputs)
    post = np.tile(np.arange(outputs), inputs)
    return Synapses(pre, post, post * inputs + pre)


def _window(
    size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[np.ndarray, np.ndarray]:
    """Input positions ``(kernel, outputs)`` of a sliding window, and which of them lie inside the image."""
    position = np.arange(outputs) * stride - padding + np.arange(kernel)[:, None] * dilation
    return position, (position >= 0) & (position < size)


def _convolution(operator: Convolution, source: Shape) -> Synapses:
    outputs, per_group, kernel_rows, kernel_columns = operator.weight.shape
    _, rows, columns = operator.output_shape(source)
    extent = operator.extent or source[1:]
    y, y_inside = _window(extent[0], rows, kernel_rows, operator.stride[0], operator.padding[0], operator.dilation[0])
    x, x_inside = _window(
        extent[1], columns, kernel_columns, operator.stride[1], operator.padding[1], operator.dilation[1]
    )
    # Axes: output channel, input channel within the group, kernel row, kernel column, output row, output column.
    out, within, ky, kx, oy, ox = np.ogrid[:outputs, :per_group, :kernel_rows, :kernel_columns, :rows, :columns]
    channel = out // (outputs // operator.groups) * per_group + within
    inside = np.broadcast_to(
        y_inside[ky, oy] & x_inside[kx, ox], np.broadcast_shapes(*(a.shape for a in (out, within, ky, kx, oy, ox)))
    )
    pre = (channel * source[1] + y[ky, oy]) * source[2] + x[kx, ox]
    post = (out * rows + oy) * columns + ox
    index = ((out * per_group + within) * kernel_rows + ky) * kernel_columns + kx
    return _sorted(*(np.broadcast_to(a, inside.shape)[inside] for a in (pre, post, index)))


def _pooling(operator: Pooling, source: Shape) -> Synapses:
    channels, rows, columns = operator.output_shape(source)
    c, ky, kx, oy, ox = np.ogrid[:channels, : operator.kernel[0], : operator.kernel[1], :rows, :columns]
    pre = (c * source[1] + oy * operator.stride[0] + ky) * source[2] + ox * operator.stride[1] + kx
    post = (c * rows + oy) * columns + ox
    pre, post = (np.broadcast_to(a, (channels, *operator.kernel, rows, columns)).ravel() for a in (pre, post))
    return _sorted(pre, post, _channel_index(operator, pre, source), 1 / prod(operator.kernel))


def _channel_index(operator: Pooling | Identity, pre: np.ndarray, source: Shape) -> np.ndarray:
    """Index into the gain: the neuron's channel, or always 0 for a single number."""
    return pre // prod(source[1:]) if operator.gain.ndim else np.zeros_like(pre)
