"""Selection of the first and of held-out images of each class."""

from __future__ import annotations

import numpy as np


def rank_in_class(labels: np.ndarray) -> np.ndarray:
    """Number of earlier images of the same class for each image; labels from 0 ``(n,)`` -> int64 ``(n,)``."""
    by_class, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    rank = np.empty(len(labels), dtype=np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def last_of_each(labels: np.ndarray, fraction: float) -> np.ndarray:
    """Mask of the last `fraction` of every class, rounded, with at least one image on either side; bool ``(n,)``.

    A class of one image keeps it.
    """
    counts = np.bincount(labels)
    held = np.clip(np.floor(fraction * counts + 0.5).astype(np.int64), 1, np.maximum(counts - 1, 0))
    return rank_in_class(labels) >= (counts - held)[labels]
