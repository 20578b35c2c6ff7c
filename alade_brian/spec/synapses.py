"""Which neuron reaches which, and through which number: operators of a specification as lists of synapses."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from scipy import sparse

from alade_brian.spec.network import (
    Convolution,
    Dense,
    Identity,
    NetworkSpec,
    Operator,
    Pooling,
    Projection,
    Shape,
    Sparse,
    TransposedConvolution,
    operator_values,
)
from alade_brian.spec.operators import planar


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
    match operator:
        case Dense():
            return _dense(operator.weight.shape)
        case Sparse():
            return _sorted(operator.columns, operator.rows, np.arange(len(operator.rows)))
        case Convolution():
            return _convolution(operator, planar(source))
        case TransposedConvolution():
            return _transposed(operator, source)
        case Pooling():
            return _pooling(operator, planar(source))
        case Identity():
            return _identity(operator, source)


def projection_synapses(spec: NetworkSpec, projection: Projection) -> Synapses:
    """The synapses of a projection, its place in the target taken into account."""
    return placed_synapses(projection, spec.shape(projection.source))


def placed_synapses(projection: Projection, source: Shape) -> Synapses:
    """The synapses of a projection whose source has that shape, its place in the target taken into account."""
    found = synapses(projection.operator, source)
    return (
        Synapses(found.pre, found.post + projection.target_offset, found.value_index, found.scale)
        if projection.target_offset
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


def synapse_count(operator: Operator, source: Shape) -> int:
    """Number of synapses of an operator, counted without listing them."""
    match operator:
        case Dense() | Sparse():
            return operator.weight.size
        case Identity():
            return prod(source)
        case Pooling():
            one = Convolution(np.ones((1, 1, *operator.kernel)), operator.stride, operator.padding)
            return source[0] * synapse_count(one, (1, *planar(source)[1:]))
        case Convolution():
            shape = planar(operator.output_shape(source))
            return operator.weight.shape[0] * operator.weight.shape[1] * prod(_taps(operator, planar(source), shape))
        case TransposedConvolution():
            return len(synapses(operator, source))


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


def _transposed(operator: TransposedConvolution, source: Shape) -> Synapses:
    """The synapses of the convolution that reads what this one makes, with both ends exchanged."""
    forward = Convolution(
        operator.weight, operator.stride, operator.padding, operator.groups, dilation=operator.dilation
    )
    made = operator.output_shape(source)
    found = _convolution(forward, planar(made))
    # Output padding can be so large that the convolution reads one position more than there is.
    rows, columns = forward.output_shape(planar(made))[1:]
    channel, position = np.divmod(found.post, rows * columns)
    y, x = np.divmod(position, columns)
    inside = (y < planar(source)[1]) & (x < planar(source)[2])
    pre = (channel * planar(source)[1] + y) * planar(source)[2] + x
    return _sorted(pre[inside], found.pre[inside], found.value_index[inside])


def _pooling(operator: Pooling, source: Shape) -> Synapses:
    channels, rows, columns = operator.output_shape(source)
    y, y_inside = _window(source[1], rows, operator.kernel[0], operator.stride[0], operator.padding[0], 1)
    x, x_inside = _window(source[2], columns, operator.kernel[1], operator.stride[1], operator.padding[1], 1)
    c, ky, kx, oy, ox = np.ogrid[:channels, : operator.kernel[0], : operator.kernel[1], :rows, :columns]
    inside = np.broadcast_to(y_inside[ky, oy] & x_inside[kx, ox], (channels, *operator.kernel, rows, columns))
    pre = (c * source[1] + y[ky, oy]) * source[2] + x[kx, ox]
    post = (c * rows + oy) * columns + ox
    pre, post = (np.broadcast_to(a, inside.shape)[inside] for a in (pre, post))
    index = pre // prod(source[1:]) if operator.gain.ndim else np.zeros_like(pre)
    return _sorted(pre, post, index, operator.scale)


def _identity(operator: Identity, source: Shape) -> Synapses:
    neurons = np.arange(prod(source))
    index = np.arange(operator.gain.size).reshape(operator.gain.shape)
    return Synapses(neurons, neurons, Identity(index).per_neuron(source).ravel().astype(np.int64))


def _taps(operator: Convolution, source: Shape, shape: Shape) -> tuple[int, int]:
    """Kernel positions that lie inside the image, summed over the outputs, per axis."""
    counts = []
    for axis, size in enumerate(operator.extent or source[1:]):
        kernel, stride, padding = operator.weight.shape[2 + axis], operator.stride[axis], operator.padding[axis]
        starts = [o * stride - padding for o in range(shape[1 + axis])]
        taps = [range(s, s + kernel * operator.dilation[axis], operator.dilation[axis]) for s in starts]
        counts.append(sum(0 <= tap < size for window in taps for tap in window))
    return counts[0], counts[1]


def live_projections(spec: NetworkSpec) -> list[tuple[int, Projection]]:
    """Projections with their numbers, those without a single connection left out: Brian2 takes no empty lists."""
    return [(index, p) for index, p in enumerate(spec.projections) if synapse_count(p.operator, spec.shape(p.source))]
