"""What follows from images per second: ratios, and the firing rate at which events stop beating tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

# By name; a number, or one by the number of processes (as text); None where nothing was measured.
Speeds = Mapping[str, Any]


def speed(speeds: Speeds, name: str, processes: int | None = None) -> float | None:
    """One of the numbers, None where it is missing."""
    found = speeds.get(name)
    if isinstance(found, Mapping):
        found = found.get(str(processes))
    return found


def ratios(speeds: Speeds, cores: int) -> dict[str, float | None]:
    """One type above and below each stroke, and, but for PyTorch, the same number of processes.

    PyTorch had the best of its ways on all cores, so the engine is held against it on all cores. `ratio_to_explicit`
    is that of float64.
    """
    limits = {
        f"ratio_to_limit{end}": _over(speeds, (f"shared_{dtype}", 1), (f"limit_{dtype}", None))
        for end, dtype in (("", "float32"), ("_float64", "float64"))
    }
    torch = {
        f"ratio_to_{name}{end}": _over(speeds, (f"shared_{dtype}", cores), (name + end, None))
        for end, dtype in (("", "float32"), ("_float64", "float64"))
        for name in ("torch_eager", "torch_compile")
    }
    own = {
        "ratio_to_explicit": _over(speeds, ("shared_float64", 1), ("explicit", None)),
        "ratio_to_explicit_float32": _over(speeds, ("shared_float32", 1), ("explicit_float32", None)),
        "ratio_two_processes": _over(speeds, ("shared_float32", 2), ("shared_float32", 1)),
        "ratio_two_processes_float64": _over(speeds, ("shared_float64", 2), ("shared_float64", 1)),
    }
    return limits | torch | own


def _over(speeds: Speeds, above: tuple[str, int | None], below: tuple[str, int | None]) -> float | None:
    numerator, denominator = speed(speeds, *above), speed(speeds, *below)
    return numerator / denominator if numerator and denominator else None


def crossing(rates: Sequence[float], ours: Sequence[float | None], theirs: Sequence[float | None]) -> float | None:
    """The firing rate at which `ours` falls below `theirs`, between two measured rates; None where it never does.

    Straight lines between the points of a plot in which both axes are logarithmic.
    """
    points = sorted((r, math.log(a / b)) for r, a, b in zip(rates, ours, theirs, strict=True) if a and b)
    for (rate, lead), (next_rate, next_lead) in pairwise(points):
        if lead >= 0 > next_lead:
            return rate * (next_rate / rate) ** (lead / (lead - next_lead))
    return None


def crossings(table: Mapping[str, Mapping[str, Any]], cores: int) -> dict[str, float | None]:
    """By competitor: up to which firing rate the engine on all cores, in float32, answers more images per second."""
    rows = [row["images_per_second"] for row in table.values()]
    ours = [speed(row, "shared_float32", cores) for row in rows]
    rates = [float(key) for key in table]
    return {
        name: crossing(rates, ours, [speed(row, name) for row in rows]) for name in ("torch_eager", "torch_compile")
    }
