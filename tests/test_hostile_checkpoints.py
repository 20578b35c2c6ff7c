"""Checkpoints that are damaged or lie about what they hold."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import contents, finished_run, ids, refused
from safetensors import safe_open
from safetensors.torch import load_file, save_file

HUGE = 10**30
# Keys of the header, the values in their place, and words of the refusal.
CASES: list[tuple[str, Any, str]] = [
    (key, value, "damaged")
    for key in ("extractors", "outputs", "task", "architecture.extractors", "architecture.outputs")
    for value in ("2", 1.5, [2], {}, HUGE)
]
CASES += [("architecture.extractors", value, "another architecture") for value in (-1, 0, 1, 3, 10**9)]
CASES += [("architecture.outputs", value, "rchitecture") for value in (-1, 0, 9, 10**12)]
CASES += [
    (f"architecture.backbone.{key}", value, "damaged")
    for key in (
        "steps",
        "channels",
        "strides",
        "pool",
        "width",
        "decay",
        "threshold",
        "neuron",
        "surrogate",
        "sequence",
    )
    for value in ([None], {"a": 1}, HUGE if key not in ("width", "decay", "threshold") else "x")
]
CASES += [
    ("architecture.backbone.steps", 0, "steps is 0"),
    ("architecture.backbone.steps", 10**9, "steps is 1000000000"),
    ("architecture.backbone.channels", [10**9], "rchitecture"),
    ("architecture.backbone.channels", [-1], "rchitecture"),
    ("architecture.backbone.channels", [], "rchitecture"),
    ("architecture.backbone.channels", 1000 * [4], "rchitecture"),
    ("architecture.backbone.strides", [0], "rchitecture"),
    ("architecture.backbone.pool", 0, "rchitecture"),
    ("architecture.backbone.pool", 10**9, "rchitecture"),
    ("architecture.backbone.decay", -1, "rchitecture"),
    ("architecture.backbone.neuron", "Nope", "no spiking neuron 'Nope'"),
    ("architecture.backbone.neuron_options", {"x": 1}, "takes no 'x'"),
    ("architecture.backbone.backbone", "nope", "unknown backbone"),
    ("architecture.backbone.backbone", "nowhere.py:B", "cannot be read"),
    ("architecture.backbone.norm", "x", "rchitecture"),
    ("architecture.backbone.surrogate", "x", "rchitecture"),
    ("architecture.backbone.image_shape", [1], "rchitecture"),
    ("architecture.backbone.image_shape", [3, 8, 8], "rchitecture"),
    ("architecture.backbone.unknown", 1, "rchitecture"),
    ("architecture.backbone", None, "damaged"),
    ("architecture.name", "nope", "no architecture 'nope'"),
    ("architecture.name", "dense", "rchitecture"),
    ("architecture", None, "damaged"),
    ("architecture", "expandable", "damaged"),
    ("architecture", {}, "damaged"),
    ("image_shape", None, "damaged"),
    ("image_shape", "188", "damaged"),
    ("image_shape", [1, 8, "8"], "damaged"),
    ("image_shape", [1, -8, 8], "damaged"),
    ("image_shape", [1, 8, 10**9], "damaged"),
    ("format", 2, "has format 2"),
    ("format", None, "has format None"),
    ("format", [1], "has format [1]"),
    ("class_names", [1], "damaged"),
    ("class_names", "abc", "damaged"),
    ("classes", ["a"], "damaged"),
    ("sequence", "yes", "damaged"),
]
# What a command that shows the images of the run needs beside the network.
OF_A_RUN: list[tuple[str, Any, str]] = [
    ("task", 0, "is of task 0"),
    ("task", 3, "is of task 3"),
    ("task", -1, "is of task -1"),
    ("task", ..., "not of a run"),
    ("config", ..., "not of a run"),
    ("dataset", ..., "not of a run"),
    ("method", ..., "not of a run"),
    ("config", None, "damaged"),
    ("config", [1], "damaged"),
    ("config.dataset", "nope", "unknown data set"),
    ("config.dataset", "fashion-mnist", ""),
    ("config.seed", "x", "seed is 'x'"),
    ("config.class_order", [0], "class_order lacks"),
    ("config.init_cls", HUGE, "init_cls"),
    ("config.image_size", 10**6, "image_size is 1000000"),
    ("config.image_size", 16, "takes images of"),
    ("config.unknown", 1, "unknown key"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs") / "run") / "checkpoints" / "task-02.safetensors"


def with_header(checkpoint: Path, path: Path, header: str) -> Path:
    save_file(load_file(checkpoint), path, {"alade_brian": header})
    return path


def changed(checkpoint: Path, path: Path, key: str, value: Any) -> Path:
    """A checkpoint with another value at a dotted key of its header, or without the key."""
    with safe_open(checkpoint, framework="pt") as file:
        header = json.loads(file.metadata()["alade_brian"])
    *outer, last = key.split(".")
    inner = header
    for section in outer:
        inner = inner[section]
    if value is ...:
        del inner[last]
    else:
        inner[last] = copy.deepcopy(value)
    return with_header(checkpoint, path, json.dumps(header))


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_a_header_is_refused(
    case: tuple[str, Any, str], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(checkpoint, tmp_path / "x.safetensors", case[0], case[1])
    sentence = refused(capsys, case[2], "convert", path, "--table")
    assert str(path) in sentence or case[1] in ("nope", "nowhere.py:B")


@pytest.mark.parametrize("case", OF_A_RUN, ids=ids)
def test_a_header_that_names_no_run_of_this_network_is_refused(
    case: tuple[str, Any, str], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(checkpoint, tmp_path / "x.safetensors", case[0], case[1])
    common = ["--backend", "numpy", "--out", tmp_path / "out"]
    refused(capsys, case[2], "perturb", path, "--perturb", "delay", *common)
    refused(capsys, case[2], "trace", path, "--layer", "all", *common)
    assert contents(tmp_path).keys() == {"x.safetensors"}


HEADERS = [
    ("no JSON", "{"),
    ("a list", "[]"),
    ("text", '"x"'),
    ("lists in lists", 100_000 * "["),
    ("a number that is none", '{"format": NaN}'),
    ("a number beyond all", '{"format": 1e999}'),
    ("digits", '{"format": ' + 5000 * "9" + "}"),
    ("nothing", ""),
]


@pytest.mark.parametrize("case", HEADERS, ids=ids)
def test_a_header_that_is_none_is_refused(
    case: tuple[str, str], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = with_header(checkpoint, tmp_path / "x.safetensors", case[1])
    refused(capsys, (str(path), "damaged"), "convert", path, "--table")


FILES: list[tuple[str, Callable[[Path, bytes], object], str]] = [
    ("cut off", lambda path, whole: path.write_bytes(whole[:-100]), "damaged"),
    ("cut off in the header", lambda path, whole: path.write_bytes(whole[:20]), "damaged"),
    ("empty", lambda path, whole: path.write_bytes(b""), "damaged"),
    ("a huge header", lambda path, whole: path.write_bytes(b"\xff" * 8 + whole[8:]), "damaged"),
    ("something behind", lambda path, whole: path.write_bytes(whole + b"x"), "damaged"),
    ("a pickle", lambda path, whole: torch.save({"a": torch.zeros(1)}, path), "damaged"),
    ("other tensors", lambda path, whole: save_file({"a": torch.zeros(1)}, path), "no checkpoint of this program"),
    ("a pipe", lambda path, whole: os.mkfifo(path), "pipe or a device"),
    ("a folder", lambda path, whole: path.mkdir(), "folder"),
    ("a device", lambda path, whole: path.symlink_to("/dev/zero"), "pipe or a device"),
    ("a link to itself", lambda path, whole: path.symlink_to(path), "x.safetensors"),
    ("nothing", lambda path, whole: None, "there is no checkpoint"),
]


@pytest.mark.parametrize("case", FILES, ids=ids)
def test_a_file_that_is_no_checkpoint_is_refused(
    case: tuple[str, Callable[[Path, bytes], object], str],
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "x.safetensors"
    case[1](path, checkpoint.read_bytes())
    refused(capsys, (str(path), case[2]), "convert", path, "--to", tmp_path / "x.nir")
    refused(capsys, case[2], "perturb", path, "--perturb", "delay", "--out", tmp_path / "out")
    assert not (tmp_path / "x.nir").exists() and not (tmp_path / "out").exists()
