"""Results of a study: curves with bands, and the strength at which half of the margin is lost.

What is measured is the accuracy, or of values R2; the margin is what it is above chance.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from alade_brian.analysis.problems import Measure, problem_of

Results = Mapping[str, Any]

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Curve:
    """Accuracy, or what else is measured, against strength.

    strengths   ``(k,)``, rising from 0
    repeats     for each strength the accuracies of its repeats
    low         no smaller one is possible; None: there is no such bound. 1 is the greatest
    whole       whether strengths are whole numbers
    """

    strengths: np.ndarray
    repeats: tuple[np.ndarray, ...]
    low: float | None = 0.0
    whole: bool = False

    @property
    def mean(self) -> np.ndarray:
        return np.array([r.mean() for r in self.repeats])

    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the 95 % confidence interval of the mean over repeats (Student's t, cut to what is possible); where
        there is one repeat, the mean itself."""
        half = np.array(
            [
                stats.t.ppf((1 + CONFIDENCE) / 2, len(r) - 1) * r.std(ddof=1) / np.sqrt(len(r)) if len(r) > 1 else 0.0
                for r in self.repeats
            ]
        )
        lowest = -np.inf if self.low is None else self.low
        return np.maximum(self.mean - half, lowest), np.minimum(self.mean + half, 1)

    def half_strength(self, chance: float) -> tuple[float | None, tuple[float | None, float | None]]:
        """The least strength at which half of the margin above chance is gone, between measured strengths by a straight
        line, and an interval; None: not within the strengths measured.

        The interval is a 95 % one (percentile bootstrap over repeats). Where nothing was repeated, or strengths are
        whole numbers, the line says nothing of what lies between two measurements: the ends are then measured
        strengths.
        """
        draw = np.random.default_rng(0)
        means = [draw.choice(r, (RESAMPLES, len(r))).mean(1) for r in self.repeats]
        found = [crossing(self.strengths, mean, chance) for mean in np.stack(means, axis=1)]
        # Either both ends are where the line crosses, or they are the measured strengths before and behind it.
        ends = (0, 2) if self.between_measured else (1, 1)
        low, high = (
            np.quantile([np.inf if c is None else c[end] for c in found], quantile, method="nearest")
            for end, quantile in zip(ends, (0.025, 0.975), strict=True)
        )
        return half_strength(self.strengths, self.mean, chance), (_finite(float(low)), _finite(float(high)))

    @property
    def between_measured(self) -> bool:
        """Whether the interval of a half-strength is one between measured strengths."""
        return self.whole or all(len(r) == 1 for r in self.repeats)


def half_strength(strengths: np.ndarray, mean: np.ndarray, chance: float) -> float | None:
    """Strength at which half of the margin above chance is lost, see `Curve.half_strength`."""
    found = crossing(strengths, mean, chance)
    return None if found is None else found[1]


def crossing(strengths: np.ndarray, mean: np.ndarray, chance: float) -> tuple[float, float, float] | None:
    """The last measured strength before half of the margin above chance is lost, the strength at which it is, on a
    straight line, and the first measured one behind; None if it is not within the strengths measured."""
    level = chance + (mean[0] - chance) / 2
    below = np.flatnonzero(mean < level)
    if mean[0] <= chance or not below.size:
        return None
    k = int(below[0])
    part = (mean[k - 1] - level) / (mean[k - 1] - mean[k])
    before, behind = float(strengths[k - 1]), float(strengths[k])
    return before, float(before + part * (strengths[k] - strengths[k - 1])), behind


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def curve(results: Results, name: str, task: int | None = None) -> Curve:
    """Compute the curve of a perturbation on the images of a task, or on all (None)."""
    measure = problem_of(results).measure
    place = None if task is None else results["tasks"].index(task)

    def number(cell: Mapping[str, Any]) -> float:
        return cell[measure.key] if place is None else cell["per_task"][place]

    whole = results["perturbations"][name].get("whole", False)
    return Curve(*measured(results, name, number), measure.low, whole)


