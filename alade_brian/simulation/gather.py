"""Operators as what a target pixel gathers: no list of synapses, one kernel for all positions.

Here a population ``(channels, height, width)`` is laid out channel-last: a row of channels for each pixel, so that what
one spike adds to a row is contiguous in the kernel and in the target. A population without spatial axes is one pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
    MaxPooling,
    NetworkSpec,
    Pooling,
    Projection,
    Shape,
    TransposedConvolution,
)
from alade_brian.spec.operators import planar
from alade_brian.spec.synapses import out_degrees, placed_synapses

# Rows of a kernel begin at a multiple of this many bytes: the widest vector of today's processors.
ALIGNMENT = 64
# A list of connections is gathered as a full matrix up to this many numbers (zeros added change no sum).
DENSE_AT_MOST = 4_000_000
# Operators with a kernel of their own; every other one is a list of connections.
_KERNELS = (Dense, Convolution, TransposedConvolution, Pooling, MaxPooling, Identity)


@dataclass(frozen=True, eq=False)
class Gather:
    """Where the pixels of a target look.

    first     int32 ``(target pixels + 1,)``: the taps of pixel p are ``first[p]`` up to ``first[p + 1]``
    source    int32 ``(taps,)``: the source's pixel, ascending for each target pixel
    block     int32 ``(taps,)``: the part of the kernel that it goes through
    row       channels of the target that one spike reaches
    per_row   source channels that reach the same ones: channel c reaches ``offset + c // per_row * row`` and the next
    offset    the target's channel where the operator's first output goes
    blocks    parts of the kernel
    """

    first: np.ndarray
    source: np.ndarray
    block: np.ndarray
    row: int
    per_row: int
    offset: int
    blocks: int


@dataclass(frozen=True, eq=False)
class Stretches:
    """Taps that follow each other both in the source and in the kernel, as one.

    The spikes of neighbouring pixels are one stretch of a list, and their kernels lie one behind the other: number
    ``pixel * channels + channel`` of a source goes through row ``shift + number`` of the kernel.

    first    int32 ``(target pixels + 1,)``: the stretches of pixel p are ``first[p]`` up to ``first[p + 1]``
    begin    int32 ``(stretches,)``: the first pixel of the source, and
    end      the one behind the last
    shift    int32 ``(stretches,)``, in rows of the kernel
    """

    first: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    shift: np.ndarray


def stretches(taps: Gather, channels: int) -> Stretches:
    """The taps of a projection from a source with so many channels, joined where they can be."""
    target = np.repeat(np.arange(len(taps.first) - 1), np.diff(taps.first))
    joined = (np.diff(taps.source) == 1) & (np.diff(taps.block) == 1) & (np.diff(target) == 0)
    starts = np.flatnonzero(np.concatenate([[True], ~joined])) if len(target) else np.zeros(0, np.int64)
    ends = np.append(starts[1:], len(target)) - 1 if len(starts) else starts
    shift = (taps.block[starts] - taps.source[starts]) * channels
    first = np.searchsorted(starts, taps.first)
    columns = (first, taps.source[starts], taps.source[ends] + 1, shift)
    return Stretches(*(column.astype(np.int32) for column in columns))


def pixels(shape: Shape) -> int:
    """Pixels of a population: 1 where it has no spatial axes."""
    return prod(shape[1:])


def channels_last(values: np.ndarray, shape: Shape) -> np.ndarray:
    """Values ``(..., neurons)`` of a population, in the order of its specification, with the channel as last axis:
    ``(..., pixels, channels)``."""
    return np.swapaxes(values.reshape(*values.shape[:-1], shape[0], pixels(shape)), -1, -2)


def gathers(spec: NetworkSpec, projection: Projection) -> bool:
    """Whether a projection can be gathered: all but long lists of connections and synapses that fail by chance."""
    if projection.release is not None:
        return False
    whole = prod(spec.shape(projection.target)) * prod(spec.shape(projection.source))
    return not is_list(spec, projection) or whole <= DENSE_AT_MOST


def can_gather(spec: NetworkSpec) -> bool:
    """Whether every projection of a network can be gathered."""
    return all(gathers(spec, p) for p in spec.projections)


def is_list(spec: NetworkSpec, projection: Projection) -> bool:
    """Whether a projection has no taps of its own but is gathered as a full matrix: it is a list of connections, or
    what it makes is not laid out in the pixels of its target (an image, say, that goes flattened straight to
    neurons)."""
    operator, inside = projection.operator, pixels(spec.shape(projection.target))
    made = operator.output_shape(spec.shape(projection.source))
    fits = prod(made) % inside == 0 if isinstance(operator, Dense) else pixels(made) == inside
    return not isinstance(operator, _KERNELS) or not fits or projection.target_offset % inside != 0


def gather(spec: NetworkSpec, projection: Projection) -> Gather:
    """The taps of a projection."""
    operator, source, target = projection.operator, spec.shape(projection.source), spec.shape(projection.target)
    if is_list(spec, projection):
        return _all_to_all(prod(target), source, target, 0)
    offset = projection.target_offset // pixels(target)
    match operator:
        case Convolution():
            made, per_row = operator.weight.shape[0] // operator.groups, operator.weight.shape[1]
            return _windowed(
                _convolution_taps(operator, source), made, per_row, offset, prod(operator.weight.shape[2:])
            )
        case TransposedConvolution():
            made, per_row = operator.weight.shape[1], operator.weight.shape[0] // operator.groups
            return _windowed(_transposed_taps(operator, source), made, per_row, offset, prod(operator.weight.shape[2:]))
        case Pooling() | MaxPooling():
            return _windowed(_pooling_taps(operator, source), 1, 1, offset, 1)
        case Identity():
            each = operator.gain.ndim > 1
            own = ([(pixel, pixel if each else 0)] for pixel in range(pixels(source)))
            return _windowed(own, 1, 1, offset, pixels(source) if each else 1)
        case _:
            return _all_to_all(prod(operator.output_shape(source)), source, target, offset)


def kernel(spec: NetworkSpec, projection: Projection) -> np.ndarray:
    """The numbers of a linear projection as `gather` takes them, float64 ``(blocks, source channels, row)``."""
    operator, source, target = projection.operator, spec.shape(projection.source), spec.shape(projection.target)
    if is_list(spec, projection):
        listed = placed_synapses(projection, source)
        weight = np.zeros((prod(target), prod(source)))
        np.add.at(weight, (listed.post, listed.pre), listed.weights(operator))
        return _matrix_kernel(weight, source, target)
    match operator:
        case Dense():
            return _matrix_kernel(operator.weight, source, target)
        case Convolution():
            per_group, *size = operator.weight.shape[1:]
            grouped = operator.weight.reshape(operator.groups, -1, per_group, prod(size))
            # group, row, channel within the group, tap -> tap, group and channel, row
            return grouped.transpose(3, 0, 2, 1).reshape(prod(size), operator.groups * per_group, -1)
        case TransposedConvolution():
            channels, row, *size = operator.weight.shape
            # Turned round, as a convolution that goes back: neighbouring pixels then follow each other here too.
            return operator.weight.reshape(channels, row, prod(size)).transpose(2, 0, 1)[::-1]
        case Pooling():
            return np.broadcast_to(operator.gain * operator.scale, source[:1]).reshape(1, -1, 1)
        case Identity():
            gain = channels_last(operator.per_neuron(source).reshape(-1), source)
            return (gain if operator.gain.ndim > 1 else gain[:1])[..., None]
        case _:
            raise AssertionError("a list of connections is a full matrix here")


def degrees(spec: NetworkSpec, projection: Projection) -> np.ndarray:
    """Synapses of every neuron of a projection's source, int64 ``(source size,)``; none of them is listed where taps
    tell as much."""
    if is_list(spec, projection):
        return out_degrees(spec, projection)
    taps, shape = gather(spec, projection), spec.shape(projection.source)
    return np.tile(np.bincount(taps.source, minlength=pixels(shape)) * taps.row, shape[0])


def stride(row: int, itemsize: int) -> int:
    """Numbers from one row of a kernel to the next: rows of more than one number begin aligned."""
    lanes = ALIGNMENT // itemsize
    return row if row == 1 else -(-row // lanes) * lanes


def aligned(values: np.ndarray, itemsize: int) -> np.ndarray:
    """A kernel with its rows filled up with zeros to their `stride`, flat."""
    missing = stride(values.shape[-1], itemsize) - values.shape[-1]
    return np.pad(values, ((0, 0), (0, 0), (0, missing))).ravel()


def _matrix_kernel(weight: np.ndarray, source: Shape, target: Shape) -> np.ndarray:
    q, p = pixels(source), pixels(target)
    parts = weight.reshape(-1, p, source[0], q)
    return parts.transpose(1, 3, 2, 0).reshape(p * q, source[0], -1)


def _all_to_all(made: int, source: Shape, target: Shape, offset: int) -> Gather:
    q, p = pixels(source), pixels(target)
    first = np.arange(p + 1, dtype=np.int32) * q
    block = np.arange(p * q, dtype=np.int32)
    return Gather(first, block % q, block, made // p, source[0], offset, p * q)


Taps = Iterator[list[tuple[int, int]]]


def _windowed(taps: Taps, row: int, per_row: int, offset: int, blocks: int) -> Gather:
    """From the taps (source pixel, block) of every target pixel."""
    listed = [sorted(pixel) for pixel in taps]
    flat = np.array([tap for pixel in listed for tap in pixel], dtype=np.int32).reshape(-1, 2)
    first = np.cumsum([0, *map(len, listed)]).astype(np.int32)
    return Gather(first, flat[:, 0].copy(), flat[:, 1].copy(), row, per_row, offset, blocks)


def _pairs(rows: list[list[tuple[int, int]]], columns: list[list[tuple[int, int]]], width: int, size: int) -> Taps:
    """The taps of an image from those of its two axes, each a list of (position, place in the kernel) per output."""
    for row in rows:
        for column in columns:
            yield [(y * width + x, ky * size + kx) for y, ky in row for x, kx in column]


def _convolution_taps(operator: Convolution, source: Shape) -> Taps:
    image, size = planar(source), operator.weight.shape[2:]
    made = planar(operator.output_shape(source))[1:]
    inside = operator.extent or image[1:]
    axes = [
        _window(made[a], inside[a], size[a], operator.stride[a], operator.padding[a], operator.dilation[a])
        for a in (0, 1)
    ]
    return _pairs(axes[0], axes[1], image[2], size[1])


def _pooling_taps(operator: Pooling | MaxPooling, source: Shape) -> Taps:
    image, made = planar(source), planar(operator.output_shape(source))[1:]
    axes = [
        _window(
            made[a], image[1 + a], operator.kernel[a], operator.stride[a], operator.padding[a], operator.dilation[a]
        )
        for a in (0, 1)
    ]
    # One number, or none, for the whole window.
    return ([(pixel, 0) for pixel, _ in taps] for taps in _pairs(axes[0], axes[1], image[2], operator.kernel[1]))


def _window(made: int, inside: int, size: int, stride: int, padding: int, dilation: int) -> list[list[tuple[int, int]]]:
    """For every output of an axis: the positions that its window reads, and their places in the window."""
    found = [[(o * stride - padding + k * dilation, k) for k in range(size)] for o in range(made)]
    return [[(position, k) for position, k in window if 0 <= position < inside] for window in found]


def _transposed_taps(operator: TransposedConvolution, source: Shape) -> Taps:
    image, size = planar(source), operator.weight.shape[2:]
    made = planar(operator.output_shape(source))[1:]
    axes = []
    for a in (0, 1):
        steps = [
            [(o + operator.padding[a] - k * operator.dilation[a], size[a] - 1 - k) for k in range(size[a])]
            for o in range(made[a])
        ]
        stride, inside = operator.stride[a], image[1 + a]
        axes.append([[(n // stride, k) for n, k in s if n % stride == 0 and 0 <= n // stride < inside] for s in steps])
    return _pairs(axes[0], axes[1], image[2], size[1])
