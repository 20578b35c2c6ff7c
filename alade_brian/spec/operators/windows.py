"""Images and the windows that slide over them, for the operators with kernels.

What has one spatial axis is treated as an image of height 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alade_brian.spec.errors import Pair, Shape, require


@dataclass(frozen=True, eq=False)
class Windows:
    """Sums over windows of an image, channel by channel.

    scale   what a pixel counts, times `gain`, ``()`` or ``(channels,)``; those of the padding are zeros
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    scale: float
    gain: np.ndarray


def planar(shape: Shape) -> Shape:
    """``(channels, length)`` as the image ``(channels, 1, length)``; an image as it is. SpecError for other shapes."""
    require(len(shape) in (2, 3), f"it reads (channels, length) or (channels, height, width), its source has {shape}")
    return shape if len(shape) == 3 else (shape[0], 1, shape[1])


def like_source(shape: Shape, source: Shape) -> Shape:
    """An image's shape with as many axes as the source has."""
    if len(source) == 3:
        return shape
    require(shape[1] == 1, f"a kernel that is not of height 1 reads a source without height, {source}")
    return shape[0], shape[2]


def window(
    size: int, positions: int, kernel: int, stride: int, padding: int, dilation: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``(kernel, positions)`` under a window that slides along an axis of `size` pixels, and which of them lie
    inside the image."""
    pixel = np.arange(positions) * stride - padding + np.arange(kernel)[:, None] * dilation
    return pixel, (pixel >= 0) & (pixel < size)
