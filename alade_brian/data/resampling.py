"""Resampling of images by area averaging."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from alade_brian.data.normalisation import pieces


def area_average(images: np.ndarray, size: int) -> np.ndarray:
    """Resample images ``(..., H, W)`` to float32 ``(..., size, size)``: a new pixel is the mean over the area that it
    covers, in which a partly covered pixel has the weight of the covered part.

    Images that are not square are stretched to a square; where `size` is larger, pixels are repeated.
    """
    height, width = images.shape[-2:]
    if height == width == size:
        return images.astype(np.float32, copy=False)
    rows, columns = _shares(height, size), _shares(width, size)
    result = np.empty((*images.shape[:-2], size, size), dtype=np.float32)
    for piece in pieces(images):
        result[piece] = rows @ (images[piece].astype(np.float64) @ columns.T)
    return result


@lru_cache(maxsize=256)
def _shares(length: int, size: int) -> np.ndarray:
    """Weights of the old pixels in the new, float64 ``(size, length)``; every row adds up to 1."""
    edges, pixels = np.arange(size + 1) * (length / size), np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares = np.maximum(overlap, 0) * (size / length)
    shares.setflags(write=False)
    return shares
