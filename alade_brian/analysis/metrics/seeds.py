"""What several seeds say together: mean, standard deviation, and how far two methods lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from alade_brian.errors import UserError

# A mean and the ends of its interval, where there is one.
Interval = tuple[float, float | None, float | None]


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (divided by n - 1) over seeds; the latter is None for one seed.

    UserError where there is no value.
    """
    if len(values) == 0:
        raise UserError("There is no seed to take a mean over.")
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.mean()), float(numbers.std(ddof=1)) if len(numbers) > 1 else None


def pooled_difference(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Mean of `one` minus mean of `other`, in units of their pooled sample standard deviation.

    None where no deviation is known (fewer than three values in all), and where there is none.
    Source: Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, section 2.2 (d_s).
    """
    freedom = len(one) + len(other) - 2
    (mean, _), (mean_other, _) = mean_std(one), mean_std(other)
    # Equal numbers may leave a rounding error of their mean behind, which is no deviation.
    if freedom == 0 or max(np.ptp(one), np.ptp(other)) == 0:
        return None
    squares = sum(float(np.square(np.asarray(v) - m).sum()) for v, m in ((one, mean), (other, mean_other)))
    return (mean - mean_other) / math.sqrt(squares / freedom)


def interval(values: Sequence[float]) -> Interval:
    """Mean over the seeds with a value, and the ends of its 95 % confidence interval (Student's t); no interval
    from fewer than two. Without a value: nan."""
    known = np.array([v for v in values if np.isfinite(v)])
    if len(known) < 2:
        return (float(known[0]) if len(known) else float("nan")), None, None
    half = stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return float(known.mean()), float(known.mean() - half), float(known.mean() + half)


def leaves_out_0(found: Interval) -> bool:
    """Whether there is an interval and it excludes 0."""
    _, low, high = found
    return low is not None and high is not None and (low > 0 or high < 0)
