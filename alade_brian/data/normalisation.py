"""Mean and standard deviation per channel, computed and applied in pieces to limit memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

# So many values are float64 at a time: 32 MiB.
PIECE_VALUES = 2**22


def pieces(images: np.ndarray) -> Iterator[slice]:
    """Divide the first axis into consecutive slices of about `PIECE_VALUES` values."""
    step = max(1, PIECE_VALUES // max(1, prod(images.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(images), step))


def moments(images: np.ndarray, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation of ``images / scale``, float64 ``(C,)`` each.

    images   ``(n, C, H, W)`` or ``(n, steps, C, H, W)``, any numeric type
    A constant channel has standard deviation 1: it is brought to zero, not to infinity.
    """
    channel = images.ndim - 3
    channels, axes = images.shape[channel], tuple(a for a in range(images.ndim) if a != channel)
    if not images.size:
        return np.zeros(channels), np.ones(channels)

    def average(of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        total = np.zeros(channels)
        for piece in pieces(images):
            total += of(images[piece].astype(np.float64) / scale).sum(axes)
        return (total / (images.size // channels))[:, None, None]

    with np.errstate(invalid="ignore", over="ignore"):
        # Measured from the first pixel: what is constant then differs from it by exactly zero.
        origin = images[(0,) * channel][:, :1, :1].astype(np.float64) / scale
        mean = origin + average(lambda pixels: pixels - origin)
        std = np.sqrt(average(lambda pixels: (pixels - mean) ** 2))
    return mean[:, 0, 0], np.where(std > 0, std, 1.0)[:, 0, 0]


def normalised(images: np.ndarray, mean: np.ndarray, std: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Normalise images to ``(images / scale - mean) / std`` per channel; float32, of the images' shape."""
    result = np.empty(images.shape, dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for piece in pieces(images):
            pixels = images[piece].astype(np.float64) / scale
            result[piece] = (pixels - mean[:, None, None]) / std[:, None, None]
    return result
