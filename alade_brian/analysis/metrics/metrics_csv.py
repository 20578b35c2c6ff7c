"""`metrics.csv`: the run as a table for other programs, a row for each task."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

Metrics = Mapping[str, Any]

_COLUMNS = (
    "task", "classes_seen", "images", "accuracy_torch", "accuracy_brian2", "prediction_agreement", "spikes_compared",
    "mismatched_spikes", "synaptic_events",
)  # fmt: skip
_ENERGY = ("joule_per_image", "joule_per_image_relu")
_SECONDS = ("train", "build", "simulate", "compare")


def metrics_csv(metrics: Metrics) -> str:
    """The tasks of `metrics.json` as CSV with a line of column names; cells of what a task does not have are empty.

    After each task: accuracies on all classes seen, of both networks; agreement, entries compared and mismatched
    spikes; synaptic events over all images; energy of one image in joule (the spiking network's and the ReLU
    network's); seconds spent; and the rows of both accuracy matrices, ``accuracy_<network>_task_<j>``.
    """
    tasks = metrics["tasks"]
    columns = [*_COLUMNS, *_ENERGY, *(f"seconds_{part}" for part in _SECONDS)]
    columns += [f"accuracy_{network}_task_{task['task']}" for network in ("torch", "brian2") for task in tasks]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    numbers = [task["task"] for task in tasks]
    writer.writerows(_row(task, numbers) for task in tasks)
    return buffer.getvalue()


def _row(task: Metrics, numbers: list[int]) -> dict[str, Any]:
    energy, seconds = task.get("energy") or {}, task.get("seconds") or {}
    row = {**task, **{name: energy.get(name) for name in _ENERGY}}
    row |= {f"seconds_{part}": seconds.get(part) for part in _SECONDS}
    for network in ("torch", "brian2"):
        accuracies = task.get(f"accuracy_per_task_{network}") or []
        row |= {f"accuracy_{network}_task_{j}": value for j, value in zip(numbers, accuracies, strict=False)}
    return row
