"""Convolutions and transposed convolutions.

Kernels, strides and paddings come in pairs (vertical, horizontal); what has one spatial axis is an image of height 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from alade_brian.spec.errors import LARGEST, Pair, Shape, check_shape, float64, integer, pair, require
from alade_brian.spec.operators.operator import Operator, Synapses, sorted_synapses
from alade_brian.spec.operators.windows import Windows, like_source, planar, window


@dataclass(frozen=True, eq=False)
class Convolution(Operator):
    """Cross-correlation as in PyTorch; weight ``(out, in / groups, kh, kw)``.

    `extent` (rows, columns) leaves out the source's pixels beyond it: pooling without padding drops a remainder, and a
    convolution with which such a pooling was merged must not read it.
    """

    weight: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1
    extent: Pair | None = None
    dilation: Pair = (1, 1)

    def __post_init__(self) -> None:
        _check_kernel(self)
        if self.extent is not None:
            object.__setattr__(self, "extent", pair(self.extent, "the extent of a convolution"))

    def output_shape(self, source: Shape) -> Shape:
        image = planar(source)
        require(
            image[0] == self.weight.shape[1] * self.groups,
            f"a convolution reads {self.weight.shape[1] * self.groups} channels, its source has {image[0]}",
        )
        extent = self.extent or image[1:]
        require(
            extent[0] <= image[1] and extent[1] <= image[2],
            f"a convolution reads {extent[0]} rows and {extent[1]} columns, its source has {image[1]} and {image[2]}",
        )
        rows, columns = (
            (size + 2 * pad - (kernel - 1) * dilation - 1) // stride + 1
            for size, pad, kernel, stride, dilation in zip(
                extent,
                self.padding,
                self.weight.shape[2:],
                self.stride,
                self.dilation,
                strict=True,
            )
        )
        require(
            rows > 0 and columns > 0, f"a kernel of {self.weight.shape[2:]} does not fit into an image of {source[1:]}"
        )
        return like_source(check_shape((self.weight.shape[0], rows, columns), "what a convolution makes"), source)

    def _read_and_made(self, source: Shape) -> tuple[Shape, Pair, Pair]:
        """The image that it reads, the part of it that counts, and the size of the one that it makes."""
        image = planar(source)
        _, rows, columns = self.output_shape(image)
        return image, self.extent or (image[1], image[2]), (rows, columns)

    def synapses(self, source: Shape) -> Synapses:
        read, made, index = _connections(self, *self._read_and_made(source))
        return sorted_synapses(read, made, index)

    def count(self, source: Shape) -> int:
        _, extent, made = self._read_and_made(source)
        return _count(self, extent, made)

    @property
    def has_weights(self) -> bool:
        return True

    def values(self) -> np.ndarray:
        return self.weight

    def with_values(self, values: np.ndarray) -> Convolution:
        return replace(self, weight=values)

    def _scaled_channels(self, factor: np.ndarray, source: Shape) -> Convolution:
        return self.with_values(self.weight * factor[:, None, None, None])

    def transposed(self, source: Shape) -> Operator:
        image, extent, made = self._read_and_made(source)
        if extent != image[1:]:
            # What lies beyond the extent gets nothing, which no output padding says.
            return self.listed(source).transposed(source)
        back = TransposedConvolution(self.weight, self.stride, self.padding, (0, 0), self.groups, self.dilation)
        return back.making(image, (self.weight.shape[0], *made))

    def behind(self, inner: Operator, source: Shape) -> Convolution | None:
        gain, windows = inner.one_to_one_gain, inner.windows
        if gain is not None and gain.shape in ((), source[:1]):
            return self.with_values(self.weight * per_input(np.broadcast_to(gain, source[:1]), self))
        if windows is not None and _stay_apart(windows, self.padding):
            return self._behind_windows(windows, source, planar(inner.output_shape(source)))
        return None

    def _behind_windows(self, windows: Windows, source: Shape, summed: Shape) -> Convolution:
        """This convolution on sums over windows, an image of the shape `summed`, of a source."""
        (high, wide), (down, right) = windows.kernel, windows.stride
        weight = _upsample(self.undilated().weight, windows.kernel, windows.stride) * windows.scale
        # Pixels that the windows leave over must not be read through the padding.
        extent = ((summed[1] - 1) * down + high, (summed[2] - 1) * right + wide)
        return Convolution(
            weight * per_input(np.broadcast_to(windows.gain, source[:1]), self),
            stride=(self.stride[0] * down, self.stride[1] * right),
            padding=(self.padding[0] * down, self.padding[1] * right),
            groups=self.groups,
            extent=None if extent == planar(source)[1:] else extent,
        )

    def pooled(self, windows: Windows) -> Convolution:
        """See `Operator`. A window of the convolution's outputs is one larger kernel: the kernel, moved by its stride,
        added up."""
        plain = self.undilated()
        rows, columns = plain.weight.shape[2:]
        (high, wide), (down, right) = windows.kernel, plain.stride
        weight = np.zeros((*plain.weight.shape[:2], (high - 1) * down + rows, (wide - 1) * right + columns))
        for y in range(high):
            for x in range(wide):
                top, left = y * down, x * right
                weight[:, :, top : top + rows, left : left + columns] += plain.weight
        gain = np.broadcast_to(windows.gain, weight.shape[:1])[:, None, None, None]
        stride = (down * windows.stride[0], right * windows.stride[1])
        return replace(plain, weight=weight * windows.scale * gain, stride=stride)

    def on_channels(self, first: int, count: int) -> Convolution:
        """See `Operator`. Groups become zeros, since a part need not be whole groups."""
        outputs, per_group = self.weight.shape[:2]
        weight = np.zeros((outputs, per_group * self.groups, *self.weight.shape[2:]))
        for output in range(outputs):
            start = output // (outputs // self.groups) * per_group
            weight[output, start : start + per_group] = self.weight[output]
        return replace(self, weight=weight[:, first : first + count], groups=1)

    def flipped(self) -> Convolution | None:
        if prod(self.weight.shape[2:]) == 1:
            return None
        return self.with_values(self.weight[:, :, ::-1, ::-1])

    def undilated(self) -> Convolution:
        """The same convolution with the gaps of its kernel filled with zeros, where it has any."""
        if self.dilation == (1, 1):
            return self
        (rows, columns), (down, right) = self.weight.shape[2:], self.dilation
        weight = np.zeros((*self.weight.shape[:2], (rows - 1) * down + 1, (columns - 1) * right + 1))
        weight[:, :, ::down, ::right] = self.weight
        return replace(self, weight=weight, dilation=(1, 1))


@dataclass(frozen=True, eq=False)
class TransposedConvolution(Operator):
    """Transposed convolution as in PyTorch; weight ``(in, out / groups, kh, kw)``."""

    weight: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    output_padding: Pair = (0, 0)
    groups: int = 1
    dilation: Pair = (1, 1)

    def __post_init__(self) -> None:
        _check_kernel(self)
        object.__setattr__(self, "output_padding", pair(self.output_padding, "an output padding"))
        smaller = all(
            0 <= more < max(s, d) for more, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True)
        )
        require(smaller, f"an output padding of {self.output_padding} is not smaller than stride {self.stride}")

    def output_shape(self, source: Shape) -> Shape:
        image = planar(source)
        require(
            image[0] == self.weight.shape[0],
            f"a transposed convolution reads {self.weight.shape[0]} channels, its source has {image[0]}",
        )
        least = self._least(image)
        rows, columns = least[0] + self.output_padding[0], least[1] + self.output_padding[1]
        require(rows > 0 and columns > 0, f"a padding of {self.padding} leaves nothing of an image of {source[1:]}")
        made = check_shape((self.weight.shape[1] * self.groups, rows, columns), "what a transposed convolution makes")
        return like_source(made, source)

    def _least(self, image: Shape) -> Pair:
        """Rows and columns that it makes of an image without output padding."""
        rows, columns = (
            (size - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1
            for size, stride, pad, dilation, kernel in zip(
                image[1:], self.stride, self.padding, self.dilation, self.weight.shape[2:], strict=True
            )
        )
        return rows, columns

    def making(self, wanted: Shape, source: Shape) -> TransposedConvolution:
        """The same with the output padding with which it makes the image `wanted` of the image `source`."""
        least = self._least(source)
        return replace(self, output_padding=(wanted[1] - least[0], wanted[2] - least[1]))

    def _made_and_read(self, source: Shape) -> tuple[Shape, Pair, Pair]:
        """The image that it makes, that image's size, and the size of the one that it reads."""
        image, made = planar(source), planar(self.output_shape(source))
        return made, (made[1], made[2]), (image[1], image[2])

    def synapses(self, source: Shape) -> Synapses:
        # Those of the convolution that reads what this one makes, with both ends exchanged.
        made, read, index = _connections(self, *self._made_and_read(source))
        return sorted_synapses(read, made, index)

    def count(self, source: Shape) -> int:
        _, made, read = self._made_and_read(source)
        return _count(self, made, read)

    @property
    def has_weights(self) -> bool:
        return True

    def values(self) -> np.ndarray:
        return self.weight

    def with_values(self, values: np.ndarray) -> TransposedConvolution:
        return replace(self, weight=values)

    def _scaled_channels(self, factor: np.ndarray, source: Shape) -> TransposedConvolution:
        return self.with_values(self.weight * per_input(factor, self))

    def behind(self, inner: Operator, source: Shape) -> TransposedConvolution | None:
        gain = inner.one_to_one_gain
        if gain is None or gain.shape not in ((), source[:1]):
            return None
        return self.with_values(self.weight * np.broadcast_to(gain, source[:1])[:, None, None, None])

    def transposed(self, source: Shape) -> Operator:
        back = Convolution(self.weight, self.stride, self.padding, self.groups, dilation=self.dilation)
        made = self.output_shape(source)
        # Output padding can be so large that the convolution reads one position more than there is.
        return back if back.output_shape(made) == source else self.listed(source).transposed(source)


