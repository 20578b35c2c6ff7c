"""The systems by command: their quick configurations learn and agree, and what their rules rest on is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--prove", "RUN"], "--prove measures one system; name one of dsr"),
        (["alade", "--prove", "RUN"], "--prove measures one system; name one of dsr"),
        (["dsr", "--prove", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_proved_is_refused(
    dsr: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("systems", *[dsr if a == "RUN" else a for a in arguments]) == 2
    assert sentence in capsys.readouterr().err
