"""Spike statistics of one layer, each with its averaging written down.

`spikes` is always a bool array of shape (images, steps, neurons): every image is one presentation that starts from
rest, so no interval reaches from one image into the next. `dt` is the length of a step in seconds. Names and
definitions follow elephant (mean_firing_rate, isi, cv, fanofactor). Large arrays are worked through in blocks of
images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alade_brian.analysis.statistics.input import (
    CountMoments,
    Spikes,
    Values,
    blocks,
    check_positive,
    check_spikes,
    count_moments,
)


def mean_rate_hz(spikes: Spikes, dt: float) -> float:
    """Spikes per neuron and second (Hz), averaged over images, steps and all neurons, silent ones included.

    Raises UserError when `spikes` is not a bool array (images, steps, neurons) with something in it, or dt <= 0.
    """
    check_spikes(spikes)
    check_positive("time step", dt)
    return _rate(int(np.count_nonzero(spikes)), spikes, dt)


def isi_histogram(spikes: Spikes) -> NDArray[np.int64]:
    """How often each interspike interval occurs: entry k counts intervals of k steps, shape (steps,), entry 0 is 0.

    Pooled over images and neurons; an interval lies between two successive spikes of one neuron in one presentation.
    """
    check_spikes(spikes)
    steps = spikes.shape[1]
    histogram = np.zeros(steps, dtype=np.int64)
    for block in blocks(spikes.shape[0], entries_each=spikes.shape[2]):
        part = spikes[block]
        last = np.full((part.shape[0], part.shape[2]), -1, dtype=np.int32)
        for step in range(steps):
            now = part[:, step]
            again = now & (last >= 0)
            histogram += np.bincount(step - last[again], minlength=steps)
            last[now] = step
    return histogram


def isi_steps(spikes: Spikes) -> NDArray[np.int64]:
    """All interspike intervals in steps, pooled over images and neurons, in rising order; may be empty.

    Multiply by dt for seconds. One value per interval: use `isi_histogram` for large layers.
    """
    histogram = isi_histogram(spikes)
    return np.repeat(np.arange(histogram.size, dtype=np.int64), histogram)


def cv_isi(spikes: Spikes) -> float | None:
    """Coefficient of variation of the pooled interspike intervals: population standard deviation over mean.

    Pooled over images and neurons first, so differences between neurons count as variation. None for fewer than two
    intervals. With T steps no interval exceeds T - 1, which keeps it low for short presentations.
    Source: elephant.statistics.cv on pooled intervals.
    """
    return _cv(isi_histogram(spikes))


def fano_factor(spikes: Spikes) -> float | None:
    """Variance over mean of the spike count of a presentation, averaged over the neurons that fired at least once.

    Per neuron, variance (population form, divided by the number of images) and mean are taken over images; as the
    images differ, the stimulus is part of the variance. None when no neuron fired. Independent spikes of probability p
    give 1 - p. Source: elephant.statistics.fanofactor, whose trials are our images.
    """
    return _fano(count_moments(spikes))


def fano_factor_per_neuron(spikes: Spikes) -> Values:
    """Fano factor of every neuron over images, as `fano_factor` takes it: (neurons,), NaN for a silent neuron."""
    moments = count_moments(spikes)
    values = np.full(moments.total.size, np.nan)
    fired = moments.total > 0
    values[fired] = _fano_of(moments.images, moments.total[fired], moments.squares[fired])
    return values


def silent_fraction(spikes: Spikes) -> float:
    """Fraction of the neurons that spike in no step of any image."""
    check_spikes(spikes)
    return 1.0 - float(np.mean(spikes.any(axis=(0, 1))))


def saturated_fraction(spikes: Spikes) -> float:
    """Fraction of the neurons that spike at every step of every image."""
    check_spikes(spikes)
    return float(np.mean(spikes.all(axis=(0, 1))))


def defined_mean(values: Values) -> float | None:
    """Mean of the entries that are not NaN, for statistics given per neuron or image; None when there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def layer_statistics(spikes: Spikes, dt: float) -> dict[str, float | None]:
    """mean_rate_hz, cv_isi, fano_factor and silent_fraction of one layer, as written to metrics.json.

    Each as the function of that name defines it; what is undefined is None, never NaN. Raises UserError as they do.
    """
    check_positive("time step", dt)
    moments = count_moments(spikes)
    return {
        "mean_rate_hz": _rate(int(moments.total.sum()), spikes, dt),
        "cv_isi": _cv(isi_histogram(spikes)),
        "fano_factor": _fano(moments),
        "silent_fraction": float(np.mean(moments.total == 0)),
    }


def _fano(moments: CountMoments) -> float | None:
    fired = moments.total > 0
    if not fired.any():
        return None
    return float(np.mean(_fano_of(moments.images, moments.total[fired], moments.squares[fired])))


def _fano_of(images: int, total: NDArray[np.int64], squares: NDArray[np.int64]) -> Values:
    # n * sum(c^2) - sum(c)^2 stays an integer, so a neuron that never varies gives exactly 0.
    variance = (images * squares - total * total) / images**2
    return variance / (total / images)


def _cv(histogram: NDArray[np.int64]) -> float | None:
    number = int(histogram.sum())
    if number < 2:
        return None
    intervals = np.arange(histogram.size)
    mean = float(histogram @ intervals) / number
    variance = float(histogram @ np.square(intervals - mean)) / number
    return float(np.sqrt(variance)) / mean


def _rate(number: int, spikes: Spikes, dt: float) -> float:
    return number / (spikes.size * dt)
