"""Exports: the Brian2 script runs without this package and spikes as it does; the command and its refusals."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import nir
import numpy as np
import pytest
from command_line import call
from networks import NUMPY, conv_net, convert, dyadic_, dyadic_images
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import nn

from alade_brian.config.run import NetworkConfig, RunConfig
from alade_brian.conversion.to_brian2.script import script, write_script
from alade_brian.data import load_dataset
from alade_brian.learning import Learner
from alade_brian.learning.checkpoint import read_header, save_checkpoint
from alade_brian.models import LIF, FirstSpike, HoldCurrent
from alade_brian.runs.model_file import load
from alade_brian.simulation import simulate
from alade_brian.spec import DECODINGS, Decoding, NetworkSpec, SpecError
from alade_brian.spec.file import load_spec
from alade_brian.spikes.responses import Responses

PROGRAM = Path(__file__).resolve().parent.parent / "experiments" / "convert.py"
# Runs a script where neither torch nor this package can be imported.
ALONE = """
import runpy, sys
for name in ("torch", "alade_brian"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_alone(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    np.savez(path.with_name("images.npz"), images=images)
    answers = path.with_name("answers.npz")
    command = [sys.executable, "-c", ALONE, str(path), str(path.with_name("images.npz")), str(answers)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(answers) as file:
        return dict(file)


def assert_rasters(answers: dict[str, np.ndarray], expected: Responses) -> None:
    """Every spike of a script as the simulation's, and some in every layer."""
    for name, raster in expected.spikes.items():
        listed = np.zeros_like(raster)
        group = f"layer_{name}" if name[0].isdigit() else name.replace(".", "_")
        listed[answers[f"{group}_image"], answers[f"{group}_step"], answers[f"{group}_neuron"]] = True
        assert raster.any()
        np.testing.assert_array_equal(listed, raster)


def assert_equal(answers: dict[str, np.ndarray], expected: Responses) -> None:
    np.testing.assert_array_equal(answers["logits"], expected.logits)
    assert_rasters(answers, expected)


def delayed(spec: NetworkSpec) -> NetworkSpec:
    later = tuple(dataclasses.replace(p, delay=2 if p.target == "6" else 0) for p in spec.projections)
    return dataclasses.replace(spec, projections=later)


NETWORKS = {
    "plain": lambda: convert(conv_net(), (2, 7, 6)),
    "late reset by subtraction": lambda: convert(
        conv_net(LIF(4, reset="subtract", v_reset=0.5, leak="before_reset")), (2, 7, 6)
    ),
    "delays": lambda: delayed(convert(conv_net(steps=6), (2, 7, 6))),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_the_script_spikes_as_the_simulation_does(case: str, tmp_path: Path) -> None:
    spec, images = NETWORKS[case](), dyadic_images(3, 2, 7, 6)
    numbers = write_script(spec, tmp_path / "model.py")
    assert numbers == tmp_path / "model.npz"
    assert_equal(run_alone(tmp_path / "model.py", images), simulate(spec, images, NUMPY))


def test_the_script_sees_first_spikes_that_count_less_than_nothing(tmp_path: Path) -> None:
    layers = (HoldCurrent(5), nn.Linear(6, 4), LIF(5, threshold=0.25, amplitude=-2.0), FirstSpike(5))
    spec, images = convert(dyadic_(nn.Sequential(*layers)), (6,)), dyadic_images(8, 6)
    expected = simulate(spec, images, NUMPY)
    assert {-5.0, -1.0} < set(expected.logits.ravel())
    write_script(spec, tmp_path / "model.py")
    assert_equal(run_alone(tmp_path / "model.py", images), expected)


class TwoLines(Decoding):
    reads = "membrane"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        last = values[:, -1]
        return last / steps


class NotAlone(Decoding):
    reads = "membrane"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        return dyadic_images(*values.shape)


Sourceless = type(
    "Sourceless", (Decoding,), {"reads": "membrane", "logits": eval("lambda values, steps: values[:, 0]")}
)


@pytest.mark.parametrize(
    ("decoding", "words"),
    [(TwoLines, "no single `return`"), (NotAlone, "uses dyadic_images"), (Sourceless, "source text is not found")],
)
def test_a_decoding_that_no_script_can_say_is_refused(decoding: type[Decoding], words: str, tmp_path: Path) -> None:
    spec = convert(conv_net(), (2, 7, 6))
    DECODINGS.register("own")(decoding)
    try:
        own = dataclasses.replace(spec, readout=dataclasses.replace(spec.readout, decoding="own"))
        with pytest.raises(SpecError, match=words):
            write_script(own, tmp_path / "model.py")
        assert not list(tmp_path.iterdir())
        # One that is registered and not used is in nobody's way.
        assert script(spec)
    finally:
        DECODINGS.remove("own")


def test_the_script_says_its_conventions() -> None:
    text = script(convert(conv_net(LIF(4, comparison=">=", reset="subtract", v_reset=1.0)), (2, 7, 6)))
    assert "Fires where v >= v_threshold; reset by subtraction of v_reset" in text
    assert "dv/dt = -v/tau : 1" in text and "network.schedule" in text and "alade_brian" not in text
    assert max(map(len, text.splitlines())) <= 140


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RunConfig(network=NetworkConfig(channels=(3, 4), strides=(2, 1), pool=2, steps=3))
    learner = Learner(config, (1, 8, 8))
    for _ in range(2):
        learner.network.add_extractor(inherit=False)
    learner.network.set_classifier(4)
    path = tmp_path_factory.mktemp("checkpoints") / "task-02.safetensors"
    save_checkpoint(path, learner.network, config, {"image_shape": [1, 8, 8]})
    return path


def run(*arguments: object) -> int:
    return call("convert", *arguments)


def test_the_table_is_printed(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(checkpoint, "--table") == 0
    out = capsys.readouterr().out
    assert "extractors.1.stages.1.lif" in out and "faithful" in out and "total" in out


def test_every_ending_is_written(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("model.nir", "script.py", "model.npz"):
        assert run(checkpoint, "--to", tmp_path / name) == 0
    assert len(nir.read(tmp_path / "model.nir").nodes) > 5
    assert load_spec(tmp_path / "model.npz").steps == 3
    assert {f.name for f in tmp_path.iterdir()} == {"model.nir", "script.py", "script.npz", "model.npz"}
    answers = run_alone(tmp_path / "script.py", dyadic_images(2, 1, 8, 8))
    assert answers["logits"].shape == (2, 4)


NAMES = ('"""', "{0} {images}", "\\", "a\nprint('no')", *"456789")


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as a run writes it."""
    config = RunConfig(network=NetworkConfig(channels=(3,), strides=(2,), pool=2, steps=3))
    learner, digits = Learner(config, (1, 8, 8)), load_dataset("digits")
    learner.network.add_extractor()
    learner.network.set_classifier(10)
    how = {"scale": digits.scale, "mean": digits.mean.tolist(), "std": digits.std.tolist()}
    path = tmp_path_factory.mktemp("digits") / "task-01.safetensors"
    header = {"image_shape": [1, 8, 8], "class_names": NAMES, "normalisation": how}
    save_checkpoint(path, learner.network, config, header)
    return path


def test_the_script_can_be_imported_names_classes_and_takes_raw_images(
    of_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(of_digits, "--to", tmp_path / "model.py") == 0
    monkeypatch.setattr(sys, "argv", ["notebook"])
    where = importlib.util.spec_from_file_location("exported", tmp_path / "model.py")
    assert where is not None and where.loader is not None
    model = importlib.util.module_from_spec(where)
    where.loader.exec_module(model)
    digits, shown = load_dataset("digits"), slice(0, 3)
    raw = load_digits().images[:, None][np.isin(np.arange(1797), places_of_test_images())][shown]
    np.testing.assert_array_equal(model.normalise(raw), digits.test_images[shown])
    expected = simulate(load(of_digits), digits.test_images[shown], NUMPY)
    for _ in range(2):
        assert_equal(model.run(model.normalise(raw)), expected)
    assert tuple(model.CLASS_NAMES) == NAMES and len(model.build(digits.test_images[shown])) == 3
    np.savez(tmp_path / "raw.npz", images=raw)
    command = [sys.executable, "model.py", "--raw", "raw.npz", "answers.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"predictions: {[NAMES[k] for k in expected.logits.argmax(-1)]}\n"
    with np.load(tmp_path / "answers.npz") as answers:
        assert_equal(dict(answers), expected)


def places_of_test_images() -> list[int]:
    """Where the test images lie in scikit-learn's file: every fifth of a class."""
    labels = load_digits().target
    return [int(place) for label in range(10) for place in np.flatnonzero(labels == label)[4::5]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"normalisation": {"scale": 1, "mean": ["__import__('os')"], "std": [1]}}, "normalisation"),
        ({"normalisation": {"scale": 1, "mean": [0, 0], "std": [1, 1]}}, "normalisation"),
        ({"normalisation": None}, "normalisation"),
        ({"class_names": ["one"]}, "1 class names, and the network has 10 outputs"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(
    of_digits: Path, tmp_path: Path, changes: dict, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.safetensors"
    save_file(load_file(of_digits), wrong, {"alade_brian": json.dumps(read_header(of_digits) | changes)})
    assert run(wrong, "--to", tmp_path / "model.py") == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "model.py").exists()


@pytest.mark.parametrize("name", ["model.onnx", "model"])
def test_an_unknown_ending_is_a_sentence(
    checkpoint: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint, "--to", tmp_path / name) == 2
    assert ".nir, .py, .npz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.npz").write_text("precious")
    assert run(checkpoint, "--to", tmp_path / "model.py") == 2
    assert "already exists" in capsys.readouterr().err
    assert (tmp_path / "model.npz").read_text() == "precious" and not (tmp_path / "model.py").exists()


def test_a_bad_checkpoint_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    assert run(tmp_path / "broken.safetensors", "--table") == 2
    error = capsys.readouterr().err
    assert "broken.safetensors" in error and error.count("\n") == 1
