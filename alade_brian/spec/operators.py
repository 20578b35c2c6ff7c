"""Linear operators: how the spikes of one population become the input of another.

Shapes are channels-first, ``(features,)``, ``(channels, length)`` or ``(channels, height, width)``. What has one
spatial axis is treated as an image of height 1, so kernels, strides and paddings always come in pairs (vertical,
horizontal).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import prod

import numpy as np

from alade_brian.spec.errors import LARGEST, Pair, Shape, check_shape, float64, integer, pair, require


def planar(shape: Shape) -> Shape:
    """``(channels, length)`` as the image ``(channels, 1, length)``; an image as it is. SpecError for other shapes."""
    require(len(shape) in (2, 3), f"it reads (channels, length) or (channels, height, width), its source has {shape}")
    return shape if len(shape) == 3 else (shape[0], 1, shape[1])


def _like(shape: Shape, source: Shape) -> Shape:
    """An image's shape with as many axes as the source has."""
    if len(source) == 3:
        return shape
    require(shape[1] == 1, f"a kernel that is not of height 1 reads a source without height, {source}")
    return shape[0], shape[2]


@dataclass(frozen=True, eq=False)
class Dense:
    """``post += weight @ pre``; weight ``(post size, pre size)``, both in the order of their flattened shapes."""

    weight: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", float64(self.weight))
        require(self.weight.ndim == 2, f"a dense weight has {self.weight.ndim} axes, not 2")
        require(self.weight.size > 0, f"a dense weight has the shape {self.weight.shape}: use positive axes")

    def output_shape(self, source: Shape) -> Shape:
        require(
            self.weight.shape[1] == prod(source),
            f"a dense weight reads {self.weight.shape[1]} neurons, its source has {prod(source)}",
        )
        return (self.weight.shape[0],)


@dataclass(frozen=True, eq=False)
class Sparse:
    """Any linear operator, as a list: ``post[rows[k]] += weight[k] * pre[columns[k]]``; `shape` is what it makes."""

    rows: np.ndarray
    columns: np.ndarray
    weight: np.ndarray
    shape: Shape

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            given = np.asarray(getattr(self, name))
            # numpy makes an empty list one of floats.
            require(
                given.dtype.kind in "iu" or (given.size == 0 and given.dtype.kind == "f"),
                f"the {name} of a sparse operator hold {given.dtype}: use whole numbers",
            )
            index = np.array(given, dtype=np.int64)
            index.setflags(write=False)
            object.__setattr__(self, name, index)
        object.__setattr__(self, "weight", float64(self.weight))
        object.__setattr__(self, "shape", check_shape(self.shape, "what a sparse operator makes"))
        require(
            self.rows.ndim == 1 and self.rows.shape == self.columns.shape == self.weight.shape,
            f"a sparse operator has {self.rows.shape} rows, {self.columns.shape} columns and {self.weight.shape} "
            "weights: give one of each per connection",
        )
        require(
            not len(self.rows) or (self.rows.min() >= 0 and self.rows.max() < prod(self.shape)),
            f"a sparse operator names a target beyond its shape {self.shape}",
        )

    def output_shape(self, source: Shape) -> Shape:
        require(
            not len(self.columns) or (self.columns.min() >= 0 and self.columns.max() < prod(source)),
            f"a sparse operator reads a neuron beyond the {prod(source)} of its source",
        )
        return self.shape


@dataclass(frozen=True, eq=False)
class Convolution:
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
        return _like(check_shape((self.weight.shape[0], rows, columns), "what a convolution makes"), source)


@dataclass(frozen=True, eq=False)
class TransposedConvolution:
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
        rows, columns = (
            (size - 1) * stride - 2 * pad + dilation * (kernel - 1) + more + 1
            for size, stride, pad, dilation, kernel, more in zip(
                image[1:],
                self.stride,
                self.padding,
                self.dilation,
                self.weight.shape[2:],
                self.output_padding,
                strict=True,
            )
        )
        require(rows > 0 and columns > 0, f"a padding of {self.padding} leaves nothing of an image of {source[1:]}")
        made = check_shape((self.weight.shape[1] * self.groups, rows, columns), "what a transposed convolution makes")
        return _like(made, source)


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


@dataclass(frozen=True, eq=False)
class Pooling:
    """Pooling channel by channel, times `gain` (one number or one per channel).

    A window's sum, divided by the window's size where `average`; pixels of the padding count as zeros.
    """

    kernel: Pair
    stride: Pair
    gain: np.ndarray = field(default_factory=lambda: np.ones(()))
    padding: Pair = (0, 0)
    average: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", float64(self.gain))
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0)):
            object.__setattr__(self, name, pair(getattr(self, name), f"the {name} of a pooling", least))
        require(isinstance(self.average, bool), f"a pooling's `average` is {self.average!r}: use True or False")
        require(
            max(*self.kernel, *self.padding) <= LARGEST // 4,
            f"a pooling of kernel {self.kernel} and padding {self.padding} reaches further than {LARGEST // 4} pixels: "
            "use smaller numbers",
        )

    @property
    def scale(self) -> float:
        """What every pixel of a window counts, before the gain."""
        return 1 / prod(self.kernel) if self.average else 1.0

    def output_shape(self, source: Shape) -> Shape:
        image = planar(source)
        require(
            self.gain.shape in ((), (image[0],)),
            f"a gain of shape {self.gain.shape} does not fit a source of {image[0]} channels",
        )
        rows, columns = (
            (n + 2 * p - k) // s + 1
            for n, k, s, p in zip(image[1:], self.kernel, self.stride, self.padding, strict=True)
        )
        require(
            rows > 0 and columns > 0, f"a pooling window of {self.kernel} does not fit into an image of {source[1:]}"
        )
        return _like(check_shape((image[0], rows, columns), "what a pooling makes"), source)


@dataclass(frozen=True, eq=False)
class Identity:
    """One-to-one, times `gain` (one number, one per channel, or one per neuron)."""

    gain: np.ndarray = field(default_factory=lambda: np.ones(()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", float64(self.gain))

    def output_shape(self, source: Shape) -> Shape:
        require(
            self.gain.shape in ((), (source[0],), source),
            f"a gain of shape {self.gain.shape} does not fit a source of {source[0]} channels",
        )
        return source

    def per_neuron(self, source: Shape) -> np.ndarray:
        """The gain of every neuron, ``source``."""
        gain = self.gain if self.gain.ndim != 1 else self.gain.reshape(-1, *[1] * (len(source) - 1))
        return np.broadcast_to(gain, source)


Operator = Dense | Sparse | Convolution | TransposedConvolution | Pooling | Identity


def operator_values(operator: Operator) -> np.ndarray:
    """The numbers of an operator (weight or gain): the only part of it that is not structure."""
    return operator.gain if isinstance(operator, Pooling | Identity) else operator.weight


def same_operator(left: Operator, right: Operator) -> bool:
    """Whether two operators do the same: equal in class, geometry and numbers."""
    if type(left) is not type(right):
        return False
    pairs = ((getattr(left, f.name), getattr(right, f.name)) for f in fields(left))
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)
