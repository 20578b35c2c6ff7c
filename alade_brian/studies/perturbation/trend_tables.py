"""Tables of a study of many networks: half-strengths, and which tasks broke first."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from alade_brian.analysis.metrics.seeds import Interval, interval, leaves_out_0
from alade_brian.studies.perturbation.ages import Broken, broken

Results = Mapping[str, Any]
# By row and seed.
Trends = Mapping[str, Mapping[str, float]]

# The row that learnt everything at once: for it a class is as old as every other.
CONTROL = "joint"
# Less than this share of the margin lost says nothing of what broke first.
TOOK = 0.1


def names_of(results: Results) -> list[str]:
    """All perturbations, in alphabetical order."""
    return sorted({n for seeds in results["rows"].values() for found in seeds.values() for n in found["perturbations"]})


def all_broken(results: Results) -> dict[str, dict[str, dict[str, Broken]]]:
    """Effects by perturbation, row and seed, for every perturbation that applies to a network."""
    return {
        name: {
            row: {seed: broken(study, name) for seed, study in seeds.items() if name in study["perturbations"]}
            for row, seeds in results["rows"].items()
        }
        for name in names_of(results)
    }


def trends_of(rows: Mapping[str, Mapping[str, Broken]]) -> Trends:
    """The trend of every network, by row and seed."""
    return {row: {seed: found.trend for seed, found in seeds.items()} for row, seeds in rows.items()}


def compared(results: Results) -> list[str]:
    """The rows that are compared with the control; none if there is no control."""
    return [row for row in results["rows"] if row != CONTROL] if CONTROL in results["rows"] else []


def above_control(trends: Trends, row: str) -> list[float]:
    """A row's trends minus the control's of the same seed, which has the same class order: this removes the
    effect of the class order itself."""
    return [trend - trends[CONTROL][seed] for seed, trend in trends[row].items() if seed in trends[CONTROL]]


def markdown(results: Results) -> str:
    """Format the table as Markdown, one line per perturbation and row."""
    reference = reference_of(results)
    head = ["perturbation", "network", "half-strength", *([f"of {reference}'s"] if reference else [])]
    head += ["events", "forgetting", "oldest task", "newest task"]
    empty = [""] * (len(head) - 2)
    head += ["newest - oldest", *([f"the same, minus {CONTROL}'s"] if compared(results) else [])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    every = all_broken(results)
    for name, rows in every.items():
        trends = trends_of(rows)
        for row, seeds in rows.items():
            if seeds:
                ratio = [_ratio(half_ratios(rows, row, reference))] if reference else []
                half, *others = _cells(list(seeds.values()))
                cells = [name, row, half, *ratio, *others, *_trend_cells(results, trends, row)]
                lines.append(f"| {' | '.join(cells)} |")
    pooled = pooled_trends(results, every)
    for row in pooled:
        cells = [f"mean of those that took {TOOK:.0%} or more", row, *empty, *_trend_cells(results, pooled, row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _explanation(results), ""])


def reference_of(results: Results) -> str | None:
    """The grid's reference row for half-strengths; None if it has none or the row was not studied."""
    reference = results.get("reference")
    return reference if reference in results["rows"] else None


def half_ratios(rows: Mapping[str, Mapping[str, Broken]], row: str, reference: str) -> list[float]:
    """Logarithms of a row's half-strengths in units of the reference's of the same seed, if both have one."""
    if row == reference:
        return []
    pairs = [(found.half, rows[reference][seed].half) for seed, found in rows[row].items() if seed in rows[reference]]
    return [float(np.log(own / other)) for own, other in pairs if own is not None and other is not None]


def _ratio(logarithms: Sequence[float]) -> str:
    """Format the mean of log-ratios as a ratio with its interval, in bold if it excludes 1."""
    return _with_interval(interval(logarithms), lambda logarithm: f"{np.exp(logarithm):.2f}")


def _cells(found: Sequence[Broken]) -> list[str]:
    oldest, newest = ([b.by_task[k] for b in found] for k in (0, -1))
    events = _percent([b.events for b in found])
    return [half_text(found), events, _forgetting(found), _percent(oldest), _percent(newest)]


def _trend_cells(results: Results, trends: Trends, row: str) -> list[str]:
    """A row's trend with its interval and, if there is a control, the difference from the control's."""
    own = trend_text(list(trends[row].values()))
    if not compared(results):
        return [own]
    return [own, "" if row == CONTROL else trend_text(above_control(trends, row))]


def half_text(found: Sequence[Broken]) -> str:
    """Format the mean half-strength and its range over seeds, and how many seeds reached it if not all did."""
    halves = [b.half for b in found if b.half is not None]
    if not halves:
        return f"above {found[0].strength:.3g}"
    text = f"{np.mean(halves):.3g} ({min(halves):.3g} to {max(halves):.3g})"
    return text if len(halves) == len(found) else f"{text}, {len(halves)} of {len(found)} seeds"


