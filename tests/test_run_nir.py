"""The commands on NIR files: what run_nir writes, what convert takes, and a sentence for everything bad."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from command_line import call
from networks import NUMPY, conv_net, convert, dyadic_images
from nir_interpreter import NirInterpreter
from nir_specs import assert_specs_equal

from alade_brian.conversion.nir_graphs.write import write_nir
from alade_brian.simulation import simulate
from alade_brian.spec.file import load_spec, save_spec

DT = 1e-3


def run(folder: Path, *options: object) -> int:
    files = ("net.nir", "--input", "in.npz", "--out", "out.npz")
    model, flag, shown, out, answers = files
    return call("run-nir", folder / model, flag, folder / shown, out, folder / answers, "--backend", "numpy", *options)


def answers(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "out.npz") as file:
        return dict(file)


def graph() -> nir.NIRGraph:
    """A convolution, a recurrent layer in a sub-graph, a leaky readout."""
    draw = np.random.default_rng(0)

    def lif(*shape: int) -> nir.LIF:
        return nir.LIF(np.full(shape, 5 * DT), np.full(shape, 3.0), np.zeros(shape), np.full(shape, 0.6))

    ports = {"input": nir.Input({"input": np.array([4])}), "output": nir.Output({"output": np.array([4])})}
    edges = [("input", "cells"), ("cells", "back"), ("back", "cells"), ("cells", "output")]
    layer = nir.NIRGraph({**ports, "cells": lif(4), "back": nir.Linear(draw.normal(0, 0.5, (4, 4)))}, edges)
    nodes = {
        "pixels": nir.Input({"input": np.array([1, 3, 3])}),
        "conv": nir.Conv2d((3, 3), draw.normal(0.3, 0.5, (1, 1, 2, 2)), 1, 0, 1, 1, np.full(1, 0.1)),
        "flat": nir.Flatten({"input": np.array([1, 2, 2])}, 0, -1),
        "layer": layer,
        "file": nir.LI(np.full(4, 10 * DT), np.ones(4), np.zeros(4)),
        "answer": nir.Output({"output": np.array([4])}),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)), type_check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    nir.write(tmp_path / "net.nir", graph())
    np.savez(tmp_path / "in.npz", input=np.random.default_rng(1).random((2, 12, 1, 3, 3)))
    return tmp_path


@pytest.mark.parametrize(
    ("options", "method", "dt"), [((), "exact", 1.0), (("--discretisation", "euler", "--dt", "0.5"), "euler", 0.5)]
)
def test_the_answers_are_the_interpreters(folder: Path, options: tuple, method: str, dt: float) -> None:
    assert run(folder, "--record-v", *options) == 0
    found = answers(folder)
    assert set(found) == {"layer.cells", "v:layer.cells", "v:file", "output"}
    assert {name: array.dtype.name for name, array in found.items()} == {
        "layer.cells": "bool", "v:layer.cells": "float64", "v:file": "float64", "output": "float64"
    }  # fmt: skip
    with np.load(folder / "in.npz") as file:
        shown = file["input"]
    for number, image in enumerate(shown):
        ran = NirInterpreter(graph(), dt * DT, method).run({"pixels": image})
        assert any(z.any() for z in ran.spikes["layer.cells"])
        np.testing.assert_array_equal(found["layer.cells"][number], ran.spikes["layer.cells"])
        np.testing.assert_allclose(found["v:layer.cells"][number], ran.membranes["layer.cells"], atol=1e-12)
        np.testing.assert_allclose(found["v:file"][number], ran.membranes["file"], atol=1e-12)
        np.testing.assert_allclose(found["output"][number], ran.sent["answer"], atol=1e-12)


def test_without_a_batch_axis_there_is_none_in_the_answers(folder: Path) -> None:
    with np.load(folder / "in.npz") as file:
        np.savez(folder / "in.npz", pixels=file["input"][0].astype(np.float32))
    assert run(folder) == 0
    assert {name: array.shape for name, array in answers(folder).items()} == {"layer.cells": (12, 4), "output": (12, 4)}


def test_resets_are_obeyed(folder: Path) -> None:
    assert run(folder, "--reset", "subtract", "--record-v") == 0
    found = answers(folder)
    fired = found["layer.cells"]
    assert fired.any() and np.any(found["v:layer.cells"][fired] != 0)


def test_several_inputs_and_outputs_go_by_their_names(tmp_path: Path) -> None:
    nodes = {name: nir.Input({"input": np.array([2])}) for name in ("a", "b")}
    outs = {name: nir.Output({"output": np.array([2])}) for name in ("x", "y")}
    cell = nir.IF(np.full(2, 1 / DT), np.ones(2))
    edges = [("a", "n"), ("b", "n"), ("n", "x"), ("b", "y")]
    nir.write(tmp_path / "net.nir", nir.NIRGraph({**nodes, "n": cell, **outs}, edges))
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "in.npz", a=draw.random((9, 2)), b=draw.random((9, 2)), more=np.zeros(3))
    assert run(tmp_path) == 0
    found = answers(tmp_path)
    assert set(found) == {"n", "x", "y", "output"} and found["n"].any()
    with np.load(tmp_path / "in.npz") as file:
        np.testing.assert_array_equal(found["y"], file["b"])
    np.testing.assert_array_equal(found["x"], found["n"])
    np.testing.assert_array_equal(found["output"], found["x"])


def test_a_file_of_this_program_runs_as_it_was_trained(tmp_path: Path) -> None:
    """Our own numbers, not their way through seconds: the spikes are the simulation's to the last one."""
    spec, images = convert(conv_net(), (2, 7, 6)), dyadic_images(3, 2, 7, 6)
    write_nir(spec, tmp_path / "net.nir")
    np.savez(tmp_path / "in.npz", input=np.repeat(images[:, None], spec.steps, 1))
    assert run(tmp_path) == 0
    found, expected = answers(tmp_path), simulate(spec, images, NUMPY)
    for name, raster in expected.spikes.items():
        np.testing.assert_array_equal(found[name].reshape(raster.shape), raster)
    np.testing.assert_array_equal(found["output"][:, -1] / spec.steps, expected.logits)