def measured(
    results: Results, name: str, number: Callable[[Mapping[str, Any]], float]
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The strengths of a perturbation from 0, and a number of every repeat at each; the unperturbed network first."""
    found = results["perturbations"][name]["strengths"]
    strengths = sorted(found, key=float)
    cells = [[results["baseline"]], *(found[s].values() for s in strengths)]
    repeats = tuple(np.array([number(cell) for cell in each]) for each in cells)
    return np.array([0.0, *map(float, strengths)]), repeats


def rows(results: Results) -> list[dict[str, Any]]:
    """A `row` for every perturbation, on all images and on those of each task."""
    tasks = [None, *results["tasks"]]
    return [row(results, name, task) for name in results["perturbations"] for task in tasks]


def row(results: Results, name: str, task: int | None = None) -> dict[str, Any]:
    """Of a perturbation, on the images of a task or on all (None): accuracy without and at the greatest strength, the
    half-strength with its interval and what that is, and the share of all answers that are classes of the task, without
    and there; None for all tasks, and where an earlier version of this program measured. Of values: R2, and no such
    shares."""
    problem = problem_of(results)
    key, line = problem.measure.key, curve(results, name, task)
    half, (low, high) = line.half_strength(problem.chance(results))
    there = _at_greatest(results, name)
    shares = {
        "answers": _answers([results["baseline"]], results, task),
        "answers_there": _answers(there, results, task),
    }
    return {
        "perturbation": name, "task": "all" if task is None else task, key: line.mean[0],
        "greatest_strength": line.strengths[-1], f"{key}_there": line.mean[-1],
        "half_strength": half, "half_low": low, "half_high": high,
        "half_ends": "measured strengths" if line.between_measured else "95 % over repeats",
        **(shares if problem.measure.shares else {}),
        "events": results["baseline"]["events_per_image"],
        "events_there": float(np.mean([cell["events_per_image"] for cell in there])),
    }  # fmt: skip


def _at_greatest(results: Results, name: str) -> list[Mapping[str, Any]]:
    """Select the repeats at the greatest strength measured, which may be 0."""
    found = results["perturbations"][name]["strengths"]
    return list(found[max(found, key=float)].values()) if found else [results["baseline"]]


def _answers(cells: Sequence[Mapping[str, Any]], results: Results, task: int | None) -> float | None:
    """Fraction of all predictions that are classes of a task."""
    if task is None or not all("answers" in cell for cell in cells):
        return None
    return float(np.mean([cell["answers"][results["tasks"].index(task)] for cell in cells]))


def csv_text(found: Sequence[Mapping[str, Any]]) -> str:
    """Format the rows as CSV; None is left empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return buffer.getvalue()


def markdown(found: Sequence[Mapping[str, Any]], measure: Measure) -> str:
    """Format the rows as a Markdown table."""
    key, title = measure.key, measure.title
    head = ["perturbation", "task", title, "half-strength", f"{title} at the greatest strength"]
    head += ["answers"] if measure.shares else []
    lines = [f"| {' | '.join(head)} |", f"{'|---' * len(head)}|"]
    for row in found:
        cells = [
            row["perturbation"], row["task"], f"{row[key]:.3f}", half_text(row),
            f"{row[f'{key}_there']:.3f} at {row['greatest_strength']:.3g}",
            *([_shares(row)] if measure.shares else []),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        "Half-strength: where half of the margin above chance is lost, on a straight line between measured strengths;"
        " in brackets its 95 % interval over repeats, or, where nothing was repeated or strengths are whole numbers,"
        " the measured strengths between which it lies.",
    ]
    if measure.shares:
        lines += [
            "",
            "Answers: share of all answers, right or wrong, that are classes of the task; without the perturbation"
            " → at the greatest strength.",
        ]
    return "\n".join(lines) + "\n"


def _shares(row: Mapping[str, Any]) -> str:
    if row["answers"] is None or row["answers_there"] is None:
        return ""
    return f"{row['answers']:.0%} → {row['answers_there']:.0%}"


def half_text(row: Mapping[str, Any]) -> str:
    """The half-strength of one of the `rows`, with its interval, for a table."""
    if not row["greatest_strength"]:
        return "not measured"
    if row["half_strength"] is None:
        return f"above {row['greatest_strength']:.3g}"
    low, high = (f"{row[end]:.3g}" if row[end] is not None else "..." for end in ("half_low", "half_high"))
    ends = f"between {low} and {high}" if row["half_ends"] == "measured strengths" else f"{low} to {high}"
    return f"{row['half_strength']:.3g} ({ends})"
