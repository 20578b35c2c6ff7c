"""How the spike trains of one layer go together: correlation of binned trains and spike-time tiling coefficient.

`spikes` is a bool array (images, steps, neurons), `dt` the length of a step in seconds. Images are worked through in
blocks; a matrix of all pairs takes 8 bytes times the square of the number of neurons a few times over, so of a large
layer choose neurons first (`spikes[:, :, chosen]`), or ask for `mean_correlation`, which needs no matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alade_brian.analysis.statistics.input import Spikes, Values, blocks, check_positive, check_spikes
from alade_brian.errors import UserError


def correlation(spikes: Spikes, bin_steps: int = 1) -> Values:
    """Pearson correlation of the binned spike trains of every two neurons: (neurons, neurons), symmetric.

    A bin is `bin_steps` steps and holds a spike count; means and products are taken over the bins of all images
    together, so what the stimuli do to both neurons is part of it. Rows and columns of a neuron whose bins never vary
    (silent, or at every step) are NaN, its diagonal entry too; else the diagonal is 1. Raises UserError when `spikes`
    is not a bool array (images, steps, neurons) with something in it, or `bin_steps` does not divide its steps.
    Source: elephant.spike_train_correlation.correlation_coefficient.
    """
    _check_bins(spikes, bin_steps)
    neurons = spikes.shape[2]
    products, total, number = np.zeros((neurons, neurons)), np.zeros(neurons), 0
    for binned in _binned(spikes, bin_steps):
        products += binned.T @ binned
        total += binned.sum(axis=0)
        number += len(binned)
    # Whole numbers, so that a train that never varies has a variance of exactly 0.
    covariance = number * products - np.outer(total, total)
    variance = covariance.diagonal().copy()
    scale = np.sqrt(np.outer(variance, variance))
    values = np.divide(covariance, scale, out=np.full_like(scale, np.nan), where=scale > 0)
    return np.clip(values, -1.0, 1.0)


def mean_correlation(spikes: Spikes, bin_steps: int = 1) -> float | None:
    """Mean of `correlation` over all pairs of different neurons whose bins vary; None for fewer than two of those.

    Time and memory grow with the number of neurons, not with its square: the correlations of all pairs add up to the
    squared norm of the sum of the standardised trains. Raises UserError as `correlation`.
    """
    _check_bins(spikes, bin_steps)
    neurons = spikes.shape[2]
    total, squares, number = np.zeros(neurons), np.zeros(neurons), 0
    for binned in _binned(spikes, bin_steps):
        total += binned.sum(axis=0)
        squares += np.square(binned).sum(axis=0)
        number += len(binned)
    variance = (number * squares - np.square(total)) / number
    varies = variance > 0
    count = int(np.count_nonzero(varies))
    if count < 2:
        return None
    weights = np.divide(1.0, np.sqrt(variance), out=np.zeros(neurons), where=varies)
    level = float(weights @ total) / number
    norm = sum(float(np.square(binned @ weights - level).sum()) for binned in _binned(spikes, bin_steps))
    return (norm - count) / (count * (count - 1))


def spike_time_tiling_coefficient(spikes: Spikes, dt: float, window: float = 5e-3) -> Values:
    """Spike-time tiling coefficient of every two neurons: (neurons, neurons), symmetric, 1 on the diagonal.

    For neurons A and B the mean of (P_A - T_B) / (1 - P_A T_B) and the same with A and B exchanged (each 1 where it
    would be 0 / 0): P_A is the share of A's spikes with a spike of B within `window` seconds, in the same presentation;
    T_B is the share of the time, of all presentations together, within `window` of a spike of B. A spike of step k
    comes at k * dt of a presentation from 0 to steps * dt. Rows and columns of a silent neuron are NaN. Raises
    UserError when `spikes` is not a bool array (images, steps, neurons) with something in it, or `dt` or `window` is
    not positive. Source: Cutts and Eglen 2014, J. Neurosci. 34, 14288; elephant's function of that name.
    """
    check_spikes(spikes)
    check_positive("time step", dt)
    check_positive("window", window)
    images, steps, neurons = spikes.shape
    reach = min(window / dt, float(steps))
    matches, tiled = np.zeros((neurons, neurons)), np.zeros(neurons)
    for block in blocks(images, entries_each=steps * neurons):
        part = spikes[block]
        near = _dilated(part, int(np.floor(reach + 1e-9)))
        matches += _rows(part).T @ _rows(near)
        tiled += _tiled_steps(part, reach)
    counts = matches.diagonal().copy()
    share = np.divide(matches, counts[:, None], out=np.full_like(matches, np.nan), where=counts[:, None] > 0)
    time = tiled / (images * steps)
    scale = 1 - share * time
    half = np.divide(share - time, scale, out=np.ones_like(scale), where=scale != 0)
    return (half + half.T) / 2


def _binned(spikes: Spikes, bin_steps: int) -> Iterator[Values]:
    """Blocks of images as spike counts per bin: (bins of the block, neurons)."""
    images, steps, neurons = spikes.shape
    for block in blocks(images, entries_each=steps * neurons):
        bins = spikes[block].reshape(-1, steps // bin_steps, bin_steps, neurons)
        yield bins.sum(axis=2, dtype=np.float64).reshape(-1, neurons)


def _check_bins(spikes: Spikes, bin_steps: int) -> None:
    check_spikes(spikes)
    steps = spikes.shape[1]
    if bin_steps < 1 or steps % bin_steps:
        raise UserError(f"A bin must be a whole part of the {steps} steps of a presentation, not {bin_steps} steps.")


def _rows(part: Spikes) -> Values:
    return part.reshape(-1, part.shape[2]).astype(np.float64)


def _dilated(part: Spikes, reach: int) -> Spikes:
    """Whether a spike lies within `reach` steps, of the same image and neuron."""
    steps = part.shape[1]
    before = np.zeros((part.shape[0], steps + 1, part.shape[2]), dtype=np.int32)
    np.cumsum(part, axis=1, out=before[:, 1:])
    step = np.arange(steps)
    return before[:, np.minimum(step + reach + 1, steps)] > before[:, np.maximum(step - reach, 0)]


def _tiled_steps(part: Spikes, reach: float) -> Values:
    """Length in steps of what lies within `reach` steps of a spike, summed over images: (neurons,)."""
    images, steps, neurons = part.shape
    last = np.full((images, neurons), -1, dtype=np.int32)
    tiled = np.zeros(neurons)
    for step in range(steps):
        now = part[:, step]
        gap = np.where(last < 0, min(step, reach), np.minimum(step - last, 2 * reach))
        tiled += np.where(now, gap, 0.0).sum(axis=0)
        last[now] = step
    return tiled + np.where(last < 0, 0.0, np.minimum(steps - last, reach)).sum(axis=0)
