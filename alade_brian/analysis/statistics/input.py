"""What every spike statistic starts from: checked arrays, blocks that bound the memory, and spike counts.

`spikes` is always a bool array of shape (images, steps, neurons); every image is a presentation of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alade_brian.errors import UserError

Spikes = NDArray[np.bool_]
Values = NDArray[np.float64]

# Entries unpacked to wider integers at one time: bounds the extra memory to some tens of megabytes.
_BLOCK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class CountMoments:
    """Sums over images of the spike count and of its square, int64 of shape (neurons,): exact, whatever the order."""

    images: int
    total: NDArray[np.int64]
    squares: NDArray[np.int64]


def count_moments(spikes: Spikes) -> CountMoments:
    """The first two moments of every neuron's spike count of a presentation; UserError as `check_spikes`."""
    check_spikes(spikes)
    images, _, neurons = spikes.shape
    total = np.zeros(neurons, dtype=np.int64)
    squares = np.zeros(neurons, dtype=np.int64)
    for block in blocks(images, entries_each=neurons):
        counts = spike_counts(spikes[block])
        total += counts.sum(axis=0)
        squares += np.square(counts).sum(axis=0)
    return CountMoments(images, total, squares)


def spike_counts(spikes: Spikes) -> NDArray[np.int64]:
    """Spikes of every neuron in every presentation: (images, neurons)."""
    return spikes.sum(axis=1, dtype=np.int64)


def blocks(number: int, entries_each: int) -> Iterator[slice]:
    """Slices that cover `number` images (or neurons), each of as many as may be worked on at one time."""
    size = max(1, _BLOCK_ENTRIES // entries_each)
    for start in range(0, number, size):
        yield slice(start, start + size)


def check_spikes(spikes: Spikes) -> None:
    """UserError unless `spikes` is a bool array (images, steps, neurons) with something in it."""
    if spikes.ndim != 3 or spikes.dtype != np.bool_ or spikes.size == 0:
        raise UserError(
            "Spikes must be a non-empty bool array (images, steps, neurons), "
            f"not {spikes.dtype} of shape {spikes.shape}."
        )


def check_labels(labels: NDArray[Any], images: int) -> None:
    """UserError unless `labels` holds one class number, an integer from 0 up, for each of the `images`."""
    if labels.shape != (images,) or labels.dtype.kind not in "iu" or (labels < 0).any():
        raise UserError(
            f"Labels must be {images} integers from 0 up, one per image, not {labels.dtype} of shape {labels.shape}."
        )


def check_positive(name: str, seconds: float) -> None:
    """UserError unless `seconds`, which the sentence calls `name`, is a finite positive number."""
    if not (np.isfinite(seconds) and seconds > 0):
        raise UserError(f"The {name} must be a positive number of seconds, not {seconds}.")
