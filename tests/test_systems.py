"""The systems by command: their quick configurations learn and agree, and what their rules rest on is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import call

from alade_brian.config.shipped import shipped_files
from alade_brian.systems import SYSTEMS

TRAINED = [system.name for system in SYSTEMS if system.command.startswith("alade-brian train")]


def test_every_trained_system_ships_its_configurations_and_page() -> None:
    docs = Path(__file__).resolve().parent.parent / "docs" / "systems"
    for name in TRAINED:
        assert {name, f"{name}-quick", f"{name}-paper"} <= set(shipped_files("configs"))
        assert (docs / f"{name}.md").is_file()


@pytest.fixture(scope="module")
def dsr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("systems") / "dsr"
    quick = ["--set", "learning.epochs=2", "--set", "train_per_class=40", "--set", "network.steps=6"]
    assert call("train", "dsr-quick", "--verify-images", 20, "--backend", "numpy", *quick, "--out", out) == 0
    return out


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
    assert (dsr / "figures" / "proof.svg").is_file() and (dsr / "figures" / "proof.png").is_file()


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--prove", "RUN"], "--prove measures one system; name one of dsr, relpsp"),
        (["alade", "--prove", "RUN"], "--prove measures one system; name one of dsr, relpsp"),
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
    quick = ["--set", "learning.epochs=2", "--set", "train_per_class=40", "--set", "network.channels=[32]"]
    assert call("train", "relpsp-quick", "--verify-images", 40, "--backend", "numpy", *quick, "--out", out) == 0
    return out


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
