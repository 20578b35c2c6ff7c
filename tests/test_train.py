"""Plain training through its command: one task in the run folder, resumed after a kill, and wrong use refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from command_line import kill_training

from alade_brian.cli import run_command
from alade_brian.commands import train
from alade_brian.config.run import config_from, read_mapping
from alade_brian.config.shipped import find_file
from alade_brian.learning import method_class
from alade_brian.learning.checkpoint import load_checkpoint, read_header

QUICK = {
    "dataset": "digits",
    "method": "plain",
    "verify_images": 12,
    "network": {"channels": [4, 6], "strides": [2, 1], "pool": 2, "steps": 3},
    "learning": {"epochs": 6, "learning_rate": 0.005, "optimiser": "adamw", "schedule": "one-cycle"},
    "simulation": {"backend": "numpy"},
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "quick.yaml"
    path.write_text(yaml.safe_dump(QUICK))
    return path


@pytest.fixture(scope="module")
def finished(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run(quick, "--out", out) == 0
    return out


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        run_command(train.parser(), train.main, [str(a) for a in arguments])
    return int(left.value.code or 0)


def metrics(out: Path) -> dict:
    """Metrics without what depends on the clock."""
    found = json.loads((out / "metrics.json").read_text())
    for task in found["tasks"]:
        del task["seconds"]
    return found


def test_a_run_has_one_task_of_all_classes_in_the_data_sets_order(finished: Path) -> None:
    found = metrics(finished)
    (task,) = found["tasks"]
    assert task["classes"] == found["class_order"] == list(range(10)) and task["classes_seen"] == 10
    assert (task["images"], task["mismatched_spikes"], found["tasks_planned"]) == (12, 0, 1)
    assert task["accuracy_torch"] == task["accuracy_brian2"] == found["last_accuracy_brian2"]
    assert found["forgetting_torch"] == 0
    records = task["training"]["epochs"]
    assert set(task["training"]) == {"epochs"} and len(records) == 6
    assert all(set(r) == {"stage", "epoch", "loss", "training_accuracy"} for r in records)
    assert records[-1]["loss"] < records[0]["loss"]
    assert records[0]["training_accuracy"] < records[-1]["training_accuracy"] > 0.5
    assert (finished / "report.html").is_file() and (finished / "models" / "task-01.nir").is_file()


def test_its_checkpoint_opens_as_any_other(finished: Path) -> None:
    network, header = load_checkpoint(finished / "checkpoints" / "task-01.safetensors")
    assert header["classes"] == list(range(10)) and network(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_killed_and_resumed_equals_never_interrupted(quick: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    kill_training(quick, out)
    assert run("--resume", "--out", out) == 0
    assert metrics(out) == metrics(finished)
    name = "checkpoints/task-01.safetensors"
    assert (out / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a CONFIG"),
        (["none.yaml"], "there is no configuration file none.yaml"),
        (["digits-plain", "--set", "method=alade"], "'alade' learns task after task; use `alade-brian run`"),
        (["digits-plain", "--set", "learning.optimiser=lion"], "optimiser is 'lion'; use one of sgd, adam, adamw"),
        (["digits-plain", "--set", "network.neuron=Izhikevich"], "no spiking neuron 'Izhikevich'"),
        (["tandem-quick", "--set", "network.steps=0"], "network.steps is 0; use at least 1"),
        (["tandem-quick", "--backbone", "small"], "but the method 'tandem' converts layer by layer; use 'tandem'"),
        (["digits-plain", "--set", "network.hidden=[4]"], "the backbone 'small' has none; use 'tandem'"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, *(["--out", tmp_path / "out"] if arguments else [])) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_shipped_configurations_are_found_by_name() -> None:
    plain = {"digits-plain", "fashion-mnist-plain", "digits-position", "digits-denoise"}
    systems = "dsr", "tandem", "blurred-distillation", "relpsp"
    assert set(train.shipped()) == {*plain, *(name + size for name in systems for size in ("", "-quick", "-paper"))}
    for name in train.shipped():
        config = config_from(read_mapping(find_file(name, "configs")), name)
        assert method_class(config.method).all_at_once


def test_the_header_describes_the_architecture(finished: Path) -> None:
    architecture = read_header(finished / "checkpoints" / "task-01.safetensors")["architecture"]
    assert (architecture["name"], architecture["extractors"], architecture["outputs"]) == ("expandable", 1, 10)
    assert architecture["backbone"]["channels"] == [4, 6] and architecture["backbone"]["image_shape"] == [1, 8, 8]


def test_nothing_is_said_of_tasks_where_all_classes_are_learnt_at_once(finished: Path) -> None:
    report = (finished / "report.html").read_text(encoding="utf-8")
    assert "Accuracy, Brian2" in report and "predicted class" in report
    assert "Average incremental accuracy" not in report and "Forgetting:" not in report
    assert (
        not (finished / "figures" / "incremental_accuracy.svg").exists()
        and (finished / "figures" / "confusion.svg").exists()
    )
