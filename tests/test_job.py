"""The whole small job through its command: results, files, exit codes, resume after a kill, and every bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command_line import call

from alade_brian.analysis.statistics.summary import layer_summary
from alade_brian.data import load_dataset
from alade_brian.learning.checkpoint import load_checkpoint
from alade_brian.spikes.task_record import load_record

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "experiments" / "run_cil.py"
# Three tasks of the digits, the last one smaller, a narrow network, few epochs and images: seconds instead of minutes.
QUICK = {
    "dataset": "digits",
    "init_cls": 4,
    "increment": 4,
    "memory_size": 60,
    "verify_images": 12,
    "network": {"channels": [4, 6], "strides": [2, 1], "pool": 2, "steps": 3},
    "learning": {"epochs": 3, "milestones": [2], "align_from": 1, "learning_rate": 0.05},
    "finetuning": {"epochs": 3, "milestones": [2], "align_from": 1},
    "simulation": {"backend": "numpy"},
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "quick.yaml"
    path.write_text(yaml.safe_dump(QUICK))
    return path


@pytest.fixture(scope="module")
def finished(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run("--config", quick, "--out", out) == 0
    return out


def run(*arguments: object) -> int:
    """The command in this process; its exit code."""
    return call("run", *arguments)


def metrics(out: Path, without_times: bool = True) -> dict:
    content = json.loads((out / "metrics.json").read_text())
    if without_times:
        for task in content["tasks"]:
            del task["seconds"]
    return content


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_a_network_that_never_fires_is_not_proven_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = QUICK | {"init_cls": 10, "network": QUICK["network"] | {"threshold": 1e6}}  # type: ignore[operator]
    (tmp_path / "silent.yaml").write_text(yaml.safe_dump(config))
    assert run("--config", tmp_path / "silent.yaml", "--out", tmp_path / "run") == 1
    sentence = "no neuron fired in either network"
    assert f"NOT PROVEN: {sentence} (task 1)" in capsys.readouterr().out
    assert f"WARNING alade_brian.runs.verified_run: task 1: {sentence}" in (tmp_path / "run" / "run.log").read_text()
    assert f"N{sentence[1:]} (task 1)" in (tmp_path / "run" / "report.html").read_text()
    [task] = metrics(tmp_path / "run")["tasks"]
    assert task["mismatched_spikes"] == 0 and not task["agrees"]


def test_both_networks_agree_in_every_task(finished: Path) -> None:
    content = metrics(finished)
    assert [t["classes_seen"] for t in content["tasks"]] == [4, 8, 10]
    assert [len(t["classes"]) for t in content["tasks"]] == [4, 4, 2]
    for task in content["tasks"]:
        assert task["mismatched_spikes"] == 0 and task["prediction_agreement"] == 1.0
        assert task["accuracy_torch"] == task["accuracy_brian2"]
        assert task["logit_max_abs_difference"] < 1e-12
        assert task["images"] == 12 and task["spikes_compared"] == 12 * 3 * sum(
            layer["neurons"] for layer in task["layers"]
        )
        assert sum(layer["spikes_torch"] for layer in task["layers"]) > 0
    assert "10 classes in tasks of 4, 4, 2, evaluated on 12 test images" in (finished / "report.html").read_text()
    assert (
        "the last of 3 tasks has 2 classes, those that increments of 4 leave of 10"
        in (finished / "run.log").read_text()
    )
    accuracies = [t["accuracy_brian2"] for t in content["tasks"]]
    assert content["average_incremental_accuracy_brian2"] == pytest.approx(np.mean(accuracies))
    assert content["last_accuracy_brian2"] == accuracies[-1]
    assert content["class_order"] == np.random.RandomState(1993).permutation(10).tolist()


def test_statistics_of_the_answers_are_those_of_the_recorded_spikes(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    for task in metrics["tasks"]:
        record = load_record(finished / "spikes" / f"task-{task['task']:02d}.npz")
        for layer in task["layers"]:
            expected = layer_summary(record.layers[layer["name"]].brian2(), record.labels, record.dt)
            assert {name: layer[name] for name in expected} == expected
        # The classifier reads the last layer of every extractor.
        assert task["readout_layers"] == [name for name in record.layers if name.endswith("stages.1.lif")]
        assert len(task["readout_layers"]) == task["task"]
    assert (finished / "figures" / "drift.svg").is_file() and (finished / "figures" / "tuning.png").is_file()


def test_the_run_folder_is_complete(finished: Path) -> None:
    found = set(files(finished))
    expected = {"config.yaml", "environment.json", "metrics.json", "metrics.csv", "report.html", "resume.pt", "run.log"}
    for task in (1, 2, 3):
        expected |= {f"checkpoints/task-0{task}.safetensors", f"models/task-0{task}.nir", f"spikes/task-0{task}.npz"}
    assert expected <= found
    assert {Path(f).suffix for f in found if f.startswith("figures/")} == {".png", ".svg"}
    assert not [f for f in found if ".tmp" in f]
    rows = list(csv.DictReader((finished / "metrics.csv").open()))
    assert [r["classes_seen"] for r in rows] == ["4", "8", "10"]
    assert torch.load(finished / "resume.pt", weights_only=True)["task"] == 3
    assert yaml.safe_load((finished / "config.yaml").read_text())["network"]["channels"] == [4, 6]
    assert json.loads((finished / "environment.json").read_text())["packages"]["torch"] == torch.__version__


def test_the_checkpoint_is_the_network_that_was_verified(finished: Path) -> None:
    network, header = load_checkpoint(finished / "checkpoints" / "task-03.safetensors")
    record = load_record(finished / "spikes" / "task-03.npz")
    dataset = load_dataset("digits")
    order = np.array(header["classes"])
    assert len(order) == 10 and header["class_names"] == [str(c) for c in order]
    position = np.argsort(order)
    # All test images, in the order of the tasks, then the evenly spread 12 of them.
    labels = position[dataset.test_labels]
    task = np.searchsorted([4, 8], labels, side="right")
    chosen = np.argsort(task, kind="stable")[np.linspace(0, len(labels) - 1, 12).round().astype(int)]
    assert np.array_equal(labels[chosen], record.labels)
    with torch.no_grad():
        logits = network.double()(torch.from_numpy(dataset.test_images[chosen].astype(np.float64)))
    np.testing.assert_allclose(logits.numpy(), record.logits_torch, atol=1e-12)


def test_a_run_is_never_overwritten(finished: Path, quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(finished)
    assert run("--config", quick, "--out", finished) == 2
    error = capsys.readouterr().err
    assert "--resume" in error and "--out" in error and error.count("\n") == 1
    assert files(finished) == before


def test_resuming_a_finished_run_changes_no_result(finished: Path, quick: Path) -> None:
    before = metrics(finished, without_times=False)
    assert run("--out", finished, "--resume") == 0
    assert metrics(finished, without_times=False) == before


def test_resuming_with_another_number_of_threads_is_said(
    finished: Path, quick: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.set_num_threads(torch.get_num_threads() + 1)
    assert run("--out", finished, "--resume") == 0
    assert f"OMP_NUM_THREADS={torch.get_num_threads() - 1}" in caplog.text


def test_resuming_with_another_configuration_names_the_key(
    finished: Path, quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(finished)
    assert run("--config", quick, "--out", finished, "--resume", "--set", "network.decay=0.25", "--seed", 7) == 2
    assert "network.decay, seed" in capsys.readouterr().err
    assert files(finished) == before


KILLS = 10
# Of each stage: many more in all than lie between two kills, or a fast machine would be done before the last of them.
EPOCHS = 20


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_equals_never_interrupted(quick: Path, tmp_path: Path) -> None:
    """SIGKILL in the midst of learning, converting, simulating and writing; state is kept after every epoch."""
    out, moments = tmp_path / "killed", np.random.default_rng(5)
    options = ["--config", str(quick)]
    options += ["--set", f"learning.epochs={EPOCHS}", "--set", f"finetuning.epochs={EPOCHS}"]
    finished = tmp_path / "whole"
    assert run(*options, "--out", finished) == 0
    command = [sys.executable, str(PROGRAM), *options, "--out", str(out), "--keep-every", "0"]
    kills, reached = 0, set[int]()
    while kills < KILLS:
        begun = (out / "config.yaml").is_file()
        process = subprocess.Popen(
            [*command, *(["--resume"] if begun else [])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # A few more epochs are kept before each kill; the last one comes before the run's end.
        aim = work_done(out) + moments.integers(4, 8)
        while work_done(out) < aim and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.05))
        reached.add(work_done(out) // EPOCHS)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills == KILLS and len(reached) > 2
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert metrics(out) == metrics(finished)
    for task in (1, 2, 3):
        name = f"checkpoints/task-0{task}.safetensors"
        assert (out / name).read_bytes() == (finished / name).read_bytes()
    assert not (out / "resume-epoch.pt").exists()


def work_done(out: Path) -> int:
    """Epochs that are kept, of all stages so far; the first task has one stage, the others have two."""
    tasks, stage, epochs = 0, 0, 0
    if (out / "resume.pt").is_file():
        tasks = torch.load(out / "resume.pt", weights_only=True)["task"]
    try:
        state = torch.load(out / "resume-epoch.pt", weights_only=True)["state"]
        stage, epochs = state["stage"], len(state["fitting"]["history"])
    except FileNotFoundError:
        pass  # deleted when the task is complete
    return max(0, 2 * tasks - 1) * EPOCHS + EPOCHS * stage + epochs


@pytest.mark.slow
def test_two_processes_train_as_one(quick: Path, tmp_path: Path) -> None:
    """Without batch norm, whose statistics are a process's own, the gradients' sum is the whole batch's gradient."""
    options = ["--set", "network.norm=none", "--set", "learning.epochs=1", "--set", "init_cls=10"]
    options += ["--set", "learning.milestones=[]", "--set", "learning.batch_size=32", "--config", str(quick)]
    outs = tmp_path / "one", tmp_path / "two"
    assert run(*options, "--out", outs[0]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM)]
    done = subprocess.run([*command, *options, "--out", str(outs[1])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = (load_checkpoint(out / "checkpoints" / "task-01.safetensors")[0].state_dict() for out in outs)
    assert metrics(outs[1])["tasks"][0]["mismatched_spikes"] == 0
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-3)
    assert not all(torch.equal(one[name], two[name]) for name in one)  # they did share the work


@pytest.mark.slow
@pytest.mark.parametrize("method", ["alade", "dsd", "wa"])
def test_two_processes_learn_a_sequence_of_tasks(quick: Path, tmp_path: Path, method: str) -> None:
    """With batch norm, two tasks: both processes stay together, or their gradients would be of different networks."""
    options = ["--config", str(quick), "--set", "init_cls=5", "--set", "increment=5", "--set", f"method={method}"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM)]
    done = subprocess.run([*command, *options, "--out", str(tmp_path / "two")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tasks = metrics(tmp_path / "two")["tasks"]
    assert [task["mismatched_spikes"] for task in tasks] == [0, 0]
    # Three epochs are few for the third of the units that `dsd` begins with; chance is a fifth.
    assert tasks[0]["accuracy_brian2"] > 0.3


THREADS = """
import os, sys
from pathlib import Path
import torch
from alade_brian.learning.parallel import join_processes, leave_processes, total

def gloo() -> int:
    return sum("gloo" in file.read_text() for file in Path("/proc/self/task").glob("*/comm"))

join_processes("cpu")
# An optimizer imports much of torch when the first is made.
torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1)
total(torch.ones(3))
before = gloo()
leave_processes()
Path(sys.argv[1], os.environ["RANK"]).write_text(f"{before > 0} {gloo()}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted where Linux lists them")
def test_no_thread_of_the_group_is_left_when_processes_part(tmp_path: Path) -> None:
    """What is left may abort a process when it ends, and with it those that still work."""
    (tmp_path / "threads.py").write_text(THREADS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, tmp_path / "threads.py", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / rank).read_text() for rank in ("0", "1")] == ["True 0", "True 0"]


@pytest.mark.slow
def test_a_run_in_bfloat16_learns_and_is_verified(quick: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "lower"
    assert run("--config", quick, "--set", "training.precision=bfloat16", "--out", out) == 0
    tasks = metrics(out)["tasks"]
    assert [task["mismatched_spikes"] for task in tasks] == [0, 0, 0]
    assert tasks[0]["accuracy_brian2"] >= metrics(finished)["tasks"][0]["accuracy_brian2"] - 0.25
    one, other = (load_checkpoint(f / "checkpoints" / "task-01.safetensors")[0].state_dict() for f in (out, finished))
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_disagreement_is_exit_code_1_with_a_report(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import alade_brian.runs.verified_run as verified_run

    def late(model: object, shape: tuple[int, ...]):  # type: ignore[no-untyped-def]
        spec = convert(model, shape)
        return spec.replace_population("extractors.0.stages.1.lif", bias=None)

    convert = verified_run.convert
    monkeypatch.setattr(verified_run, "convert", late)
    out = tmp_path / "wrong"
    assert run("--config", quick, "--out", out) == 1
    content = metrics(out)
    assert content["tasks"][0]["mismatched_spikes"] > 0
    assert content["tasks"][0]["first_divergence"]["layer"] == "extractors.0.stages.1.lif"
    assert "extractors.0.stages.1.lif" in (out / "report.html").read_text()


BAD = {
    "data set": (["--dataset", "mnist1d"], "unknown data set 'mnist1d'"),
    "method": (["--method", "magic"], "unknown method 'magic'"),
    "backend": (["--backend", "gpu"], "unknown backend 'gpu'"),
    "shared": (["--backend", "cython", "--connectivity", "shared"], "no shared connectivity"),
    "key": (["--set", "network.depth=3"], "unknown key 'network.depth'"),
    "type": (["--set", "init_cls=two"], "needs a whole number"),
    "range": (["--set", "network.decay=1.5"], "between 0 and 1"),
    "override": (["--set", "init_cls"], "key=value"),
    "first task": (["--set", "init_cls=11"], "has only 10 classes"),
    "last task": (["--method", "lwf", "--set", "increment=5"], "leave 1 of 10 classes for the last task"),
    "order": (["--set", "class_order=[0,1,2]"], "class_order"),
    "memory": (["--set", "memory_size=100000"], "training images"),
    "no memory": (["--set", "memory_size=0"], "needs exemplars"),
    "small memory": (["--set", "memory_size=5"], "fewer than one exemplar"),
    "missing files": (["--dataset", "fashion-mnist", "--data-root", "/nowhere"], "--download"),
    "missing config": (["--config", "/nowhere.yaml"], "there is no configuration file"),
    "nothing to resume": (["--resume"], "no run to resume"),
    "image too small": (["--set", "network.pool=9"], "does not fit"),
    "verify": (["--verify-images", "0"], "verify_images"),
    "seed": (["--seed", "-1"], "seed"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(
    case: str, quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = BAD[case]
    config = [] if "--config" in arguments else ["--config", quick]
    out = tmp_path / "out"
    assert run(*config, *arguments, "--out", out) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("alade-brian run: error:") and "Traceback" not in error
    assert error.strip().count("\n") == 0
    assert not out.exists()


@pytest.mark.parametrize("damage", ["resume.pt", "checkpoints/task-03.safetensors", "config.yaml"])
def test_damaged_state_is_one_sentence_and_nothing_is_lost(
    finished: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(finished, out)
    content = (out / damage).read_bytes()
    (out / damage).write_bytes(b"a: [" if damage.endswith("yaml") else content[: len(content) // 2])
    before = files(out)
    assert run("--out", out, "--resume") == 2
    error = capsys.readouterr().err
    assert Path(damage).name in error and error.strip().count("\n") == 0
    assert files(out) == before


def test_no_compiler_is_refused_before_any_training(quick: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": "no-such-compiler"}
    command = [sys.executable, str(PROGRAM), "--config", str(quick), "--backend", "cpp", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "C++ compiler" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
