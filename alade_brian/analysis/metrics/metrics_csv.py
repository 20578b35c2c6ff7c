"""`metrics.csv`: the run as a table for other programs, a row for each task."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from alade_brian.analysis.problems import problem_of

Metrics = Mapping[str, Any]

_ENERGY = ("joule_per_image", "joule_per_image_relu")
_SECONDS = ("train", "build", "simulate", "compare")


def metrics_csv(metrics: Metrics) -> str:
    """The tasks of `metrics.json` as CSV with a line of column names; cells of what a task does not have are empty.

    After each task: accuracies on all classes seen (of values: mean squared error and R2), of both networks; agreement,
    entries compared and mismatched spikes; synaptic events over all images; energy of one image in joule (the spiking
    network's and the ReLU network's); seconds spent; and the rows of both accuracy matrices,
    ``accuracy_<network>_task_<j>``.
    """
    tasks, problem = metrics["tasks"], problem_of(metrics)
    further = problem.csv_further(tasks)
    columns = [*problem.csv_columns, *_ENERGY, *(f"seconds_{part}" for part in _SECONDS), *further]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for place, task in enumerate(tasks):
        writer.writerow(_row(task) | {column: cells[place] for column, cells in further.items()})
    return buffer.getvalue()


def _row(task: Metrics) -> dict[str, Any]:
    energy, seconds = task.get("energy") or {}, task.get("seconds") or {}
    row = {**task, **{name: energy.get(name) for name in _ENERGY}}
    return row | {f"seconds_{part}": seconds.get(part) for part in _SECONDS}
