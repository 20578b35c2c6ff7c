"""Operators that leave channels apart: pooling, the maximum of a window, and one-to-one connections."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import ClassVar

import numpy as np

from alade_brian.spec.errors import LARGEST, Pair, Shape, SpecError, check_shape, float64, pair, require
from alade_brian.spec.operators.convolution import TransposedConvolution
from alade_brian.spec.operators.operator import Operator, Sparse, Synapses, sorted_synapses
from alade_brian.spec.operators.windows import Windows, like_source, planar, window

# Along both axes of an image: the pixels of every window, ``(kernel, positions)``, and which of them it has.
WindowPixels = list[tuple[np.ndarray, np.ndarray]]


def _connections(image: Shape, windows: WindowPixels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether a place of a window lies inside the image, and the neurons at both ends of its connection, each
    ``(channels, kernel, kernel, rows, columns)``."""
    (y, y_inside), (x, x_inside) = windows
    (height, rows), (width, columns) = y.shape, x.shape
    c, ky, kx, oy, ox = np.ogrid[: image[0], :height, :width, :rows, :columns]
    inside = np.broadcast_to(y_inside[ky, oy] & x_inside[kx, ox], (image[0], height, width, rows, columns))
    pre = (c * image[1] + y[ky, oy]) * image[2] + x[kx, ox]
    post = (c * rows + oy) * columns + ox
    return inside, np.broadcast_to(pre, inside.shape), np.broadcast_to(post, inside.shape)


