"""metrics.csv holds what metrics.json holds, a row for each task."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from test_analysis_synthetic import make_run

from alade_brian.analysis.metrics.metrics_csv import metrics_csv


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_for_each_task(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=3, wrong=True)
    found = rows(metrics_csv(metrics))
    assert [row["task"] for row in found] == ["1", "2", "3"]
    for row, task in zip(found, metrics["tasks"], strict=True):
        for key in ("accuracy_torch", "accuracy_brian2", "prediction_agreement"):
            assert float(row[key]) == task[key]
        for key in ("classes_seen", "images", "spikes_compared", "mismatched_spikes", "synaptic_events"):
            assert int(row[key]) == task[key]
        for key in ("joule_per_image", "joule_per_image_relu"):
            assert float(row[key]) == task["energy"][key]
        for part in ("train", "build", "simulate", "compare"):
            assert float(row[f"seconds_{part}"]) == task["seconds"][part]
        for network in ("torch", "brian2"):
            cells = [row[f"accuracy_{network}_task_{j}"] for j in (1, 2, 3)]
            matrix_row = task[f"accuracy_per_task_{network}"]
            assert [float(cell) for cell in cells if cell] == matrix_row
            assert cells[len(matrix_row) :] == [""] * (3 - len(matrix_row))
    assert [row["mismatched_spikes"] for row in found] == ["0", "0", "3"]


def test_what_a_task_lacks_is_an_empty_cell(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=1)
    del metrics["tasks"][0]["energy"], metrics["tasks"][0]["seconds"]["compare"]
    del metrics["tasks"][0]["accuracy_per_task_torch"]
    (row,) = rows(metrics_csv(metrics))
    assert row["joule_per_image"] == row["seconds_compare"] == row["accuracy_torch_task_1"] == ""
    assert float(row["seconds_build"]) == 9.25 and float(row["accuracy_brian2_task_1"]) == 0.99
