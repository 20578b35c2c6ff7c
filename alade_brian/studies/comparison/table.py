"""The table of a comparison as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from alade_brian.analysis.metrics.seeds import mean_std, pooled_difference
from alade_brian.analysis.report.naming import Naming
from alade_brian.studies.comparison.results import COSTS, NETWORKS, SUMMARIES, disagreeing, unproven

Results = Mapping[str, Any]

NAMES = {"torch": "PyTorch", "brian2": "Brian2"}
SHORT = {"average_incremental_accuracy": "average", "last_accuracy": "last", "forgetting": "forgetting"}
JUDGED = "average_incremental_accuracy_brian2"


def markdown(results: Results) -> str:
    """Format the table as Markdown, followed by an explanation of its numbers."""
    reference = results["reference"] if results["reference"] in results["rows"] else None
    head = ["", "seeds", *(f"{SHORT[summary]}, {NAMES[network]}" for summary in SUMMARIES for network in NETWORKS)]
    head += [f"{reference} above by"] if reference else []
    head += ["mismatched spikes", "of entries", "training, s", "events per image"]
    lines = [_line(results, name, reference) for name in results["rows"]]
    return "\n".join([*aligned(head, lines), "", *_explanation(results, reference), ""])


def csv_text(results: Results) -> str:
    """Format CSV with one line per row: mean and sample standard deviation (empty for one seed) of every number."""
    keys = [f"{summary}_{network}" for summary in SUMMARIES for network in NETWORKS] + ["train_seconds", *COSTS]
    columns = [f"{key}_{statistic}" for key in keys for statistic in ("mean", "std")]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "seeds", *columns, "mismatched_spikes", "spikes_compared"])
    for name in results["rows"]:
        numbers: list[Any] = []
        for key in keys:
            found = values(results, name, key)
            numbers += mean_std(found) if found else (None, None)
        whole = [sum(values(results, name, key)) for key in ("mismatched_spikes", "spikes_compared")]
        writer.writerow([name, len(results["rows"][name]["seeds"]), *numbers, *whole])
    return buffer.getvalue()


def values(results: Results, row: str, key: str) -> list[Any]:
    """Values of a metric for all seeds of a row; empty if a seed lacks it."""
    seeds = results["rows"][row]["seeds"].values()
    return [found[key] for found in seeds] if all(key in found for found in seeds) else []


def _line(results: Results, row: str, reference: str | None) -> list[str]:
    found = [values(results, row, f"{summary}_{network}") for summary in SUMMARIES for network in NETWORKS]
    cells = [row, str(len(results["rows"][row]["seeds"])), *(_spread(v, 100, 2) for v in found)]
    if reference is not None:
        cells.append("" if row == reference else _above(results, reference, row))
    mismatched, compared = (sum(values(results, row, key)) for key in ("mismatched_spikes", "spikes_compared"))
    seconds, events = (values(results, row, key) for key in ("train_seconds", "synaptic_events_per_image"))
    return [*cells, f"{mismatched:,}", f"{compared:,}", _spread(seconds, 1, 1), _spread(events, 1, 0)]


def _above(results: Results, reference: str, row: str) -> str:
    """Difference between the reference and a row: percentage points seed by seed, and pooled standard deviations."""
    ours, theirs = (
        {seed: found[JUDGED] for seed, found in results["rows"][name]["seeds"].items() if JUDGED in found}
        for name in (reference, row)
    )
    paired = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    deviations = pooled_difference(list(ours.values()), list(theirs.values()))
    return _spread(paired, 100, 2, "+") + (f" ({deviations:+.1f} sd)" if deviations is not None else "")


def _spread(found: Sequence[float], scale: float, digits: int, sign: str = "") -> str:
    if not found:
        return ""
    mean, deviation = mean_std([scale * value for value in found])
    return f"{mean:{sign},.{digits}f}" + (f" ± {deviation:,.{digits}f}" if deviation is not None else "")


def aligned(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Format an aligned Markdown table: names to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    texts = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in (head, rule, *lines)
    ]
    return [f"| {' | '.join(line)} |" for line in texts]


def _explanation(results: Results, reference: str | None) -> list[str]:
    seeds = ", ".join(map(str, results["seeds"]))
    kinds = dict.fromkeys(Naming.of(row).kind for row in results["rows"].values())
    text = [
        f"Mean ± sample standard deviation (n - 1) over seeds; the grid's are {seeds}. Accuracies and forgetting in"
        f" percent, of the same {' or '.join(kinds)} images in both networks. Training: wall-clock seconds of all"
        " tasks; of a task that was stopped, those since it went on. Events: synaptic events of one image in the"
        " network after the last task."
    ]
    if reference is not None:
        text.append(
            f"{reference} above by: difference of the average incremental accuracies in Brian2, in percentage points,"
            " of the same seed, which is the same class order (mean ± sample standard deviation); in brackets the"
            " difference of the means in units of the pooled standard deviation of the two rows."
        )
    wrong, doubtful = disagreeing(results), unproven(results)
    if wrong:
        text.append(f"The simulated network DIFFERS from the trained one in: {'; '.join(wrong)}.")
    if doubtful:
        text.append(f"NOT PROVEN: {'; '.join(doubtful)}.")
    if not wrong and not doubtful:
        text.append("Every simulated network is the trained one, spike by spike.")
    return text