def _stay_apart(windows: Windows, padding: Pair) -> bool:
    """Whether a convolution's padding can be counted in the pixels that windows sum."""
    overlapping = any(k > s for k, s in zip(windows.kernel, windows.stride, strict=True))
    return not any(windows.padding) and not (overlapping and any(padding))


def _upsample(weight: np.ndarray, kernel: Pair, stride: Pair) -> np.ndarray:
    """A kernel over pooled pixels as a kernel over the pixels themselves."""
    rows, columns = weight.shape[2:]
    large = np.zeros((*weight.shape[:2], (rows - 1) * stride[0] + kernel[0], (columns - 1) * stride[1] + kernel[1]))
    for y in range(rows):
        for x in range(columns):
            top, left = y * stride[0], x * stride[1]
            large[:, :, top : top + kernel[0], left : left + kernel[1]] += weight[:, :, y : y + 1, x : x + 1]
    return large


def _check_kernel(operator: Convolution | TransposedConvolution) -> None:
    """Take a convolution's numbers in; SpecError where they are no kernel."""
    weight = float64(operator.weight)
    require(weight.ndim == 4, f"a convolution's weight has {weight.ndim} axes, not 4")
    require(weight.size > 0, f"a convolution's weight has the shape {weight.shape}: use positive axes")
    object.__setattr__(operator, "weight", weight)
    for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
        numbers = pair(getattr(operator, name), f"the {name} of a convolution", least)
        object.__setattr__(operator, name, numbers)
    reach = (((n - 1) * d, p) for n, d, p in zip(weight.shape[2:], operator.dilation, operator.padding, strict=True))
    require(
        all(span <= LARGEST // 4 and pad <= LARGEST // 4 for span, pad in reach),
        f"a convolution of dilation {operator.dilation} and padding {operator.padding} reaches further than "
        f"{LARGEST // 4} pixels: use smaller numbers",
    )
    groups = integer(operator.groups, "the number of groups of a convolution", least=1)
    object.__setattr__(operator, "groups", groups)
    require(weight.shape[0] % groups == 0, f"{weight.shape[0]} channels do not divide into {groups} groups")


def _connections(
    operator: Convolution | TransposedConvolution, image: Shape, extent: Pair, positions: Pair
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neuron of the image, neuron of the grid of positions and place in the weight of every connection, for a kernel
    ``(channels of the grid, channels of the image / groups, kh, kw)`` that slides over the image up to `extent`."""
    outputs, per_group, kernel_rows, kernel_columns = operator.weight.shape
    rows, columns = positions
    (y, y_inside), (x, x_inside) = _windows(operator, extent, positions)
    # Axes: output channel, input channel within the group, kernel row, kernel column, output row, output column.
    out, within, ky, kx, oy, ox = np.ogrid[:outputs, :per_group, :kernel_rows, :kernel_columns, :rows, :columns]
    channel = out // (outputs // operator.groups) * per_group + within
    inside = np.broadcast_to(
        y_inside[ky, oy] & x_inside[kx, ox], np.broadcast_shapes(*(a.shape for a in (out, within, ky, kx, oy, ox)))
    )
    below = (channel * image[1] + y[ky, oy]) * image[2] + x[kx, ox]
    above = (out * rows + oy) * columns + ox
    index = ((out * per_group + within) * kernel_rows + ky) * kernel_columns + kx
    below, above, index = (np.broadcast_to(a, inside.shape)[inside] for a in (below, above, index))
    return below, above, index


def _windows(
    operator: Convolution | TransposedConvolution, extent: Pair, positions: Pair
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The kernel's windows along both axes of an image."""
    size, stride, padding, dilation = operator.weight.shape[2:], operator.stride, operator.padding, operator.dilation
    return [window(extent[a], positions[a], size[a], stride[a], padding[a], dilation[a]) for a in (0, 1)]


def _count(operator: Convolution | TransposedConvolution, extent: Pair, positions: Pair) -> int:
    """Number of `_connections`: the axes of the image are independent."""
    taps = (int(inside.sum()) for _, inside in _windows(operator, extent, positions))
    return operator.weight.shape[0] * operator.weight.shape[1] * prod(taps)


def per_input(gain: np.ndarray, operator: Convolution | TransposedConvolution) -> np.ndarray:
    """A gain per channel on the second axis of a (grouped) kernel, arranged to multiply it: per input channel of a
    convolution, per output channel of a transposed one."""
    first, per_group = operator.weight.shape[:2]
    group = np.arange(first) // (first // operator.groups)
    return gain[group[:, None] * per_group + np.arange(per_group)][:, :, None, None]
