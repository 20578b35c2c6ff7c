"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alade_brian.analysis.metrics.verdict import agrees, differs, doubts
from alade_brian.analysis.problems import problem_of
from alade_brian.analysis.report.naming import Naming


def summary(metrics: Mapping[str, Any], folder: Path) -> str:
    """Format how well both networks did, task by task, then over all, as aligned text."""
    problem, kind = problem_of(metrics), Naming.of(metrics).kind
    rows = [_row(task, problem.summary_cells(task)) for task in metrics["tasks"]]
    head = [f"{kind} images" if title == "images" and kind != "test" else title for title in rows[0]]
    cells = [head, *(list(row.values()) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines += problem.summary_lines(metrics)
    lines += _energy(metrics.get("energy") or {})
    return "\n".join([*lines, f"{_verdict(metrics)}; report: {folder / 'report.html'}"])


def _row(task: Mapping[str, Any], scores: Mapping[str, str]) -> dict[str, str]:
    """A task's cells by their headings."""
    return {
        "task": str(task["task"]),
        **scores,
        "mismatched": f"{task['mismatched_spikes']:,}",
        "of entries": f"{task['spikes_compared']:,}",
        **{f"{part} s": f"{task['seconds'][part]:.1f}" for part in ("train", "build", "simulate")},
    }


def _verdict(metrics: Mapping[str, Any]) -> str:
    if agrees(metrics):
        return "the simulated network is the trained one, spike by spike"
    found = ["the simulated network DIFFERS from the trained one"] if differs(metrics) else ["NOT PROVEN"]
    return ": ".join([*found, *doubts(metrics)])


def _energy(energy: Mapping[str, Any]) -> list[str]:
    """Line with the energy per image after the last task, if it was calculated."""
    if energy.get("ratio") is None:
        return []
    joule, ratio = energy["joule_per_image"], energy["ratio"]
    return [f"energy of one image: {1e9 * joule:.4g} nJ, {ratio:.3f} of that of the same network with ReLU units"]