def _filled(pixel: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The pixels of windows with those outside the image replaced by the window's first that is inside."""
    return np.where(inside, pixel, pixel[inside.argmax(0), np.arange(pixel.shape[1])])


def _windows(operator: Pooling | MaxPooling, image: Shape, made: Shape) -> WindowPixels:
    """The windows along both axes of an image, from which the image `made` comes."""
    return [
        window(
            image[1 + a], made[1 + a], operator.kernel[a], operator.stride[a], operator.padding[a], operator.dilation[a]
        )
        for a in (0, 1)
    ]


@dataclass(frozen=True, eq=False)
class Pooling(Operator):
    """Pooling channel by channel, times `gain` (one number or one per channel).

    A window's sum, divided by the window's size where `average`; pixels of the padding count as zeros.
    """

    dilation: ClassVar[Pair] = (1, 1)

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

    @property
    def windows(self) -> Windows:
        return Windows(self.kernel, self.stride, self.padding, self.scale, self.gain)

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
        return like_source(check_shape((image[0], rows, columns), "what a pooling makes"), source)

    def synapses(self, source: Shape) -> Synapses:
        image = planar(source)
        inside, pre, post = _connections(image, _windows(self, image, self.output_shape(image)))
        pre, post = pre[inside], post[inside]
        index = pre // prod(image[1:]) if self.gain.ndim else np.zeros_like(pre)
        return sorted_synapses(pre, post, index, self.scale)

    def count(self, source: Shape) -> int:
        image = planar(source)
        windows = _windows(self, image, self.output_shape(image))
        return source[0] * prod(int(inside.sum()) for _, inside in windows)

    def values(self) -> np.ndarray:
        return self.gain

    def with_values(self, values: np.ndarray) -> Pooling:
        return replace(self, gain=values)

    def _scaled_channels(self, factor: np.ndarray, source: Shape) -> Pooling:
        return self.with_values(self.gain * factor)

    def behind(self, inner: Operator, source: Shape) -> Operator | None:
        gain = inner.one_to_one_gain
        if gain is not None and gain.shape in ((), source[:1]):
            return self.with_values(self.gain * gain)
        return None if any(self.padding) else inner.pooled(self.windows)

    def on_channels(self, first: int, count: int) -> Pooling:
        return self.with_values(self.gain[first : first + count]) if self.gain.ndim else self

    def transposed(self, source: Shape) -> TransposedConvolution:
        """A window's pixels each get what the window has: one kernel of equal numbers per channel."""
        image = planar(source)
        made = self.output_shape(image)
        gain = np.broadcast_to(self.gain * self.scale, image[:1])
        back = TransposedConvolution(
            np.broadcast_to(gain[:, None, None, None], (image[0], 1, *self.kernel)),
            self.stride,
            self.padding,
            groups=image[0],
        )
        return back.making(image, made)


@dataclass(frozen=True, eq=False)
class MaxPooling(Operator):
    """The largest value of every window, channel by channel; pixels of the padding are left out.

    The values of a window are compared, not added up: a projection with this operator reads a population that never
    spikes, in the same step, and fills its target alone. With `ceil_mode` a last window that is cut off by the image's
    end counts, as in PyTorch.
    """

    linear: ClassVar[bool] = False

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(getattr(self, name), f"the {name} of a maximum", least))
        require(isinstance(self.ceil_mode, bool), f"a maximum's `ceil_mode` is {self.ceil_mode!r}: use True or False")
        extents = (k * d for k, d in zip(self.kernel, self.dilation, strict=True))
        require(
            max(*extents, *self.padding, *self.stride) <= LARGEST // 4,
            f"a maximum of kernel {self.kernel}, dilation {self.dilation}, stride {self.stride} and padding "
            f"{self.padding} reaches further than {LARGEST // 4} pixels: use smaller numbers",
        )

    def output_shape(self, source: Shape) -> Shape:
        image = planar(source)
        rows, columns = (self._positions(axis, image[1 + axis]) for axis in (0, 1))
        require(
            rows > 0 and columns > 0, f"a maximum's window of {self.kernel} does not fit into an image of {source[1:]}"
        )
        made = check_shape((image[0], rows, columns), "what a maximum makes")
        empty = any(not inside.any(0).all() for _, inside in _windows(self, image, made))
        require(not empty, f"a maximum's window of {self.kernel} holds no pixel of an image of {source[1:]}: pad less")
        return like_source(made, source)

    def _positions(self, axis: int, size: int) -> int:
        """Windows along an axis of that many pixels."""
        stride, padding = self.stride[axis], self.padding[axis]
        room = size + 2 * padding - self.dilation[axis] * (self.kernel[axis] - 1) - 1
        count = (-(-room // stride) if self.ceil_mode else room // stride) + 1
        # A window that would begin behind the image is none.
        return count - 1 if self.ceil_mode and (count - 1) * stride >= size + padding else count

    def taps(self, source: Shape) -> np.ndarray:
        """The source's neurons in every window, ``(places of the window, outputs)``. For places outside the image one
        of the others stands a second time, which changes no maximum."""
        image, made = planar(source), planar(self.output_shape(source))
        axes = [(_filled(pixel, inside), inside) for pixel, inside in _windows(self, image, made)]
        _, pre, _ = _connections(image, axes)
        return pre.transpose(1, 2, 0, 3, 4).reshape(prod(self.kernel), -1)

    def synapses(self, source: Shape) -> Synapses:
        image, made = planar(source), planar(self.output_shape(source))
        inside, pre, post = _connections(image, _windows(self, image, made))
        return sorted_synapses(pre[inside], post[inside], np.zeros(np.count_nonzero(inside), dtype=np.int64))

    def count(self, source: Shape) -> int:
        image, made = planar(source), planar(self.output_shape(source))
        return source[0] * prod(int(inside.sum()) for _, inside in _windows(self, image, made))

    def values(self) -> np.ndarray:
        """None: a maximum has no numbers."""
        return np.zeros(0)

    def with_values(self, values: np.ndarray) -> MaxPooling:
        require(np.size(values) == 0, "a maximum has no numbers that could be replaced: scale what it reads")
        return self

    def scaled(self, factor: float | np.ndarray, source: Shape) -> Operator:
        """SpecError: the maximum of scaled values need not be the scaled maximum."""
        raise SpecError("a maximum has no numbers that could be scaled: scale what it reads")

    def listed(self, source: Shape) -> Sparse:
        """SpecError: a maximum is no list of connections."""
        raise SpecError("a maximum is no sum over connections: it has no list of weights")


@dataclass(frozen=True, eq=False)
class Identity(Operator):
    """One-to-one, times `gain` (one number, one per channel, or one per neuron)."""

    gain: np.ndarray = field(default_factory=lambda: np.ones(()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", float64(self.gain))

    @property
    def changes_nothing(self) -> bool:
        return bool(np.all(self.gain == 1))

    @property
    def one_to_one_gain(self) -> np.ndarray:
        return self.gain

    def behind(self, inner: Operator, source: Shape) -> Operator | None:
        gain = inner.one_to_one_gain
        return None if gain is None else Identity(Identity(gain).per_neuron(source) * self.per_neuron(source))

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

    def synapses(self, source: Shape) -> Synapses:
        neurons = np.arange(prod(source))
        index = np.arange(self.gain.size).reshape(self.gain.shape)
        return Synapses(neurons, neurons, Identity(index).per_neuron(source).ravel().astype(np.int64))

    def count(self, source: Shape) -> int:
        return prod(source)

    def values(self) -> np.ndarray:
        return self.gain

    def with_values(self, values: np.ndarray) -> Identity:
        return Identity(values)

    def _scaled_channels(self, factor: np.ndarray, source: Shape) -> Identity:
        each = self.gain.ndim > 1
        return Identity(self.gain * (factor.reshape(-1, *[1] * (len(source) - 1)) if each else factor))

    def transposed(self, source: Shape) -> Identity:
        self.output_shape(source)
        return self