def pooled_trends(results: Results, every: Mapping[str, Mapping[str, Mapping[str, Broken]]]) -> Trends:
    """By row and seed the mean trend over all perturbations that removed enough of the margin: one number per
    network, since the perturbations of one network are not independent samples."""
    return {
        row: {
            seed: _pooled([every[name][row][seed] for name in study["perturbations"]]) for seed, study in seeds.items()
        }
        for row, seeds in results["rows"].items()
    }


def _pooled(network: Sequence[Broken]) -> float:
    trends = [found.trend for found in network if found.kept <= 1 - TOOK and np.isfinite(found.trend)]
    return float(np.mean(trends)) if trends else float("nan")


def points(share: float) -> str:
    """Format whole percentage points with their sign, without a negative zero."""
    return f"{round(100 * share):+d}"


def trend_text(trends: Sequence[float]) -> str:
    """Format the mean of trends in percentage points with its interval, in bold if it excludes 0."""
    return _with_interval(interval(trends), points)


def _with_interval(found: Interval, shown: Callable[[float], str]) -> str:
    mean, low, high = found
    if not np.isfinite(mean):
        return ""
    if low is None or high is None:
        return shown(mean)
    text = f"{shown(mean)} ({shown(low)} to {shown(high)})"
    return f"**{text}**" if leaves_out_0(found) else text


def _percent(values: Sequence[float]) -> str:
    known = [100 * v for v in values if np.isfinite(v)]
    if not known:
        return ""
    return f"{np.mean(known):.0f} ± {np.std(known, ddof=1):.0f}" if len(known) > 1 else f"{known[0]:.0f}"


def _forgetting(found: Sequence[Broken]) -> str:
    pairs = [b.forgetting for b in found if b.forgetting is not None]
    return f"{100 * np.mean([a for a, _ in pairs]):.0f} → {100 * np.mean([b for _, b in pairs]):.0f}" if pairs else ""


def _explanation(results: Results) -> str:
    count = max(len(seeds) for seeds in results["rows"].values())
    reference = reference_of(results)
    sentences = [
        f"{count} seeds, each with a class order of its own.",
        "Margin: accuracy above chance, in percent of the unperturbed network's on the same images.",
        "Half-strength: where half of the margin on all images is gone (mean, and range over seeds).",
        f"Of {reference}'s: in units of {reference}'s with the same seed, where both reach it (geometric mean and 95 %"
        " confidence interval, in bold where that leaves 1 out)."
        if reference
        else "",
        "The other columns are taken at that strength; where it is not reached, at the greatest one measured.",
        "Events: synaptic events per image, in percent of the unperturbed network's (mean ± s.d. over seeds).",
        "Forgetting: percentage points, without the perturbation → with it.",
        "Oldest, newest task: margin left of it (mean ± s.d.).",
        "Newest - oldest: difference between both ends of the straight line through the margins of all tasks, with its"
        " 95 % confidence interval (Student's t over seeds), in bold where that excludes 0: above 0 the old breaks"
        " first.",
        f"Minus {CONTROL}'s: the difference to the trend of {CONTROL}, which learnt everything at once, with the same"
        " seed; what these classes in this order show at any age falls out."
        if compared(results)
        else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def csv_text(results: Results) -> str:
    """Format the table as CSV, one line per perturbation, row and seed; unknown values are left empty."""
    tasks = max(len(s["tasks"]) for seeds in results["rows"].values() for s in seeds.values())
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = [
        "perturbation",
        "network",
        "seed",
        "half_strength",
        "strength",
        "margin_left",
        "events",
        "forgetting_without",
    ]
    writer.writerow([*head, "forgetting_with", *(f"margin_left_task_{k + 1}" for k in range(tasks)), "trend"])
    for name in names_of(results):
        for row, seeds in results["rows"].items():
            for seed, study in seeds.items():
                if name in study["perturbations"]:
                    writer.writerow([name, row, seed, *_numbers(broken(study, name), tasks)])
    return buffer.getvalue()


def padded(by_task: np.ndarray, count: int) -> np.ndarray:
    """A number of each task, and nan for those that a network with fewer tasks did not learn."""
    return np.pad(by_task, (0, count - len(by_task)), constant_values=np.nan)


def _numbers(found: Broken, count: int) -> list[Any]:
    numbers = [found.half, found.strength, found.kept, found.events, *(found.forgetting or (None, None))]
    return [
        None if value is None or not np.isfinite(value) else round(float(value), 4)
        for value in (*numbers, *padded(found.by_task, count), found.trend)
    ]
