"""Operators that leave channels apart: pooling and one-to-one connections."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from alade_brian.spec.errors import LARGEST, Pair, Shape, check_shape, float64, pair, require
from alade_brian.spec.operators.convolution import TransposedConvolution
from alade_brian.spec.operators.operator import Operator, Synapses, sorted_synapses
from alade_brian.spec.operators.windows import Windows, like_source, planar, window


@dataclass(frozen=True, eq=False)
class Pooling(Operator):
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
        channels, rows, columns = self.output_shape(image)
        (y, y_inside), (x, x_inside) = self._windows(image)
        c, ky, kx, oy, ox = np.ogrid[:channels, : self.kernel[0], : self.kernel[1], :rows, :columns]
        inside = np.broadcast_to(y_inside[ky, oy] & x_inside[kx, ox], (channels, *self.kernel, rows, columns))
        pre = (c * image[1] + y[ky, oy]) * image[2] + x[kx, ox]
        post = (c * rows + oy) * columns + ox
        pre, post = (np.broadcast_to(a, inside.shape)[inside] for a in (pre, post))
        index = pre // prod(image[1:]) if self.gain.ndim else np.zeros_like(pre)
        return sorted_synapses(pre, post, index, self.scale)

    def _windows(self, image: Shape) -> list[tuple[np.ndarray, np.ndarray]]:
        """The windows along both axes of an image."""
        made = self.output_shape(image)
        return [window(image[1 + a], made[1 + a], self.kernel[a], self.stride[a], self.padding[a]) for a in (0, 1)]

    def count(self, source: Shape) -> int:
        return source[0] * prod(int(inside.sum()) for _, inside in self._windows(planar(source)))

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
