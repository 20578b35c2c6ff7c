"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alade_brian.analysis.metrics.verdict import agrees, differs, doubts
from alade_brian.analysis.report.naming import Naming


def summary(metrics: Mapping[str, Any], folder: Path) -> str:
    """Format the accuracies of both networks task by task, then the averages, as aligned text."""
    kind = Naming.of(metrics).kind
    head = (
        "task",
        "classes",
        "images" if kind == "test" else f"{kind} images",
        "torch",
        "Brian2",
        "mismatched",
        "of entries",
        "train s",
        "build s",
        "simulate s",
    )
    rows = [head]
    for task in metrics["tasks"]:
        seconds = task["seconds"]
        rows.append(
            (
                str(task["task"]), str(task["classes_seen"]), f"{task['images']:,}", f"{task['accuracy_torch']:.4f}",
                f"{task['accuracy_brian2']:.4f}", f"{task['mismatched_spikes']:,}", f"{task['spikes_compared']:,}",
                f"{seconds['train']:.1f}", f"{seconds['build']:.1f}", f"{seconds['simulate']:.1f}",
            )
        )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for label, key in (
        ("average incremental accuracy", "average_incremental_accuracy"),
        ("last accuracy", "last_accuracy"),
        ("forgetting", "forgetting"),
        ("backward transfer", "backward_transfer"),
    ):
        lines.append(f"{label}: {metrics[f'{key}_torch']:.4f} in PyTorch, {metrics[f'{key}_brian2']:.4f} in Brian2")
    lines += _energy(metrics.get("energy") or {})
    return "\n".join([*lines, f"{_verdict(metrics)}; report: {folder / 'report.html'}"])


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
