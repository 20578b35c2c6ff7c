"""The comparison command: its cells computed, stopped, damaged, killed, and gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import call
from tiny_grid import GRID, PROGRAMS, cells, compare, write_grid
from tiny_grid import grid as grids

from alade_brian.outputs import writing_to
from alade_brian.runs import incremental_run as job
from alade_brian.runs import verified_run

CELLS = ("grown-der/1", "finetune/1", "grown-der/2", "finetune/2")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("grids"))


@pytest.fixture(scope="module")
def finished(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that was never interrupted; the runs' own reports are left out, they are tested elsewhere."""
    out = tmp_path_factory.mktemp("comparisons") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "write_report", lambda path: None)
        assert compare(grid, "--out", out) == 0
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copied"))


def results(out: Path) -> dict[str, Any]:
    """What was found, without what a clock says."""
    content = json.loads((out / "results.json").read_text())
    for row in content["rows"].values():
        for found in row["seeds"].values():
            del found["train_seconds"]
    return content


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def change_metrics(cell: Path, change: Any) -> None:
    content = json.loads((cell / "metrics.json").read_text())
    change(content)
    (cell / "metrics.json").write_text(json.dumps(content))


def stop_after_the_first_task(grid: Path, out: Path, name: str) -> None:
    """A cell computed anew, as a kill leaves it that comes before anything of the second task is kept."""
    torch.set_num_threads(1)  # as the grid says
    shutil.rmtree(out / name)
    config = next(c.config for c in grids.read_grid(grid).cells(out) if c.folder == out / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verified_run, "convert", once(verified_run.convert))
        stopped = job.IncrementalJob(config, out / name, progress=False)
        stopped.start()
        with pytest.raises(KeyboardInterrupt):
            stopped.run()


