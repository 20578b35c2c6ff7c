"""`alade-brian verify`: a network in a user's file, images in another, and a sentence for everything that is not one."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from networks import dyadic_images
from torch import nn

from alade_brian import convert, verify
from alade_brian.errors import UserError
from alade_brian.runs.own_network import read_images, read_network
from alade_brian.simulation import SimulationSettings
from alade_brian.spec import constant
from alade_brian.verification.verify import Verification

OWN = """
import torch
from torch import nn
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps

torch.manual_seed(0)

def factory(width=8):
    return nn.Sequential(HoldCurrent(4), nn.Linear(6, width), LIF(4), nn.Linear(width, 3), MeanOverSteps(4))

def needy(width):
    return factory(width)

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = factory()

    def forward(self, x):
        return self.layers(x)

class Refused(Own):
    def forward(self, x):
        return torch.special.bessel_j0(self.layers(x))

model = factory()
number = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own")
    (place / "own.py").write_text(OWN)
    np.save(place / "images.npy", dyadic_images(5, 6))
    return place


@pytest.mark.parametrize("name", ["model", "factory", "Own"])
def test_a_network_of_ones_own_is_compared(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("verify", f"{folder / 'own.py'}:{name}", folder / "images.npy", "--backend", "numpy", "--first", 3) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("3 images of 4 steps, 96 entries compared, 0 mismatched; prediction agreement 1.0000")


def test_a_network_that_differs_ends_with_exit_code_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lower(model: nn.Module, images: np.ndarray, settings: SimulationSettings, **how: object) -> Verification:
        spec = convert(model, (6,))
        neuron = spec.population("2").neuron
        changed = dataclasses.replace(neuron, parameters={**neuron.parameters, "v_threshold": constant(0.25)})
        return verify(model, images, spec.replace_population("2", neuron=changed), settings)

    monkeypatch.setattr("alade_brian.commands.verify.verify", lower)
    assert call("verify", f"{folder / 'own.py'}:model", folder / "images.npy", "--backend", "numpy") == 1
    assert "first divergence: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ("own.py", "'.*own.py' names no network; write it as FILE.py:NAME"),
        ("own.py:modle", "own.py defines no 'modle'; did you mean 'model'?"),
        ("own.py:number", "own.py: 'number' is int; it needs a torch.nn.Module"),
        ("own.py:needy", "own.py: 'needy' cannot be called without arguments .*width"),
        ("other.py:model", "there is no Python file .*other.py; check the path"),
        ("bad.py:model", r"bad.py cannot be imported \(NameError: name 'x' is not defined\)"),
    ],
)
def test_what_is_no_network_is_a_sentence(network: str, says: str, folder: Path) -> None:
    (folder / "bad.py").write_text("x")
    with pytest.raises(UserError, match=says):
        read_network(str(folder / network))
    assert "own_bad" not in sys.modules


def test_a_layer_that_cannot_be_converted_is_wrong_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("verify", f"{folder / 'own.py'}:Refused", folder / "images.npy", "--backend", "numpy") == 2
    assert "bessel_j0" in capsys.readouterr().err


def test_images_are_one_array(tmp_path: Path) -> None:
    path, images = tmp_path / "x.npz", dyadic_images(2, 6)
    for arrays in ({"anything": images}, {"images": images, "labels": np.zeros(2)}):
        np.savez(path, **arrays)
        assert np.array_equal(read_images(path), images) and read_images(path).dtype == np.float64
    for arrays, says in (
        ({"a": images, "b": images}, "holds a, b; name one of its arrays 'images'"),
        ({"a": np.array(["x"])}, "it needs numbers of shape"),
        ({"a": images[:0]}, "it needs numbers of shape"),
        ({"a": np.array([[None]])}, "cannot be read as .npy or .npz"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(UserError, match=says):
            read_images(path)
    (tmp_path / "text.npy").write_text("1, 2")
    for wrong in ("text.npy", "missing.npy"):
        with pytest.raises(UserError, match="cannot be read as .npy or .npz"):
            read_images(tmp_path / wrong)
