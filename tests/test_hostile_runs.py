"""Run folders whose files were damaged, edited or replaced: states to resume, metrics, records, results of studies."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import call
from hostile import contents, finished_run, ids, limited, refused

HUGE = 10**30


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def put(content: Any, key: str, value: Any) -> None:
    """Another value at a dotted key, or none with `...`; numbers are places in a list."""
    *outer, last = (int(part) if part.isdigit() else part for part in key.split("."))
    for part in outer:
        content = content[part]
    if value is ...:
        del content[last]
    else:
        content[last] = value


STATES: list[tuple[str, Any]] = [
    (key, value)
    for key in ("task", "checkpoint_sha256", "tasks", "memory", "method", "memory.size", "memory.lists")
    for value in (..., None, [1.5], {"a": "b"})
]
STATES += [
    ("task", 3), ("task", 1), ("task", -1), ("task", 10**9), ("checkpoint_sha256", 64 * "0"), ("tasks", []),
    ("memory.size", -1), ("memory.per_class", -1), ("memory.per_class", "x"), ("memory.lists", {0: [10**9]}),
    ("memory.lists", {0: [-(10**9)]}), ("memory.lists", {"x": [1]}), ("memory.lists", {0: ["x"]}),
    ("tasks.0", {}), ("tasks.0.task", "x"), ("tasks.0.layers", None), ("tasks.1.seconds", 3), ("method", 3),
    ("format", 2), ("format", "x"), ("format", ...),
]  # fmt: skip


@pytest.mark.parametrize("case", STATES, ids=ids)
def test_a_state_is_refused(case: tuple[str, Any], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "resume.pt"
    state = torch.load(path, weights_only=True)
    put(state, *case)
    torch.save(state, path)
    before = contents(run)
    sentence = refused(capsys, "--out", "run", "--resume", "--out", run)
    assert "resume.pt" in sentence or "checkpoint" in sentence
    assert contents(run) == before


REPLACED: list[tuple[str, Callable[[Path], object]]] = [
    ("empty", lambda path: path.write_bytes(b"")),
    ("text", lambda path: path.write_text("{")),
    ("deep", lambda path: path.write_text(100_000 * "[")),
    ("a list", lambda path: path.write_text("[]")),
    ("binary", lambda path: path.write_bytes(bytes(range(256)))),
    ("folder", lambda path: path.mkdir()),
    ("pipe", lambda path: os.mkfifo(path)),
    ("device", lambda path: path.symlink_to("/dev/zero")),
]


@pytest.mark.parametrize("case", REPLACED, ids=ids)
@pytest.mark.parametrize("name", ["resume.pt", "resume-epoch.pt", "config.yaml", "environment.json"])
def test_a_file_of_a_run_that_is_something_else_is_refused(
    name: str, case: tuple[str, Callable[[Path], object]], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A run whose second task is not complete reads them all.
    path = run / "resume.pt"
    state = torch.load(path, weights_only=True)
    state |= {
        "task": 1,
        "tasks": state["tasks"][:1],
        "checkpoint_sha256": _digest(run / "checkpoints/task-01.safetensors"),
    }
    torch.save(state, path)
    (run / name).unlink(missing_ok=True)
    case[1](run / name)
    before = contents(run)
    refused(capsys, name if name != "config.yaml" else str(run), "run", "--resume", "--out", run)
    after = contents(run)
    after.pop("run.log"), before.pop("run.log")
    assert after == before


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


METRICS: list[tuple[str, Any, str]] = [("tasks", value, "no finished task") for value in (..., None, [], {}, "x", 3)]
METRICS += [
    (f"tasks.0.{key}", value, "damaged")
    for key in ("task", "images", "layers", "seconds", "spikes_compared", "mismatched_spikes")
    for value in (..., None, "x", [3], HUGE)
]
METRICS += [
    (f"tasks.1.{key}", value, "damaged")
    for key in ("accuracy_torch", "accuracy_per_task_torch", "classes", "classes_seen", "confusion_torch")
    for value in (None, "x", {"a": 1})
]
METRICS += [
    ("tasks.0", [], "damaged"), ("tasks.0.layers.0", "x", "damaged"), ("tasks.0.layers.0.name", 3, "damaged"),
    ("tasks.0.layers.0.name", "a\nb", "damaged"), ("tasks.0.layers.0.neurons", "x", "damaged"),
    ("tasks.0.classes", ..., "lacks classes"), ("tasks.1.accuracy_torch", ..., "lacks accuracy_torch"),
    ("class_names", [3], "damaged"), ("class_names", ["\ud800"], "damaged"), ("class_names", ["a\x1b[2J"], "damaged"),
    ("class_names", "abc", "damaged"), ("class_order", ["x"], "damaged"), ("config", 3, "damaged"),
    ("problem", "nope", "problem"), ("problem", [1], "damaged"), ("energy", 3, "damaged"),
    ("tasks.0.training", [], "damaged"), ("tasks.0.readout_layers", 3, "damaged"),
]  # fmt: skip


@pytest.mark.parametrize("case", METRICS, ids=ids)
def test_metrics_are_refused(case: tuple[str, Any, str], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "metrics.json"
    metrics = json.loads(path.read_text())
    put(metrics, case[0], case[1])
    path.write_text(json.dumps(metrics))
    before = contents(run)
    refused(capsys, case[2], "report", run)
    refused(capsys, case[2], "figures", run, "--out", run.parent / "figures")
    refused(capsys, case[2], "export", run, "--to", run.parent / "spikes.csv")
    assert contents(run) == before and not (run.parent / "figures").exists()


@pytest.mark.parametrize("case", [*REPLACED, ("none", lambda path: None)], ids=ids)
def test_metrics_that_are_something_else_are_refused(
    case: tuple[str, Callable[[Path], object]], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "metrics.json").unlink()
    case[1](run / "metrics.json")
    refused(capsys, "metrics.json", "report", run)
    refused(capsys, "metrics.json", "figures", run, "--out", run.parent / "figures")


RECORDS: list[tuple[str, Any]] = [
    ("labels", np.zeros(3)), ("tasks", np.zeros((8, 2))), ("dt", np.float64(-1)), ("dt", np.float64(np.nan)),
    ("dt", np.array("x")), ("layer_names", np.array(3)), ("layer_names", np.array(["a", "b", "c", "d"])),
    ("shape_0", np.array([10**9, 10**9, 1])), ("shape_0", np.array([8, 2])), ("shape_0", np.array([-1, 2, 3])),
    ("spikes_0", np.zeros((8, 1), np.uint8)), ("spikes_0", np.zeros((8, 8))), ("mismatches_0", np.zeros((1, 2), int)),
    ("mismatches_0", np.full((1, 3), 10**9)), ("logits_torch", np.array("x")), ("predictions_torch", np.zeros(1)),
]  # fmt: skip


@pytest.mark.parametrize("case", RECORDS, ids=ids)
def test_a_record_of_spikes_is_refused(case: tuple[str, Any], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "spikes" / "task-02.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, case[0]: case[1]})
    refused(capsys, str(path), "export", run, "--to", run.parent / "spikes.csv")
    refused(capsys, str(path), "figures", run, "--out", run.parent / "figures")


def test_a_report_goes_without_a_record_that_is_damaged(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (run / "spikes").iterdir():
        path.write_bytes(path.read_bytes()[:-50])
    with limited():
        assert call("report", run) == 0
    assert "damaged" in (run / "report.html").read_text()


RESULTS: list[tuple[str, Any]] = [
    ("", []), ("", "x"), ("format", 1), ("format", ...), ("digest", "x"), ("perturbations", None), ("perturbations", [1]),
    ("perturbations", {"delay": 3}), ("perturbations", {"delay": {"strengths": [1]}}), ("baseline", 3), ("baseline", ...),
]  # fmt: skip


@pytest.fixture(scope="module")
def studied(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("studies") / "study"
    assert perturb(whole, out) == 0
    return out


def perturb(run: Path, out: Path) -> int:
    return call("perturb", *_study(run, out))


def _study(run: Path, out: Path) -> tuple[object, ...]:
    checkpoint = run / "checkpoints" / "task-02.safetensors"
    return (checkpoint, "--perturb", "lesion", "--strengths", 0.5, "--repeats", 1, "--images", 8, "--backend", "numpy",
            "--out", out)  # fmt: skip


@pytest.mark.parametrize("case", RESULTS, ids=ids)
def test_results_of_a_study_are_refused(
    case: tuple[str, Any], whole: Path, studied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(studied, tmp_path / "study"))
    results = json.loads((out / "results.json").read_text())
    if case[0]:
        put(results, *case)
    else:
        results = case[1]
    (out / "results.json").write_text(json.dumps(results))
    before = contents(out)
    refused(capsys, str(out), "perturb", *_study(whole, out))
    assert contents(out) == before
