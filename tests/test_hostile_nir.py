"""NIR files, specifications and their inputs that are damaged or hostile."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from hostile import contents, ids, limited, refused
from small_specs import through
from test_nir_links import graph

from alade_brian.spec import Dense, SpecError
from alade_brian.spec.file import FORMAT, load_spec, save_spec


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nir.write(tmp_path / "x.nir", graph())
    return tmp_path / "x.nir"


def replaced(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        if value is not ...:
            file[name] = value

    return change


def sparse(file: h5py.File) -> None:
    """An array of 8 TB of which nothing is stored."""
    del file["node/nodes/n/tau"]
    file.create_dataset("node/nodes/n/tau", (10**12,), "f8", chunks=(1024,))


def packed(file: h5py.File) -> None:
    """Chunks of zeros, packed, most of them never written."""
    del file["node/nodes/n/tau"]
    found = file.create_dataset("node/nodes/n/tau", (10**9,), "f8", chunks=(10**6,), compression="gzip")
    found[: 10**6] = 0


def deep(file: h5py.File) -> None:
    group = file["node"].create_group("metadata") if "metadata" not in file["node"] else file["node/metadata"]
    for _ in range(300):
        group = group.create_group("a")


def delayed(seconds: object, shape: int = 3) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        nodes = file["node/nodes"]
        group = nodes.create_group("d")
        group["type"], group["delay"] = "Delay", np.asarray(seconds)
        del file["node/edges"]
        pairs = [("input", "d"), ("d", "n"), ("n", "output")]
        file["node/edges"] = np.array(pairs, dtype=h5py.string_dtype())

    return change


N = "node/nodes/n"
FILES: list[tuple[str, Callable[[h5py.File], object], str]] = [
    ("no nodes", replaced("node/nodes", ...), "nodes"),
    ("nodes are a list", replaced("node/nodes", np.zeros(3)), "nodes"),
    ("nodes are text", replaced("node/nodes", "x"), "nodes"),
    ("no node", replaced("node", ...), "no group 'node'"),
    ("the node is a number", replaced("node", 3.0), "no group 'node'"),
    ("no version", replaced("version", ...), "says no NIR version"),
    ("a version of numbers", replaced("version", np.zeros(3)), "NIR version"),
    ("a version to come", replaced("version", "9.0"), "NIR version"),
    ("no type", replaced(f"{N}/type", ...), "type"),
    ("an unknown type", replaced(f"{N}/type", "Nope"), "'Nope'"),
    ("a type of numbers", replaced(f"{N}/type", np.zeros(2)), "type"),
    ("a type that is no text", replaced(f"{N}/type", np.bytes_(b"\xff")), "damaged or no HDF5"),
    ("edges of three", replaced("node/edges", np.zeros((2, 3))), "edges"),
    ("edges of numbers", replaced("node/edges", np.zeros((2, 2))), "edge"),
    ("edges are text", replaced("node/edges", "x"), "edges"),
    ("no tau", replaced(f"{N}/tau", ...), "tau"),
    ("tau is text", replaced(f"{N}/tau", "x"), "tau"),
    ("tau is nan", replaced(f"{N}/tau", np.full(3, np.nan)), "tau"),
    ("tau is infinite", replaced(f"{N}/tau", np.full(3, np.inf)), "tau"),
    ("tau is 0", replaced(f"{N}/tau", np.zeros(3)), "tau"),
    ("tau is negative", replaced(f"{N}/tau", -np.ones(3)), "tau"),
    ("tau is complex", replaced(f"{N}/tau", np.ones(3, complex)), "tau"),
    ("tau of another shape", replaced(f"{N}/tau", np.ones(4)), "LIF cannot be made"),
    ("tau is empty", replaced(f"{N}/tau", np.ones(0)), "LIF cannot be made"),
    ("threshold is nan", replaced(f"{N}/v_threshold", np.full(3, np.nan)), "v_threshold"),
    ("r is infinite", replaced(f"{N}/r", np.full(3, np.inf)), "r = inf"),
    ("input of a huge shape", replaced("node/nodes/input/shape", np.array([10**12])), "node 'input': shape"),
    ("input of a negative shape", replaced("node/nodes/input/shape", np.array([-3])), "node 'input': shape"),
    ("input of no shape", replaced("node/nodes/input/shape", np.zeros(0)), "node 'input': shape"),
    ("input of many axes", replaced("node/nodes/input/shape", np.full(40, 10)), "node 'input': shape"),
    ("input of half a pixel", replaced("node/nodes/input/shape", np.array([1.5])), "node 'input': shape"),
    ("an array that is not there", sparse, "not in the file"),
    ("an array that is mostly not there", packed, "not in the file"),
    ("groups in groups", deep, "deep"),
    ("a delay of ages", delayed(np.full(3, 1e300)), "delay"),
    ("a delay of years", delayed(np.full(3, 1e9)), "delay"),
    ("an infinite delay", delayed(np.full(3, np.inf)), "delay"),
    ("a delay that is none", delayed(np.full(3, np.nan)), "delay"),
    ("a negative delay", delayed(np.full(3, -1.0)), "delay"),
    ("one delay of years", delayed(np.array([0, 0, 1e6])), "delay"),
]


@pytest.mark.parametrize("case", FILES, ids=ids)
def test_a_graph_is_refused(
    case: tuple[str, Callable[[h5py.File], object], str],
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with h5py.File(model, "r+") as file:
        case[1](file)
    np.savez(tmp_path / "input.npz", input=np.ones((4, 3)))
    refused(capsys, case[2], "convert", model, "--steps", 4, "--to", tmp_path / "x.npz")
    run = ["--input", tmp_path / "input.npz", "--out", tmp_path / "out.npz", "--backend", "numpy"]
    refused(capsys, case[2], "run-nir", model, *run)
    assert contents(tmp_path).keys() == {"x.nir", "input.npz"}


PLACES: list[tuple[str, Callable[[Path, bytes], object], str]] = [
    ("cut off", lambda path, whole: path.write_bytes(whole[: len(whole) // 2]), "damaged"),
    ("empty", lambda path, whole: path.write_bytes(b""), "damaged"),
    ("text", lambda path, whole: path.write_text("x"), "damaged"),
    ("noise in the middle", lambda path, whole: path.write_bytes(whole[:1000] + 500 * b"\xff" + whole[1500:]), ""),
    ("an archive", lambda path, whole: zipfile.ZipFile(path, "w").writestr("a", "b"), "damaged"),
    ("a pipe", lambda path, whole: os.mkfifo(path), "x.nir"),
    ("a folder", lambda path, whole: path.mkdir(), "x.nir"),
    ("a device", lambda path, whole: path.symlink_to("/dev/zero"), "x.nir"),
    ("nothing", lambda path, whole: None, "there is no file"),
]


@pytest.mark.parametrize("case", PLACES, ids=ids)
def test_what_is_no_graph_is_refused(
    case: tuple[str, Callable[[Path, bytes], object], str], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = model.read_bytes()
    model.unlink()
    case[1](model, whole)
    refused(capsys, case[2], "convert", model, "--steps", 4, "--table")


INPUTS: list[tuple[str, Any, str]] = [
    ("nan", np.full((4, 3), np.nan), "not finite"),
    ("text", np.full((4, 3), "x"), "real numbers"),
    ("complex", np.ones((4, 3), complex), "real numbers"),
    ("another shape", np.ones((4, 5)), "has the shape"),
    ("no steps", np.ones((0, 3)), "empty"),
    ("one number", np.float64(1), "has the shape"),
    ("many axes", np.ones((1, 1, 1, 4, 3)), "has the shape"),
    ("objects", np.array([[None]]), "objects"),
    ("records", np.ones(3, [("a", "f8")]), "records"),
]


@pytest.mark.parametrize("case", INPUTS, ids=ids)
def test_an_input_is_refused(
    case: tuple[str, Any, str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "input.npz", input=case[1])
    run = ["--input", tmp_path / "input.npz", "--out", tmp_path / "out.npz", "--backend", "numpy"]
    refused(capsys, ("input.npz", case[2]), "run-nir", model, *run)
    assert not (tmp_path / "out.npz").exists()


OPTIONS = [
    ("--dt", "0"), ("--dt", "-1"), ("--dt", "nan"), ("--dt", "inf"), ("--dt", "1e-300"), ("--dt", "1e300"), ("--dt", "x"),
    ("--steps", "0"), ("--steps", "-1"), ("--steps", "1000000000000"), ("--steps", "1.5"), ("--reset", "x"),
    ("--to", "x.txt"), ("--to", "/dev/null/x.npz"), ("--to", "/proc/x.npz"), ("--discretisation", "x"),
]  # fmt: skip


@pytest.mark.parametrize("case", OPTIONS, ids=" ".join)
def test_an_option_of_a_graph_is_refused(
    case: tuple[str, str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--steps": "4", "--to": str(tmp_path / "x.npz")} | {case[0]: case[1]}
    refused(capsys, (), "convert", model, *(text for pair in given.items() for text in pair))
    assert contents(tmp_path).keys() == {"x.nir"}


# Specifications


def header(shape: str, dtype: str = "<f8") -> bytes:
    """The header of an `.npy` file that announces anything."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


