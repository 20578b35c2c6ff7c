"""When the neurons of one layer spike: variation of successive intervals, and latency to the first spike.

`spikes` is a bool array (images, steps, neurons), `dt` the length of a step in seconds. Intervals, and pairs of
successive intervals, lie within one presentation. Every variation comes pooled over the layer (None when undefined)
and per neuron (NaN where undefined). Names and definitions follow elephant (cv, cv2, lv, lvr).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from alade_brian.analysis.statistics.input import Spikes, Values, blocks, check_positive, check_spikes
from alade_brian.errors import UserError

_Integers = NDArray[np.int64]
_Term = Callable[[Values, Values], Values]


def cv_isi_per_neuron(spikes: Spikes) -> Values:
    """Coefficient of variation of each neuron's intervals, pooled over images: (neurons,), no unit.

    Population standard deviation over mean; NaN for a neuron with fewer than two intervals. Raises UserError when
    `spikes` is not a bool array (images, steps, neurons) with something in it. Source: elephant.statistics.cv.
    """
    check_spikes(spikes)
    neurons = spikes.shape[2]
    number, total, squares = np.zeros(neurons), np.zeros(neurons), np.zeros(neurons)
    for neuron, _, interval in _intervals(spikes):
        number += np.bincount(neuron, minlength=neurons)
        total += np.bincount(neuron, weights=interval, minlength=neurons)
        squares += np.bincount(neuron, weights=np.square(interval), minlength=neurons)
    values = np.full(neurons, np.nan)
    enough = number >= 2
    # Whole numbers until here, so equal intervals give exactly 0.
    number, total, squares = number[enough], total[enough], squares[enough]
    values[enough] = np.sqrt(number * squares - np.square(total)) / total
    return values


def cv2(spikes: Spikes) -> float | None:
    """Mean of 2 |I' - I| / (I' + I) over all pairs of successive intervals I, I' of a neuron in a presentation.

    Pooled over images and neurons, each pair counted once; None without a pair (no train of three spikes). No unit;
    0 for regular firing, 1 for a Poisson process in continuous time. A pair needs I + I' steps, so presentations of few
    steps keep it low. Raises UserError as `cv_isi_per_neuron`. Source: Holt et al. 1996, J. Neurophysiol. 75, 1806.
    """
    return _pooled(spikes, _cv2_term)[0]


def cv2_per_neuron(spikes: Spikes) -> Values:
    """`cv2` of each neuron, its pairs pooled over images: (neurons,), NaN for a neuron without a pair."""
    return _per_neuron(spikes, _cv2_term)


def lv(spikes: Spikes) -> float | None:
    """Local variation: mean of 3 (I' - I)^2 / (I' + I)^2 over all pairs of successive intervals.

    Pooled, undefined and refused as `cv2`. Source: Shinomoto et al. 2003, Neural Comput. 15, 2823.
    """
    return _pooled(spikes, _lv_term)[0]


def lv_per_neuron(spikes: Spikes) -> Values:
    """`lv` of each neuron, its pairs pooled over images: (neurons,), NaN for a neuron without a pair."""
    return _per_neuron(spikes, _lv_term)


def lvr(spikes: Spikes, dt: float, refractoriness: float = 5e-3) -> float | None:
    """Revised local variation: `lv` with each pair weighted by 1 + 4 R / (I + I'), R the refractoriness constant.

    `dt` and `refractoriness` (at least 0) are in seconds; R = 0 gives `lv`. Pooled and undefined as `cv2`. Raises
    UserError as `cv2`, and when `dt` or `refractoriness` is out of range. Source: Shinomoto et al. 2009, PLoS Comput.
    Biol. 5, e1000433, where R is 5 ms.
    """
    return _pooled(spikes, _lvr_term(dt, refractoriness))[0]


def interval_variations(spikes: Spikes, dt: float, refractoriness: float = 5e-3) -> dict[str, float | None]:
    """`cv2`, `lv` and `lvr` under these names, in one pass over the spikes; errors as there."""
    names = ("cv2", "lv", "lvr")
    return dict(zip(names, _pooled(spikes, _cv2_term, _lv_term, _lvr_term(dt, refractoriness)), strict=True))


def lvr_per_neuron(spikes: Spikes, dt: float, refractoriness: float = 5e-3) -> Values:
    """`lvr` of each neuron, its pairs pooled over images: (neurons,), NaN for a neuron without a pair."""
    return _per_neuron(spikes, _lvr_term(dt, refractoriness))


def first_spike_latency(spikes: Spikes, dt: float) -> Values:
    """Seconds from the start of each presentation to each neuron's first spike: (images, neurons), nothing averaged.

    A spike of step k comes at k * dt, as in Brian2. NaN where a neuron does not spike. Raises UserError when `spikes`
    is not a bool array (images, steps, neurons) with something in it, or dt <= 0.
    """
    check_spikes(spikes)
    check_positive("time step", dt)
    return np.where(spikes.any(axis=1), spikes.argmax(axis=1) * dt, np.nan)


def mean_first_spike_latency(spikes: Spikes, dt: float) -> Values:
    """`first_spike_latency` of each neuron averaged over the images in which it spikes, in seconds: (neurons,).

    NaN for a neuron that never spikes. Works through blocks of images. Raises UserError as `first_spike_latency`.
    """
    check_spikes(spikes)
    images, _, neurons = spikes.shape
    total, number = np.zeros(neurons), np.zeros(neurons)
    for block in blocks(images, entries_each=neurons):
        latency = first_spike_latency(spikes[block], dt)
        total += np.nansum(latency, axis=0)
        number += np.count_nonzero(~np.isnan(latency), axis=0)
    return _quotient(total, number)


def _intervals(spikes: Spikes) -> Iterator[tuple[_Integers, _Integers, _Integers]]:
    """Per step, the intervals ending there: neuron, the interval before it (0 for none) and the interval, in steps."""
    images, steps, neurons = spikes.shape
    for block in blocks(images, entries_each=neurons):
        part = spikes[block]
        last = np.full((part.shape[0], neurons), -1, dtype=np.int64)
        before = np.zeros_like(last)
        for step in range(steps):
            now = part[:, step]
            image, neuron = np.nonzero(now & (last >= 0))
            interval = step - last[image, neuron]
            yield neuron, before[image, neuron], interval
            before[image, neuron] = interval
            last[now] = step


def _pair_sums(spikes: Spikes, *terms: _Term) -> tuple[Values, Values]:
    """Sum of each term over each neuron's pairs of successive intervals, (terms, neurons), and the number of pairs."""
    check_spikes(spikes)
    neurons = spikes.shape[2]
    total, number = np.zeros((len(terms), neurons)), np.zeros(neurons)
    for neuron, before, interval in _intervals(spikes):
        pair = before > 0
        first, second = before[pair].astype(np.float64), interval[pair].astype(np.float64)
        for sums, term in zip(total, terms, strict=True):
            sums += np.bincount(neuron[pair], weights=term(first, second), minlength=neurons)
        number += np.bincount(neuron[pair], minlength=neurons)
    return total, number


def _pooled(spikes: Spikes, *terms: _Term) -> list[float | None]:
    total, number = _pair_sums(spikes, *terms)
    return [float(sums.sum() / number.sum()) if number.any() else None for sums in total]


def _per_neuron(spikes: Spikes, term: _Term) -> Values:
    (total,), number = _pair_sums(spikes, term)
    return _quotient(total, number)


def _quotient(total: Values, number: Values) -> Values:
    return np.divide(total, number, out=np.full(total.size, np.nan), where=number > 0)


def _cv2_term(before: Values, interval: Values) -> Values:
    return 2 * np.abs(interval - before) / (interval + before)


def _lv_term(before: Values, interval: Values) -> Values:
    return 3 * np.square((interval - before) / (interval + before))


def _lvr_term(dt: float, refractoriness: float) -> _Term:
    check_positive("time step", dt)
    if not (np.isfinite(refractoriness) and refractoriness >= 0):
        raise UserError(f"The refractoriness constant must be at least 0 seconds, not {refractoriness}.")
    constant = refractoriness / dt
    return lambda before, interval: _lv_term(before, interval) * (1 + 4 * constant / (before + interval))