def once(function: Any) -> Any:
    """The function, which stops the program when it is called for the second time."""
    calls: list[Any] = []

    def called(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    return called


def test_every_number_is_that_of_its_run(finished: Path) -> None:
    content = results(finished)
    assert list(content["rows"]) == ["Grown, DER", "finetune"] and content["grid"] == "tiny"
    for row in content["rows"]:
        for seed, found in content["rows"][row]["seeds"].items():
            run = json.loads((finished / grids.slug(row) / seed / "metrics.json").read_text())
            assert run["config"]["seed"] == int(seed) and found["agrees"]
            assert found["class_order"] == np.random.RandomState(int(seed)).permutation(10).tolist()
            assert found["accuracy_torch"] == [task["accuracy_torch"] for task in run["tasks"]]
            assert found["average_incremental_accuracy_brian2"] == np.mean(found["accuracy_brian2"])
            assert found["spikes_compared"] == sum(task["spikes_compared"] for task in run["tasks"]) > 0
            assert found["synaptic_events_per_image"] == run["energy"]["synaptic_events_per_image"] > 0
    config = content["rows"]["finetune"]["config"]
    assert (config["memory_size"], config["finetuning"]["epochs"], config["learning"]["epochs"]) == (0, 1, 1)


def test_table_and_figures_lie_beside_the_cells(finished: Path) -> None:
    found = set(files(finished))
    names = ("accuracy", "forgetting", "cost-training", "cost-events")
    figures = {f"figures/{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert {"table.md", "table.csv", "results.json", *figures} <= found
    assert not [name for name in found if ".tmp" in name]


def test_a_cell_equals_a_run_of_its_own(finished: Path, tmp_path: Path) -> None:
    stored = finished / "grown-der" / "2" / "config.yaml"
    torch.set_num_threads(1)
    assert call("run", "--config", stored, "--out", tmp_path / "run") == 0
    name = "checkpoints/task-02.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (stored.parent / name).read_bytes()


def test_nothing_is_computed_twice(grid: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(copied)
    assert compare(grid, "--out", copied) == 0
    assert files(copied) == before
    assert "[1/" not in capsys.readouterr().out


def test_the_report_alone_is_drawn_from_what_exists(
    grid: Path, copied: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("table.md", "table.csv", "results.json"):
        (copied / name).unlink()
    shutil.rmtree(copied / "figures")
    assert compare(grid, "--out", copied, "--report-only") == 0
    assert files(copied) == files(finished)
    shutil.rmtree(copied / "finetune")
    assert compare(grid, "--out", copied, "--report-only") == 0
    assert "2 of 4 cells are not complete" in capsys.readouterr().out
    assert list(results(copied)["rows"]) == ["Grown, DER"]


def test_an_interrupted_comparison_goes_on(
    grid: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "write_report", lambda path: None)
    out, verify, calls = tmp_path / "stopped", verified_run.verify, []

    def impatient(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt  # in the second task of the second cell
        return verify(*arguments)

    monkeypatch.setattr(verified_run, "verify", impatient)
    assert compare(grid, "--out", out) == 130
    assert "interrupted; the same command continues" in capsys.readouterr().err
    whole = {name: content for name, content in files(out).items() if name.startswith("grown-der/1/")}
    assert compare(grid, "--out", out) == 0
    shown = capsys.readouterr().out
    assert "[1/3] finetune, seed 1:" in shown and "[3/3] finetune, seed 2:" in shown
    assert len(calls) == 4 + 1 + 2 + 2  # the first task of the second cell was not learnt again
    assert results(out) == results(finished)
    assert {name: content for name, content in files(out).items() if name.startswith("grown-der/1/")} == whole


def test_a_cell_that_fails_does_not_stop_the_others(
    grid: Path, copied: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "write_report", lambda path: None)
    stop_after_the_first_task(grid, copied, "grown-der/1")
    (copied / "grown-der" / "1" / "resume.pt").write_bytes(b"nothing")
    shutil.rmtree(copied / "finetune" / "2")
    assert compare(grid, "--out", copied) == 1
    shown = capsys.readouterr()
    assert "[1/2] Grown, DER, seed 1: FAILED" in shown.out and "[2/2] finetune, seed 2: average" in shown.out
    assert "Grown, DER, seed 1 failed:" in shown.err and "resume.pt is damaged" in shown.err
    assert "Traceback" not in shown.err
    found = results(copied)
    assert list(found["rows"]["Grown, DER"]["seeds"]) == ["2"]
    assert found["rows"]["finetune"] == results(finished)["rows"]["finetune"]


def test_an_error_of_the_program_is_shown_with_its_trace(
    grid: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied / "finetune" / "2")
    monkeypatch.setattr(verified_run, "verify", lambda *_: 1 / 0)
    assert compare(grid, "--out", copied) == 1
    error = capsys.readouterr().err
    assert "finetune, seed 2 failed: ZeroDivisionError" in error and "Traceback" in error


def test_networks_that_disagree_are_named(grid: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_metrics(copied / "finetune" / "2", lambda m: m["tasks"][1].update(mismatched_spikes=7))
    assert compare(grid, "--out", copied, "--report-only") == 1
    assert "finetune, seed 2: the simulated network DIFFERS" in capsys.readouterr().err
    table = (copied / "table.md").read_text()
    assert "DIFFERS from the trained one in: finetune, seed 2." in table and "| 7 |" in " ".join(table.split())


def test_cells_that_prove_nothing_are_named(grid: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def silence(content: dict[str, Any]) -> None:
        for layer in content["tasks"][0]["layers"]:
            layer.update(spikes_torch=0, spikes_brian2=0)

    change_metrics(copied / "finetune" / "2", silence)
    assert compare(grid, "--out", copied, "--report-only") == 1
    sentence = "finetune, seed 2: no neuron fired in either network (task 1)"
    error, table = capsys.readouterr().err, (copied / "table.md").read_text()
    assert sentence in error and "DIFFERS" not in error
    assert f"NOT PROVEN: {sentence}" in table and "is the trained one" not in table


def test_another_configuration_is_refused_by_its_keys(
    grid: Path, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(copied)
    options = ("--set", "network.decay=0.25", "--set", "verify_images=20")
    assert compare(grid, "--out", copied, *options) == 2
    error = capsys.readouterr().err
    assert "grown-der/1 was started with another value of network.decay, verify_images" in error
    (tmp_path / "threads").mkdir()
    assert compare(write_grid(tmp_path / "threads", threads=2), "--out", copied) == 2
    assert "was started with threads: 1, but the grid has threads: 2" in capsys.readouterr().err
    assert files(copied) == before


def test_a_folder_with_something_else_is_refused(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "finetune" / "1").mkdir(parents=True)
    (tmp_path / "out" / "finetune" / "1" / "letter.txt").write_text("dear")
    assert compare(grid, "--out", tmp_path / "out") == 2
    assert "finetune/1 holds files but no run" in capsys.readouterr().err
    assert list(files(tmp_path / "out")) == ["finetune/1/letter.txt"]


def test_two_commands_do_not_compute_the_same_cell(
    grid: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied / "finetune" / "2")
    with writing_to(copied / "finetune" / "2"):
        assert compare(grid, "--out", copied) == 1
    assert f"another process is writing to {copied / 'finetune' / '2'}" in capsys.readouterr().err
    assert not (copied / "finetune" / "2").exists()


def test_two_commands_do_not_write_the_same_tables(
    grid: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(copied)
    with writing_to(copied):
        assert compare(grid, "--out", copied, "--report-only") == 2
    error = capsys.readouterr().err
    assert f"another process is writing to {copied}; wait for it or choose another --out" in error
    assert files(copied) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"seeds": [1]},
        {"rows": {"finetune": GRID["rows"]["finetune"]}, "reference": "finetune"},
        {"rows": {**GRID["rows"], "finetune": {"method": "wa"}}, "remove": "finetune"},
    ],
    ids=["name", "seeds", "rows", "settings"],
)
def test_the_tables_of_another_grid_are_kept(
    copied: Path, tmp_path: Path, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    if "remove" in changes:
        # The folders of the cells cannot tell any more.
        shutil.rmtree(copied / changes.pop("remove"))
    (tmp_path / "grids").mkdir()
    name = changes.pop("name", "tiny")
    other = write_grid(tmp_path / "grids", **changes).rename(tmp_path / "grids" / f"{name}.yaml")
    before = files(copied)
    assert compare(other, "--out", copied, "--report-only") == 2
    error = capsys.readouterr().err
    assert f"{copied / 'results.json'} and its tables belong to another grid" in error and "--out" in error
    assert error.count("\n") == 1 and files(copied) == before


def test_tables_grow_with_their_grid(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "grids").mkdir()
    more = write_grid(tmp_path / "grids", seeds=[2, 1, 3], reference="finetune")
    assert compare(more, "--out", copied, "--report-only") == 0
    assert results(copied)["seeds"] == [2, 1, 3]


def test_a_table_of_unknown_origin_is_kept(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "table.md").write_text("precious")
    assert compare(grid, "--out", tmp_path) == 2
    assert "holds table.md without a results.json" in capsys.readouterr().err
    assert files(tmp_path) == {"table.md": b"precious"}


def test_rows_and_seeds_can_be_chosen(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "write_report", lambda path: None)
    assert compare(grid, "--out", tmp_path, "--rows", "finetune", "--seeds", 2) == 0
    shown = capsys.readouterr().out
    assert "[1/1] finetune, seed 2" in shown and "3 of 4 cells are not complete" in shown
    assert "Grown, DER above by" not in shown


@pytest.mark.slow
def test_killed_in_two_processes_and_gone_on_with_equals_never_interrupted(
    grid: Path, finished: Path, tmp_path: Path
) -> None:
    """SIGKILL reaches the command alone; its workers end by themselves and leave their cells to the next command."""
    out = tmp_path / "killed"
    command = [sys.executable, str(PROGRAMS / "compare.py"), str(grid), "--out", str(out), "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(out.glob("*/*/resume.pt")) and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None
    workers = {number for number, parent in running() if parent == process.pid}
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while workers & {number for number, _ in running()}:
        assert time.monotonic() < deadline, "a worker outlives its command"
        time.sleep(0.1)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert results(out) == results(finished)
    for name in CELLS:
        checkpoint = f"{name}/checkpoints/task-02.safetensors"
        assert (out / checkpoint).read_bytes() == (finished / checkpoint).read_bytes()


def running() -> list[tuple[int, int]]:
    """Number and parent of every process that has not ended."""
    lines = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True).stdout.splitlines()
    return [(int(number), int(parent)) for number, parent, state in map(str.split, lines) if state[0] != "Z"]


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_cell(grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fatal_once(cell: Any, threads: int, parent: int | None) -> cells.Outcome:
        if parent is not None and cell.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return cells.Outcome(cell)

    monkeypatch.setattr(cells, "compute_cell", fatal_once)
    everything = grids.read_grid(grid).cells(tmp_path)
    outcomes = list(cells.compute(everything, 1, 2))
    assert {str(o.cell) for o in outcomes} == {str(c) for c in everything} and len(outcomes) == 4
