"""The systems by command: their quick configurations learn and agree, and what their rules rest on is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command_line import call
from test_learning_synthetic import one_thread

from alade_brian.config.shipped import shipped_files
from alade_brian.learning.architectures import rectified
from alade_brian.learning.checkpoint import load_checkpoint, save_network
from alade_brian.models import BackboneDescription
from alade_brian.models.networks.rectified import rectified_network
from alade_brian.systems import SYSTEMS

TRAINED = [system.name for system in SYSTEMS if system.command.startswith("alade-brian train")]


def test_every_trained_system_ships_its_configurations_and_page() -> None:
    docs = Path(__file__).resolve().parent.parent / "docs" / "systems"
    for name in TRAINED:
        assert {name, f"{name}-quick", f"{name}-paper"} <= set(shipped_files("configs"))
        assert (docs / f"{name}.md").is_file()


def quick_run(out: Path, system: str, images: int, *settings: str) -> Path:
    """A run of a system's quick configuration, made shorter by settings."""
    sets = [part for each in settings for part in ("--set", each)]
    assert call("train", f"{system}-quick", "--verify-images", images, "--backend", "numpy", *sets, "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def dsr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("systems") / "dsr"
    return quick_run(out, "dsr", 20, "learning.epochs=2", "train_per_class=40", "network.steps=6")


def test_the_error_of_the_representation_is_half_with_twice_the_steps(
    dsr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("systems", "dsr", "--prove", dsr) == 0
    assert "mean error of the representation, in thresholds:" in capsys.readouterr().out
    found = json.loads((dsr / "proof.json").read_text())
    assert len(found["layers"]) == 5 and len(found["accuracy"]) == len(found["steps"])
    for errors in found["layers"].values():
        slope = np.polyfit(np.log(found["steps"]), np.log(errors), 1)[0]
        assert slope == pytest.approx(-1.0, abs=0.15)
    cost = found["training"]
    assert cost["steps"] == [5, 10, 20] and min(cost["cpu_seconds"]["dsr"] + cost["cpu_seconds"]["bptt"]) > 0
    # What the rule keeps is the same for any number of steps; through time it is a share for every step.
    assert len(set(cost["kept_bytes"]["dsr"])) == 1
    five, ten, twenty = cost["kept_bytes"]["bptt"]
    assert twenty - ten == 2 * (ten - five) > 0 and five > cost["kept_bytes"]["dsr"][0]
    assert (dsr / "figures" / "proof.svg").is_file() and (dsr / "figures" / "proof.png").is_file()


@pytest.mark.slow
def test_blurred_distillation_keeps_its_teacher_beside_the_network(tmp_path: Path) -> None:
    """The quick configuration by command, then another run that is taught by the same teacher."""
    quick = ["--verify-images", 50, "--backend", "numpy", "--set", "train_per_class=60"]
    quick += ["--set", "learning.epochs=6", "--set", "blurred_distillation.teacher.learning.epochs=4"]
    assert call("train", "blurred-distillation-quick", *quick, "--out", tmp_path / "one") == 0
    (task,) = json.loads((tmp_path / "one" / "metrics.json").read_text())["tasks"]
    assert task["mismatched_spikes"] == 0 and task["prediction_agreement"] == 1.0
    assert task["accuracy_brian2"] == task["accuracy_torch"] > 0.8 and task["training"]["accuracy_teacher"] > 0.8
    teacher = tmp_path / "one" / "checkpoints" / "teacher-01.safetensors"
    given = [*quick, "--set", f"blurred_distillation.teacher.checkpoint={teacher}"]
    assert call("train", "blurred-distillation-quick", *given, "--out", tmp_path / "two") == 0
    networks = [tmp_path / run / "checkpoints" / "task-01.safetensors" for run in ("one", "two")]
    one, other = (load_checkpoint(path)[0].state_dict() for path in networks)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (tmp_path / "two" / "checkpoints" / "teacher-01.safetensors").exists()


def test_a_teacher_of_other_classes_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    description = BackboneDescription((1, 8, 8), "sew", channels=(4,), strides=(2,), pool=1, steps=1)
    header = {"image_shape": [1, 8, 8], "dataset": "omniglot", "classes": [0, 1, 2]}
    path = tmp_path / "teacher.safetensors"
    save_network(path, rectified_network(description, 3), rectified(description, 3), header)
    given = ["--set", f"blurred_distillation.teacher.checkpoint={path}", "--out", tmp_path / "run"]
    assert call("train", "blurred-distillation-quick", *given) == 2
    error = capsys.readouterr().err
    assert f"the teacher {path} has 3 outputs, but the run has 10 classes; give a teacher of the run's classes" in error
    assert len(error.splitlines()) == 1 and not (tmp_path / "run").exists()


RECORDINGS = """
import numpy as np
from alade_brian.data import make_dataset

def recordings(source):
    labels = np.arange(20) % 2
    frames = np.random.default_rng(0).random((20, 3, 1, 4, 4)) + labels[:, None, None, None, None]
    return make_dataset("recordings", (frames, labels), (frames, labels), ("dark", "bright"))
"""


def trained(folder: Path, dataset: str) -> Path:
    """A run of dsr with a small network that has learnt next to nothing."""
    network = {"backbone": "preact", "channels": [2], "strides": [2], "pool": 1, "steps": 3, "neuron": "QuantalIF"}
    learning = {"epochs": 1, "learning_rate": 0.01}
    config, out = folder / "own.yaml", folder / "run"
    config.write_text(yaml.safe_dump({"method": "dsr", "dataset": dataset, "network": network, "learning": learning}))
    assert call("train", config, "--verify-images", 4, "--backend", "numpy", "--out", out) == 0
    return out


def test_recordings_are_proved_with_the_steps_that_they_have(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(RECORDINGS)
    out = trained(tmp_path, f"{tmp_path / 'own.py'}:recordings")
    assert call("systems", "dsr", "--prove", out) == 0
    assert json.loads((out / "proof.json").read_text())["steps"] == [3]


def test_a_network_that_learnt_values_is_not_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = trained(tmp_path, "digits-denoise")
    assert call("systems", "dsr", "--prove", out) == 2
    assert "learnt values, but the proof counts classes" in capsys.readouterr().err
    assert not (out / "proof.json").exists()


def tandem_run(out: Path, *settings: str) -> Path:
    """A short run of tandem-quick; those with equal `learning` begin with one analogue network."""
    with one_thread():
        return quick_run(out, "tandem", 10, "learning.epochs=3", "finetuning.epochs=1", "train_per_class=40", *settings)


@pytest.fixture(scope="module")
def tandem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tandem")
    return tandem_run(folder / "run"), tandem_run(folder / "rounded", "tandem.weight_bits=3", "network.steps=4")


@pytest.mark.slow
def test_learning_behind_converted_layers_wins_back_what_conversion_costs(
    tandem: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, rounded = tandem
    assert call("systems", "tandem", "--prove", run, rounded) == 0
    printed = capsys.readouterr().out
    assert "learnt / converted at once:" in printed and "0 spikes mismatched, 0 spike counts differ" in printed
    found = json.loads((run / "proof.json").read_text())
    assert len(found["layers"]) == 3 and found["images"] == 355
    whole, coarse = found["runs"]
    assert (whole["steps"], whole["weight_bits"], coarse["steps"], coarse["weight_bits"]) == (8, None, 4, 3)
    # One analogue network; converting all of it at once at four steps with three bits costs most, and is made up for.
    analogue = whole["accuracy"][0]
    assert coarse["accuracy"][0] == coarse["accuracy_primitive"][0] == whole["accuracy_primitive"][0] == analogue
    assert coarse["accuracy_primitive"][3] < analogue - 0.05
    assert coarse["accuracy"][4] > coarse["accuracy_primitive"][3] + 0.05
    assert len(whole["accuracy"]) == len(whole["accuracy_primitive"]) == 5
    # The trained network at its own steps is the last stage.
    by_steps = found["by_steps"]
    assert by_steps["trained"][by_steps["steps"].index(8)] == whole["accuracy"][4]
    assert by_steps["primitive"][by_steps["steps"].index(8)] == whole["accuracy_primitive"][3]
    counted = whole["simulation"]
    assert counted["different_counts"] == counted["mismatched_spikes"] == 0 and counted["neurons"] == 800
    # 9 weights of 8 channels at 64 pixels, less those that reach beyond the border.
    assert counted["input_macs"] == 8 * 22 * 22 and counted["synaptic_operations"] > 0
    assert (run / "figures" / "proof.svg").is_file() and (run / "figures" / "proof.png").is_file()


@pytest.mark.slow
def test_runs_of_other_analogue_networks_are_not_compared(
    tandem: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tandem_run(tmp_path / "other", "learning.epochs=1", "train_per_class=8", "network.steps=2")
    assert call("systems", "tandem", "--prove", tandem[1], other) == 2
    assert f"the run in {other} began with another analogue network than that in" in capsys.readouterr().err
    (other / "resume.pt").unlink()
    assert call("systems", "tandem", "--prove", other) == 2
    assert f"the run in {other} has not ended; resume it with --resume" in capsys.readouterr().err
    assert not (tandem[1] / "proof.json").exists() and not (other / "proof.json").exists()


def test_one_run_of_dsr_is_measured_at_a_time(dsr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("systems", "dsr", "--prove", dsr, dsr) == 2
    assert "the proof of dsr measures one run, not 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--prove", "RUN"], "--prove measures one system; name one of dsr, tandem, relpsp"),
        (["alade", "--prove", "RUN"], "--prove measures one system; name one of dsr"),
        (["tandem", "--prove", "RUN"], "is of the method 'dsr', not 'tandem'"),
        (["dsr", "--prove", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_proved_is_refused(
    dsr: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("systems", *[dsr if a == "RUN" else a for a in arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.fixture(scope="module")
def relpsp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("systems") / "relpsp"
    return quick_run(out, "relpsp", 40, "learning.epochs=2", "train_per_class=40", "network.channels=[32]")


@pytest.mark.slow
def test_simulated_spike_times_converge_to_the_closed_form(
    relpsp: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alade_brian.systems.relpsp.WINDOWS", {8: 40, 32: 40, 128: 40, 512: 10})
    monkeypatch.setattr("alade_brian.systems.relpsp.RATE_STEPS", (4, 16))
    assert call("systems", "relpsp", "--prove", relpsp) == 0
    assert "no neuron fired more than 1 time(s)" in capsys.readouterr().out
    found = json.loads((relpsp / "proof.json").read_text())
    for each in found["windows"]:
        for layer in each["layers"].values():
            assert -1e-4 < layer["min_error_steps"] < layer["max_error_steps"] < 1 + 1e-9
            assert layer["other_neurons"] == 0
        assert each["most_spikes"] == 1 and 0 < each["spikes_to_decision"] <= each["spikes"] <= 64 + 32 + 10
    assert found["slope"] == pytest.approx(1, abs=0.15)
    trained, finest = found["windows"][1], found["windows"][-1]
    assert trained["dt_ms"] == 10 / 32 and trained["accuracy"] > 0.5
    assert finest["class_flips"] == 0 and finest["accuracy"] == finest["accuracy_closed_form"]
    # A network of the same size that counts spikes needs several of every neuron.
    coarse, fine = found["rate_coded"]["by_steps"]
    assert fine["spikes"] > 2 * coarse["spikes"] > 2 * trained["spikes_to_decision"]
    assert fine["accuracy"] > 0.5
    assert (relpsp / "figures" / "proof.svg").is_file() and (relpsp / "figures" / "proof.png").is_file()
