"""The tables of a study of many networks: half-strengths, and which knowledge broke first."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from perturbing.ages import Broken, broken

Results = Mapping[str, Any]


# The row that learnt everything at once: for it a class is as old as every other.
CONTROL = "joint"
# Less than this share of the margin lost says nothing of what broke first.
TOOK = 0.1


def names_of(results: Results) -> list[str]:
    """All perturbations, in alphabetical order."""
    return sorted({n for seeds in results["rows"].values() for found in seeds.values() for n in found["perturbations"]})


def all_broken(results: Results) -> dict[tuple[str, str], list[Broken]]:
    """By perturbation and row, a `Broken` for every seed whose network can have the perturbation."""
    found: dict[tuple[str, str], list[Broken]] = {}
    for name in names_of(results):
        for row, seeds in results["rows"].items():
            able = [study for study in seeds.values() if name in study["perturbations"]]
            if able:
                found[name, row] = [broken(study, name) for study in able]
    return found


def interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean of the seeds that have a value, and the ends of its 95 % confidence interval (Student's t); no interval
    from fewer than two. Without a value: nan."""
    known = np.array([v for v in values if np.isfinite(v)])
    if len(known) < 2:
        return (float(known[0]) if len(known) else float("nan")), None, None
    half = stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return float(known.mean()), float(known.mean() - half), float(known.mean() + half)


def leaves_out_0(found: tuple[float, float | None, float | None]) -> bool:
    """Whether there is an interval, and 0 is not in it."""
    _, low, high = found
    return low is not None and high is not None and (low > 0 or high < 0)


def markdown(results: Results) -> str:
    """One line per perturbation and row."""
    lines = [
        "| perturbation | network | half-strength | events | forgetting | oldest task | newest task "
        "| newest - oldest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, row), found in all_broken(results).items():
        oldest, newest = ([b.by_task[k] for b in found] for k in (0, -1))
        cells = [name, row, half_text(found), _percent([b.events for b in found]), _forgetting(found)]
        cells += [_percent(oldest), _percent(newest), trend_text(found)]
        lines.append(f"| {' | '.join(cells)} |")
    pooled = pooled_trends(results)
    for row, trends in pooled.items():
        lines.append(_pooled_line(f"mean of those that took {TOOK:.0%} or more", row, list(trends.values())))
    for row in [row for row in pooled if CONTROL in pooled and row != CONTROL]:
        paired = [trend - pooled[CONTROL][seed] for seed, trend in pooled[row].items() if seed in pooled[CONTROL]]
        lines.append(_pooled_line(f"the same, minus {CONTROL}'s of the same class order", row, paired))
    return "\n".join([*lines, "", *_explanation(results), ""])


def half_text(found: Sequence[Broken]) -> str:
    """Mean half-strength and its range over seeds; how many seeds reached it, where not all did."""
    halves = [b.half for b in found if b.half is not None]
    if not halves:
        return f"above {found[0].strength:.3g}"
    text = f"{np.mean(halves):.3g} ({min(halves):.3g} to {max(halves):.3g})"
    return text if len(halves) == len(found) else f"{text}, {len(halves)} of {len(found)} seeds"


def trend_text(found: Sequence[Broken]) -> str:
    """Mean trend with its interval, in percentage points of the margin; in bold where the interval leaves 0 out."""
    return _trend(interval([b.trend for b in found]))


def _pooled_line(what: str, row: str, trends: Sequence[float]) -> str:
    return f"| {what} | {row} | | | | | | {_trend(interval(trends))} |"


def pooled_trends(results: Results) -> dict[str, dict[str, float]]:
    """By row and seed the mean trend over all perturbations that took their share of the margin: one number per
    network, since the perturbations of one network are no independent samples."""
    pooled: dict[str, dict[str, float]] = {}
    for row, seeds in results["rows"].items():
        for seed, study in seeds.items():
            every = [broken(study, name) for name in study["perturbations"]]
            trends = [b.trend for b in every if b.kept <= 1 - TOOK and np.isfinite(b.trend)]
            pooled.setdefault(row, {})[seed] = float(np.mean(trends)) if trends else float("nan")
    return pooled


def _trend(trend: tuple[float, float | None, float | None]) -> str:
    mean, low, high = trend
    if not np.isfinite(mean):
        return ""
    if low is None or high is None:
        return f"{100 * mean:+.0f}"
    text = f"{100 * mean:+.0f} ({100 * low:+.0f} to {100 * high:+.0f})"
    return f"**{text}**" if leaves_out_0(trend) else text


def _percent(values: Sequence[float]) -> str:
    known = [100 * v for v in values if np.isfinite(v)]
    if not known:
        return ""
    return f"{np.mean(known):.0f} ± {np.std(known, ddof=1):.0f}" if len(known) > 1 else f"{known[0]:.0f}"


def _forgetting(found: Sequence[Broken]) -> str:
    pairs = [b.forgetting for b in found if b.forgetting is not None]
    return f"{100 * np.mean([a for a, _ in pairs]):.0f} → {100 * np.mean([b for _, b in pairs]):.0f}" if pairs else ""


def _explanation(results: Results) -> list[str]:
    count = max(len(seeds) for seeds in results["rows"].values())
    return [
        f"{count} seeds, each with a class order of its own. Margin: accuracy above chance, in percent of the"
        " unperturbed network's on the same images. Half-strength: where half of the margin on all images is gone"
        " (mean, and range over seeds). The other columns are taken at that strength; where it is not reached, at the"
        " greatest one measured. Events: synaptic events per image, in percent of the unperturbed network's (mean ±"
        " s.d. over seeds). Forgetting: percentage points, without the perturbation → with it. Oldest, newest task:"
        " margin left of it (mean ± s.d.). Newest - oldest: difference between both ends of the straight line through"
        " the margins of all tasks, with its 95 % confidence interval (Student's t over seeds), in bold where that"
        " leaves 0 out: above 0 the old breaks first.",
    ]


def csv_text(results: Results) -> str:
    """One line per perturbation, row and seed; what is not known stays empty."""
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
                    writer.writerow([name, row, seed, *_numbers(broken(study, name))])
    return buffer.getvalue()


def _numbers(found: Broken) -> list[Any]:
    numbers = [found.half, found.strength, found.kept, found.events, *(found.forgetting or (None, None))]
    return [
        None if value is None or not np.isfinite(value) else round(float(value), 4)
        for value in (*numbers, *found.by_task, found.trend)
    ]
