"""Differences between the rows of a comparison and its reference, seed by seed, with intervals over the seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from alade_brian.analysis.metrics.seeds import interval, leaves_out_0
from alade_brian.studies.comparison.table import JUDGED, aligned

Results = Mapping[str, Any]
# How a row's value differs from the reference's of the same seed.
Difference = Callable[[float, float], float]


def _percent(row: float, reference: float) -> float:
    """nan where a silent reference leaves nothing to compare with."""
    return 100 * (row / reference - 1) if reference else math.nan


# By heading: the key of a cell's results, how it is compared, and the digits that are shown.
MEASURES: Mapping[str, tuple[str, Difference, int]] = {
    "accuracy, points": (JUDGED, lambda row, reference: 100 * (row - reference), 2),
    "mean rate, %": ("mean_rate_hz", _percent, 1),
    "events per image, %": ("synaptic_events_per_image", _percent, 1),
}


def markdown(results: Results) -> str | None:
    """The table of all rows but the reference; None without a reference, or where no row shares two seeds with it."""
    reference = results["reference"]
    others = [name for name in results["rows"] if name != reference]
    if reference not in results["rows"] or all(len(_shared(results, name)) < 2 for name in others):
        return None
    lines = [
        [name, str(len(_shared(results, name))), *(_cell(results, name, *measure) for measure in MEASURES.values())]
        for name in others
    ]
    text = (
        f"Difference from the row '{reference}' of the same seed, in Brian2: mean over seeds and its 95 % confidence"
        " interval (Student's t), in bold where that excludes 0. Accuracy: the average over tasks, in percentage"
        " points. Rate: of all neurons, after the last task."
    )
    return "\n".join([*aligned(["", "seeds", *MEASURES], lines), "", text, ""])


def differences(results: Results, row: str, key: str, difference: Difference) -> list[float]:
    """Of every seed that row and reference share; empty where one of them lacks the value or it cannot be compared."""
    ours, theirs = (results["rows"][name]["seeds"] for name in (row, results["reference"]))
    shared = _shared(results, row)
    if any(key not in seeds[seed] for seeds in (ours, theirs) for seed in shared):
        return []
    found = [difference(ours[seed][key], theirs[seed][key]) for seed in shared]
    return found if all(map(math.isfinite, found)) else []


def _shared(results: Results, row: str) -> list[str]:
    ours, theirs = (results["rows"][name]["seeds"] for name in (row, results["reference"]))
    return [seed for seed in ours if seed in theirs]


def _cell(results: Results, row: str, key: str, difference: Difference, digits: int) -> str:
    found = differences(results, row, key, difference)
    if not found:
        return ""
    mean, low, high = every = interval(found)
    text = f"{mean:+.{digits}f}" + ("" if low is None else f" [{low:+.{digits}f}, {high:+.{digits}f}]")
    return f"**{text}**" if leaves_out_0(every) else text
