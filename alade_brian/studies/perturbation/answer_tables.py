"""Tables of a study: which tasks broke first with and without the network's preference for some answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from alade_brian.analysis.metrics.seeds import interval
from alade_brian.studies.perturbation.answer_bias import AnswerBias, answer_bias, is_known
from alade_brian.studies.perturbation.trend_tables import (
    CONTROL,
    TOOK,
    Trends,
    above_control,
    compared,
    names_of,
    padded,
    trend_text,
)

Results = Mapping[str, Any]
# By perturbation, row and seed.
Biases = Mapping[str, Mapping[str, Mapping[str, AnswerBias]]]

MEASURES = {
    "plain": "accuracy",
    "corrected": "corrected",
    "centred": "centred logits",
    "own": "centred logits, at their own half",
}


def all_biases(results: Results) -> Biases:
    """All networks and perturbations of which the answers are known; perturbations without any are left out."""
    found = {
        name: {
            row: {
                seed: answer_bias(study, name)
                for seed, study in seeds.items()
                if name in study["perturbations"] and is_known(study, name)
            }
            for row, seeds in results["rows"].items()
        }
        for name in names_of(results)
    }
    return {name: rows for name, rows in found.items() if any(rows.values())}


def pooled(every: Biases, results: Results, measure: str) -> Trends:
    """By row and seed the mean trend over all perturbations that removed enough of the margin."""
    return {
        row: {
            seed: interval([
                rows[row][seed].trends[measure] for rows in every.values()
                if seed in rows[row] and rows[row][seed].kept[measure] <= 1 - TOOK
            ])[0]
            for seed in seeds
        }
        for row, seeds in results["rows"].items()
    }  # fmt: skip


def markdown(results: Results, every: Biases) -> str:
    """Format the table as Markdown: a line per perturbation and row, then the means over perturbations."""
    head = ["perturbation", "network", "seeds", "answers: oldest task", "newest", "newest, greatest strength"]
    head += ["margin left", "with centred logits"]
    for title in MEASURES.values():
        head += [title, *([f"minus {CONTROL}'s"] if compared(results) else [])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, rows in every.items():
        trends = {measure: _trends(rows, measure) for measure in MEASURES}
        for row, seeds in rows.items():
            if seeds:
                shares = [[b.answers[0] for b in seeds.values()], [b.answers[-1] for b in seeds.values()]]
                shares.append([b.answers_at_greatest[-1] for b in seeds.values()])
                shares += [[b.plain.kept for b in seeds.values()], [b.centred_left for b in seeds.values()]]
                texts = [f"{np.mean(share):.0%}" for share in shares]
                lines.append(_line([name, row, str(len(seeds)), *texts], results, trends, row))
    means = {measure: pooled(every, results, measure) for measure in MEASURES}
    for row, values in means["plain"].items():
        known = sum(np.isfinite(list(values.values())))
        if known:
            first = [f"mean of those that took {TOOK:.0%} or more", row, str(known), *[""] * 5]
            lines.append(_line(first, results, means, row))
    return "\n".join([*lines, "", _EXPLANATION, ""])


def _line(first: list[str], results: Results, trends: Mapping[str, Trends], row: str) -> str:
    cells = list(first)
    for found in trends.values():
        cells.append(trend_text(list(found[row].values())))
        if compared(results):
            cells.append("" if row == CONTROL else trend_text(above_control(found, row)))
    return f"| {' | '.join(cells)} |"


def _trends(rows: Mapping[str, Mapping[str, AnswerBias]], measure: str) -> Trends:
    return {row: {seed: found.trends[measure] for seed, found in seeds.items()} for row, seeds in rows.items()}


_EXPLANATION = (
    "Taken where half of the margin on all images is gone, or at the greatest strength measured if it is never reached."
    " Answers: share of all answers, right or wrong, that are classes of the task. Then newest minus oldest task, in"
    " percentage points of what the unperturbed network had, on the line through all tasks, with its 95 % confidence"
    " interval over seeds (in bold where that excludes 0; above 0 the old breaks first), by three measures. Accuracy:"
    " margin above chance. Corrected: share of a class's images that are answered with it minus share of all other"
    " images that are (informedness, 2 x balanced accuracy - 1), 0 for answers that do not depend on the image."
    " Centred logits: margin of the answers after each class's mean logit over all images has been subtracted; last"
    " where half of that margin is gone, or at the greatest strength measured."
)


def csv_text(every: Biases) -> str:
    """Format every network as CSV, one line per perturbation, row and seed; unknown values are left empty."""
    # Networks of a grid may have learnt in different numbers of tasks: those with fewer leave cells empty.
    count = max(len(b.answers) for rows in every.values() for seeds in rows.values() for b in seeds.values())
    tasks = range(1, count + 1)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = ("answers", "answers_at_greatest", "margin_left", "informedness_left", "centred_margin_left",
               "own_margin_left", "balanced_accuracy")  # fmt: skip
    head = ["perturbation", "network", "seed", "strength", "margin_left", "centred_margin_left_all", "own_strength"]
    head += ["own_margin_left_all", *(f"trend_{m}" for m in MEASURES)]
    writer.writerow([*head, *(f"{column}_task_{task}" for column in columns for task in tasks)])
    for name, rows in every.items():
        for row, seeds in rows.items():
            for seed, b in seeds.items():
                by_task = (b.answers, b.answers_at_greatest, b.plain.by_task, b.corrected, b.centred, b.own_by_task)
                whole = (b.plain.strength, b.plain.kept, b.centred_left, b.own_strength, b.own_left)
                groups = [padded(group, count) for group in (*by_task, b.balanced)]
                numbers = [*whole, *b.trends.values(), *np.concatenate(groups)]
                shown = [round(float(value), 4) if np.isfinite(value) else None for value in numbers]
                writer.writerow([name, row, seed, *shown])
    return buffer.getvalue()
