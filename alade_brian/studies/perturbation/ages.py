"""Which tasks break first: the margin left of each task, by age, when half of the total margin is lost.

Everything is the margin above chance, in units of the unperturbed network's margin on the same images: 1 is all of it,
0 is chance. A network that forgot a task while it learnt others is so compared with what it still knew of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alade_brian.studies.perturbation.curves import Curve, curve, half_strength, measured

Results = Mapping[str, Any]

# A task with a smaller margin was not learnt: nothing can be said of what is left of it.
LEAST_MARGIN = 0.05


@dataclass(frozen=True, eq=False)
class Broken:
    """One network under one perturbation, at the strength at which half of its margin on all images is lost, or
    at the greatest strength measured if that is never reached.

    half         that strength, or None
    strength     where the rest was taken
    kept         margin left, all images
    by_task      margin left of each task, from the oldest; nan where it was not learnt
    events       synaptic events per image, in units of the unperturbed network's
    forgetting   without the perturbation and with it; None where the run's metrics are not there
    """

    half: float | None
    strength: float
    kept: float
    by_task: np.ndarray
    events: float
    forgetting: tuple[float, float] | None

    @property
    def trend(self) -> float:
        """Margin left of the newest task minus that of the oldest, on the least-squares line through all tasks; nan
        if fewer than two tasks were learnt."""
        return trend_of(self.by_task)


def trend_of(by_task: np.ndarray) -> float:
    """Newest minus oldest task on the least-squares line through all; nan if fewer than two are known."""
    known = np.flatnonzero(np.isfinite(by_task))
    if len(known) < 2:
        return np.nan
    return float(np.polyfit(known, by_task[known], 1)[0] * (len(by_task) - 1))


def broken(results: Results, name: str) -> Broken:
    """Evaluate the effect of a perturbation on the network of a study."""
    chance, whole = 1 / results["classes"], curve(results, name)
    half = half_strength(whole.strengths, whole.mean, chance)
    strength = float(whole.strengths[-1]) if half is None else half
    by_task = np.array([_left(curve(results, name, task), strength, chance) for task in results["tasks"]])
    return Broken(
        half, strength, _left(whole, strength, chance), by_task, _events(results, name, strength),
        _forgetting(results, name, strength),
    )  # fmt: skip


def retained(line: Curve, chance: float) -> np.ndarray:
    """Fraction of the margin left at every strength; nan if there was none."""
    margin = line.mean[0] - chance
    return (line.mean - chance) / margin if margin >= LEAST_MARGIN else np.full(len(line.mean), np.nan)


def _left(line: Curve, strength: float, chance: float) -> float:
    return float(np.interp(strength, line.strengths, retained(line, chance)))


def _events(results: Results, name: str, strength: float) -> float:
    """Synaptic events at a strength, as a fraction of those without a perturbation."""
    strengths, repeats = measured(results, name, lambda cell: cell["events_per_image"])
    counts = [each.mean() for each in repeats]
    return float(np.interp(strength, strengths, counts) / counts[0])


def _forgetting(results: Results, name: str, strength: float) -> tuple[float, float] | None:
    """Mean over all tasks but the last of the best accuracy ever minus the accuracy at the end."""
    tasks = results["tasks"][:-1]
    if results["best"] is None or not tasks:
        return None
    lines = [curve(results, name, task) for task in tasks]
    best = np.array(results["best"][: len(tasks)])
    there = np.array([np.interp(strength, line.strengths, line.mean) for line in lines])
    return float(np.mean(best - [line.mean[0] for line in lines])), float(np.mean(best - there))
