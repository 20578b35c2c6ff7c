"""Spike trains written out, for tests of what is computed from spikes."""

from __future__ import annotations

import numpy as np


def trains(*rows: str) -> np.ndarray:
    """One image; each row is a neuron, "1" a spike: shape (1, steps, neurons)."""
    return (np.array([list(row) for row in rows]) == "1").T[np.newaxis]


def counted(*counts: list[int], steps: int = 8) -> np.ndarray:
    """One row of spike counts per image, one entry per neuron: shape (images, steps, neurons), spikes first."""
    return np.arange(steps)[None, :, None] < np.array(counts)[:, None, :]