MEMBERS: list[tuple[str, bytes | str, str]] = [
    ("8 TB", header("(1000000000000,)"), "announces"),
    ("more than all", header("(10**30,)"), "no array"),
    ("more than 64 bits", header(f"({10**30},)"), "announces"),
    ("a negative size", header("(-3,)"), "announces"),
    ("an object", header("(1,)", "|O"), "objects"),
    ("a type that is none", header("(1,)", "xx"), "no array"),
    ("code for a shape", header("(__import__('os').getpid(),)"), "no array"),
    ("no header", b"x", "no array"),
    ("too much behind", header("(1,)") + bytes(16), "announces"),
]


@pytest.mark.parametrize("case", MEMBERS, ids=ids)
def test_an_array_that_lies_is_refused(
    case: tuple[str, bytes, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "x.npz"
    save_spec(through(Dense(np.eye(2)), (2,), (2,)), spec)
    with zipfile.ZipFile(spec, "a") as archive:
        archive.writestr("wrong.npy", case[1])
    refused(capsys, (str(spec), case[2]), "convert", spec, "--table")
    np.savez(tmp_path / "input.npz", input=np.ones((4, 2)))
    (tmp_path / "images.npy").write_bytes(case[1])
    (tmp_path / "network.py").write_text("from torch import nn\nnetwork = nn.Linear(2, 2)\n")
    refused(capsys, "images.npy", "verify", f"{tmp_path}/network.py:network", tmp_path / "images.npy")


DESCRIPTIONS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("a list", lambda found: []),
    ("no format", lambda found: found.pop("format")),
    ("format a list", lambda found: found.update(format=[])),
    ("no network", lambda found: found.pop("network")),
    ("network a number", lambda found: found.update(network=3)),
    ("an unknown class", lambda found: found["network"].update({"class": "os.system"})),
    ("no fields", lambda found: found["network"].update(fields={})),
    ("an unknown field", lambda found: found["network"]["fields"].update(x=1)),
    ("populations a number", lambda found: found["network"]["fields"].update(populations=3)),
    ("steps text", lambda found: found["network"]["fields"].update(steps="x")),
    ("steps negative", lambda found: found["network"]["fields"].update(steps=-1)),
    ("an array that is not there", lambda found: found["network"]["fields"].update(steps={"array": "nope"})),
    ("an array of a list", lambda found: found["network"]["fields"].update(steps={"array": []})),
]


@pytest.mark.parametrize("case", DESCRIPTIONS, ids=ids)
def test_a_description_is_refused(
    case: tuple[str, Callable[[dict[str, Any]], Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "x.npz"
    save_spec(through(Dense(np.eye(2)), (2,), (2,)), spec)
    with np.load(spec) as file:
        arrays = dict(file)
    found = json.loads(str(arrays["description"]))
    changed = case[1](found)
    arrays["description"] = np.array(json.dumps(found if changed != [] else []))
    np.savez(spec, **arrays)
    refused(capsys, str(spec), "convert", spec, "--table")


def test_a_description_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    for text in (100_000 * "[", '{"format": 3, "network": ' + 900 * '{"tuple": [' + 900 * "]}" + "}", "x"):
        np.savez(tmp_path / "x.npz", description=np.array(text))
        with limited(), pytest.raises(SpecError, match="damaged"):
            load_spec(tmp_path / "x.npz")


def test_a_member_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez_compressed(tmp_path / "x.npz", description=np.zeros(10**6))
    monkeypatch.setattr("alade_brian.numpy_files.available_bytes", lambda: 10**6)
    refused(capsys, "has 1,000,000 free", "convert", tmp_path / "x.npz", "--table")


def test_a_file_of_a_short_name_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name stands in every sentence, as a part of some word."""
    monkeypatch.chdir(tmp_path)
    with open("n", "wb") as file:
        np.savez(file, description=np.array(json.dumps({"format": FORMAT, "network": 3})))
    with pytest.raises(SpecError, match="^n is damaged or no network specification .it describes no network.: write"):
        load_spec(Path("n"))
