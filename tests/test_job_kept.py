"""What a run keeps, whatever comes between: another process, a kill at its first write, too little memory, odd names."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from test_job import PROGRAM, QUICK, ROOT, files, finished, metrics, quick, run

from alade_brian.config.run import config_from
from alade_brian.learning import Learner
from alade_brian.learning.stage import StageTrainer
from alade_brian.outputs import writing_to
from alade_brian.runs.gpu_memory import final_network
from alade_brian.runs.setup import load_images, make_scenario, simulation_settings
from alade_brian.simulation import resources as needs
from alade_brian.simulation.planning import draft_plan

__all__ = ["finished", "quick"]  # fixtures


def test_a_second_process_in_a_run_folder_is_refused(
    quick: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(finished, copied)
    before = files(copied)
    for out, options in ((tmp_path / "new", ("--config", quick)), (copied, ("--resume",))):
        with writing_to(out):
            assert run(*options, "--out", out) == 2
        error = capsys.readouterr().err
        assert error == (
            f"alade-brian run: error: another process is writing to {out}; wait for it or choose another --out\n"
        )
    assert not (tmp_path / "new").exists() and files(copied) == before


@pytest.mark.slow
def test_of_two_real_processes_one_runs(quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(PROGRAM), "--config", str(quick), "--out", str(out)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (out / "config.yaml").is_file() and first.poll() is None:
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)  # or it might be done before the second one looks
    for options in ([], ["--resume"]):
        second = subprocess.run([*command, *options], capture_output=True, text=True)
        assert second.returncode == 2 and f"another process is writing to {out};" in second.stderr
    first.send_signal(signal.SIGCONT)
    _, error = first.communicate()
    assert first.returncode == 0, error


def test_a_run_killed_at_its_first_write_is_begun_anew(quick: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    out.mkdir()
    for name in (".lock", f".config.yaml.{'a0' * 16}.tmp", "run.log"):
        (out / name).touch()
    assert run("--config", quick, "--out", out) == 0
    assert metrics(out) == metrics(finished) and not [name for name in files(out) if ".tmp" in name]


def test_too_little_memory_is_refused_before_any_training(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it suffices for the first task's network, but not for the last one's."""
    config = config_from(QUICK, "test")
    settings, dataset = simulation_settings(config), load_images(config)
    _, last = final_network(config, dataset, make_scenario(config, dataset))
    monkeypatch.setattr(needs, "available_bytes", lambda: draft_plan(last, settings).cost.memory - 1)
    monkeypatch.setattr(Learner, "learn", None)
    assert run("--config", quick, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "the simulation needs about" in error and "use fewer --workers" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_trained_task_is_kept_if_the_memory_does_not_suffice_any_more(
    quick: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = iter([None, None, 0])  # as the run is set up, for the first task, for the second
    monkeypatch.setattr(needs, "available_bytes", lambda: next(free))
    out = tmp_path / "out"
    # Far apart: no state is kept between two epochs.
    assert run("--config", quick, "--out", out, "--keep-every", 1e9) == 2
    error = capsys.readouterr().err
    assert "everything that was learnt, task 2 too, is kept; resume with --resume" in error and error.count("\n") == 1
    monkeypatch.undo()
    epochs: list[int] = []
    run_epoch = StageTrainer.run_epoch
    monkeypatch.setattr(StageTrainer, "run_epoch", lambda self: (epochs.append(len(self.stage.data)), run_epoch(self)))
    assert run("--out", out, "--resume") == 0
    # The two stages of the third task alone.
    assert len(epochs) == 2 * QUICK["learning"]["epochs"]
    assert metrics(out) == metrics(finished)


NAMES = [r"$\frac$", "$", r"a\$b$", "a_b^{", "<&> -->"]


def test_class_names_are_no_mathematics(tmp_path: Path) -> None:
    """A name that matplotlib or XML cannot read as what it means does not cost the report."""
    draw, labels = np.random.default_rng(0), np.repeat(np.arange(5), 8)
    images = draw.integers(0, 256, (40, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels,
             class_names=np.array(NAMES))  # fmt: skip
    config = {**QUICK, "dataset": "npz", "data_root": str(tmp_path / "data.npz"), "init_cls": 5, "memory_size": 20}
    (tmp_path / "named.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "out"
    assert run("--config", tmp_path / "named.yaml", "--out", out) == 0
    assert sorted(metrics(out)["class_names"]) == sorted(NAMES)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert r"$\frac$" in page
    for figure in (out / "figures").glob("*.svg"):
        ElementTree.parse(figure)


PROGRAMS = sorted(path.name for path in (ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize(
    ("program", "module"),
    # What it is to check on another machine imports nothing before its arguments are parsed.
    [*((name, "numpy") for name in PROGRAMS if name != "gpu_check.py"), (PROGRAM.name, "yaml")],
)
def test_ctrl_c_during_the_imports_is_one_sentence(program: str, module: str, tmp_path: Path) -> None:
    """Before Brian2 is imported and after, which has its own way with what nobody catches."""
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, ROOT / "experiments" / program], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, f"{program}: interrupted\n")