BAD_INPUT = {
    "other name": ({"x": np.zeros((3, 1, 3, 3))}, "holds 'x'; the graph takes 'input'"),
    "empty file": ({}, "holds nothing"),
    "shape": ({"input": np.zeros((3, 3, 3))}, "has the shape (3, 3, 3); give it (time, 1, 3, 3)"),
    "text": ({"input": np.full((3, 1, 3, 3), "a")}, "has the type <U1"),
    "complex": ({"input": np.zeros((3, 1, 3, 3), complex)}, "write real numbers"),
    "nan": ({"input": np.full((3, 1, 3, 3), np.nan)}, "not finite"),
    "no steps": ({"input": np.zeros((0, 1, 3, 3))}, "at least one step"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_a_sentence_and_leaves_no_file(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays, sentence = BAD_INPUT[case]
    np.savez(folder / "in.npz", **arrays)
    assert run(folder) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert {f.name for f in folder.iterdir()} == {"net.nir", "in.npz"}


@pytest.mark.parametrize("content", [b"", b"PK nothing", None])
def test_what_is_no_npz(content: bytes | None, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if content is None:
        np.save(folder / "one.npy", np.zeros(3))
        content = (folder / "one.npy").read_bytes()
    (folder / "in.npz").write_bytes(content)
    assert run(folder) == 2
    assert "in.npz" in capsys.readouterr().err
    (folder / "in.npz").unlink()
    assert run(folder) == 2
    assert "there is no file" in capsys.readouterr().err
    assert not (folder / "out.npz").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [(("--dt", "-1"), "positive"), (("--dt", "nan"), "positive")],
)
def test_bad_options(options: tuple, sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, *options) == 2
    assert sentence in capsys.readouterr().err
    assert not (folder / "out.npz").exists()


def test_an_answer_is_never_overwritten_and_a_bad_model_is_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out.npz").write_text("precious")
    assert run(folder) == 2
    assert "already exists" in capsys.readouterr().err and (folder / "out.npz").read_text() == "precious"
    (folder / "out.npz").unlink()
    (folder / "net.nir").write_bytes(b"no HDF5")
    assert run(folder) == 2
    error = capsys.readouterr().err
    assert "net.nir is damaged or no HDF5" in error and error.count("\n") == 1
    assert not (folder / "out.npz").exists()


def test_convert_takes_nir_and_npz(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = convert(conv_net(), (2, 7, 6))
    write_nir(spec, tmp_path / "a.nir")
    assert call("convert", tmp_path / "a.nir", "--to", tmp_path / "b.npz") == 0
    assert_specs_equal(load_spec(tmp_path / "b.npz"), spec)
    assert call("convert", tmp_path / "b.npz", "--to", tmp_path / "c.nir") == 0
    assert "a reader that ignores the metadata will not see" in capsys.readouterr().out
    assert call("convert", tmp_path / "c.nir", "--to", tmp_path / "d.py") == 0
    assert call("convert", tmp_path / "c.nir", "--table") == 0
    assert {f.name for f in tmp_path.iterdir()} == {"a.nir", "b.npz", "c.nir", "d.py", "d.npz"}


def test_convert_says_what_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("convert", folder / "net.nir", "--table") == 2
    assert "--steps" in capsys.readouterr().err
    assert call("convert", folder / "net.nir", "--steps", 5, "--dt", 0.5, "--to", folder / "x.npz") == 0
    assert load_spec(folder / "x.npz").steps == 5 and load_spec(folder / "x.npz").dt == 5e-4
    save_spec(load_spec(folder / "x.npz"), folder / "y.npz")
    assert call("convert", folder / "y.npz", "--steps", 5, "--table") == 2
    assert "steps is for a NIR graph" in capsys.readouterr().err
    assert call("convert", folder / "none.npz", "--table") == 2
