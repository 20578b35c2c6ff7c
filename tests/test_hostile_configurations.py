"""Configurations and grids that are damaged, absurd or hostile, one refusal each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hostile import contents, ids, refused, write_config
from tiny_grid import GRID

HUGE = "1" + 30 * "0"
VALID = "not valid YAML"


def nested_aliases(levels: int, start: str = "0") -> str:
    """A list of aliases of lists of aliases: ten to the power of `levels` values in a few lines."""
    lines = [f"x0: &x0 [{','.join(10 * [start])}]"]
    lines += [f"x{n}: &x{n} [{','.join(10 * [f'*x{n - 1}'])}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


# Whole numbers that no run could use, by their keys.
COUNTS = [
    "image_size", "train_per_class", "test_per_class", "init_cls", "increment", "memory_size", "memory_per_class", "seed",
    "verify_images", "network.pool", "network.steps", "learning.epochs", "learning.batch_size", "learning.warmup",
    "learning.reset_heads", "learning.align_from", "finetuning.epochs", "first_learning.epochs", "simulation.batch",
]  # fmt: skip
OF_WRONG_KIND = [
    (f"{key}={value}", (key, "whole number")) for key in COUNTS for value in (HUGE, "[[]]", "1.5", "!!str x")
]
NUMBERS = [
    "validation", "network.width", "network.decay", "network.threshold", "learning.learning_rate", "learning.momentum",
    "learning.weight_decay", "learning.factor", "learning.temperature", "alade.temperature", "alade.per_step",
    "distillation.temperature", "distillation.weight", "dsd.initial", "dsd.growth", "dsd.credit",
]  # fmt: skip
OF_WRONG_KIND += [(f"{key}={value}", (key, "number")) for key in NUMBERS for value in (".inf", "{a: 1}", "1.0e+300")]
SETS = [
    ("learning.epochs=4000000000", "epochs is 4000000000; use at most"),
    ("network.steps=4000000000", "network.steps is 4000000000; use at most"),
    ("network.pool=2000000", "network.pool and network.strides: use at most"),
    ("network.strides=[1000000000]", "network.pool and network.strides: use at most"),
    ("network.channels=[1000000000]", "network.channels: use at most"),
    ("network.channels=[100000,100000]", ("network.channels", "the same length")),
    ("network.channels=[]", "at least 1"),
    ("image_size=2000000", "image_size is 2000000; use at most 4096"),
    ("image_size=4096", ("image_size is 4096", "GiB free")),
    ("network.width=1.0e+30", "network.width is 1e+30; use at most"),
    ("simulation=3", "'simulation' is a section"),
    ("network=3", "'network' is a section"),
    ("training=[1]", "'training' is a section"),
    ("network.neuron_options={decay: .nan}", "decay of nan"),
    ("network.neuron_options={x: {y: 1}}", "neuron_options.x"),
    ("network.neuron_options=[1]", "neuron_options"),
    ("network.neuron=Nope", "no spiking neuron 'Nope'"),
    ("network.backbone=nope", "unknown backbone 'nope'"),
    ("network.pool=100", "does not fit"),
    ("network.decay=0.99999999999999999", "network.decay is 1.0"),
    ("class_order=[0]", "class_order lacks"),
    ("class_order=[0,0,0,0,0,0,0,0,0,0]", "class_order lacks"),
    (f"class_order=[{HUGE}]", "class_order[0]"),
    ("class_order=nowhere", "unknown class_order 'nowhere'"),
    ("dataset=nope", "unknown data set 'nope'"),
    ("dataset=no_file.py:B", "no_file.py cannot be read"),
    ("method=no_file.py:B", "no_file.py cannot be read"),
    ('dataset="\\ud800"', "printable"),
    ('method="\\ud800"', "printable"),
    ('data_root="a\\0b"', "printable"),
    ('network.backbone="a\\nb"', "printable"),
    ("a.b.c=1", "unknown key 'a'"),
    ("network.=1", "unknown key 'network.'"),
    ("..=1", "unknown key ''"),
    ("=", "write it as key=value"),
    ("a", "write it as key=value"),
    ("seed=!!python/object/apply:os.system [ls]", VALID),
    ("seed=&a [*a]", VALID),
    ("network=&a {steps: *a}", VALID),
    ("seed=" + 400 * "[", VALID),
    ("seed=" + 60 * "[" + 60 * "]", VALID),
    ("seed=" + 60 * "{a: " + "1" + 60 * "}", VALID),
    ("seed=" + 5000 * "9", VALID),
    ("seed=1" + 3000 * ":59", "thousands of digits"),
    ("seed=2024-13-45", VALID),
    ("simulation.dtype=int8", "unknown dtype 'int8'"),
    ("simulation.backend=gpu", "unknown backend 'gpu'"),
    ("simulation.connectivity=x", "unknown connectivity 'x'"),
    ("simulation.passes=3", "simulation.passes is 3"),
    ("augmentation=[x]", "unknown augmentation 'x'"),
    ("augmentation=x", "augmentation is 'x'; it needs a list"),
    ("training.device=tpu", "training.device is 'tpu'"),
    ("learning.schedule=one", "schedule is 'one'"),
]


@pytest.mark.parametrize("case", [*SETS, *OF_WRONG_KIND], ids=ids)
def test_a_key_is_refused(
    case: tuple[str, str | tuple[str, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "run.yaml")
    refused(capsys, case[1], "run", "--config", config, "--set", case[0], "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


FILES = [
    ("aliases of aliases", nested_aliases(20), "aliases stand for more than"),
    ("aliases in a list of numbers", f"{nested_aliases(8)}class_order: *x7\n", "aliases stand for more than"),
    ("anchor in itself", "network: &a\n  steps: *a\n", "nested more than"),
    ("document in itself", "&a\nnetwork: *a\n", "nested more than"),
    ("lists in lists", f"seed: {400 * '['}{400 * ']'}", VALID),
    ("sections in sections", f"network: {400 * '{a: '}1{400 * '}'}", VALID),
    ("merge of many", "a: &a {x: 1}\nb: &b {<<: [*a, *a]}\n", "unknown key 'a'"),
    ("merge of text", "network: {<<: x}\n", VALID),
    ("a nul", "seed: 1\0\n", VALID),
    ("a tab", "network:\n\tsteps: 3\n", "in line 2"),
    ("a Python object", "!!python/object:os.system {}\n", "in line 1"),
    ("a list for a key", "? [a]\n: 1\n", "in line 1"),
    ("a section for a key", "? {a: 1}\n: 1\n", "in line 1"),
    ("two documents", "seed: 1\n---\nseed: 2\n", "in line 2"),
    ("an integer of 10000 digits", f"seed: {10000 * '9'}", VALID),
    ("a date", "seed: 2024-01-01\n", "seed is datetime.date"),
    ("bytes", "seed: !!binary aGVsbG8=\n", "seed is b'hello'"),
    ("a set", "seed: !!set {a}\n", "seed is {'a'}"),
    ("no timestamp", "seed: !!timestamp xx\n", VALID),
    ("no integer", "seed: !!int xx\n", VALID),
    ("no integer at all", "seed: !!int ''\n", VALID),
    ("no number", "seed: !!float xx\n", VALID),
    ("no switch", "seed: !!bool xx\n", VALID),
    ("pairs that are none", "seed: !!pairs [a]\n", VALID),
    ("no key", "~: 3\n", "unknown key 'None'"),
    ("a number for a key", "1: 3\n", "unknown key '1'"),
    ("long text", f"data_root: {5000 * 'a'}\ndataset: npz\n", "data_root is text of 5,000 characters"),
    ("a long file", "# " + 5_000_000 * "x", "at most 4,194,304"),
    ("only text", "digits", "holds no keys"),
    ("nothing", "", "holds no keys"),
]


@pytest.mark.parametrize("case", FILES, ids=ids)
@pytest.mark.parametrize("command", ["run", "train", "compare"])
def test_a_file_is_refused(
    command: str, case: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(case[1])
    named = ["--config", path] if command == "run" else [path]
    # A grid has other keys; whatever else is wrong with the text is wrong with a grid too.
    words = case[2] if command != "compare" or case[2] in (VALID, "nested more than") else ()
    sentence = refused(capsys, words, command, *named, "--out", tmp_path / "out")
    assert str(path) in sentence or "data_root" in case[1]
    assert contents(tmp_path).keys() == {"file.yaml"}


def test_of_an_encoding_a_file_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("seed: 1\n".encode("utf-16"), b"\xff\xfe\x00", bytes(range(256))):
        (tmp_path / "file.yaml").write_bytes(content)
        refused(capsys, VALID, "run", "--config", tmp_path / "file.yaml", "--out", tmp_path / "out")


PLACES: list[tuple[str, Callable[[Path], object], str]] = [
    ("pipe", lambda path: os.mkfifo(path), "is no configuration file"),
    ("folder", lambda path: path.mkdir(), "is no configuration file"),
    ("link to itself", lambda path: path.symlink_to(path), "there is no configuration file"),
    ("link to a device", lambda path: path.symlink_to("/dev/zero"), "is no configuration file"),
    ("link to nothing", lambda path: path.symlink_to("nothing"), "there is no configuration file"),
]


@pytest.mark.parametrize("case", PLACES, ids=ids)
def test_what_is_no_file_is_refused(
    case: tuple[str, Callable[[Path], object], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case[1](tmp_path / "x.yaml")
    refused(capsys, case[2], "run", "--config", tmp_path / "x.yaml", "--out", tmp_path / "out")
    refused(capsys, case[2].replace("configuration", "grid"), "compare", tmp_path / "x.yaml", "--out", tmp_path / "out")


GRIDS = [
    ("reference is a list", {"reference": ["finetune"]}, "reference"),
    ("reference is a section", {"reference": {}}, "reference"),
    ("reference is no row", {"reference": "x"}, "is not a row"),
    ("row name too long", {"rows": {300 * "a": {}}, "reference": None}, "row name"),
    ("row name of dots", {"rows": {"...": {}}, "reference": None}, "cannot be a folder"),
    ("row name a number", {"rows": {1: {}}, "reference": None}, "is not text"),
    ("row name with a line break", {"rows": {"a\nb": {}}, "reference": None}, "printable"),
    ("row is a list", {"rows": {"a": [1]}, "reference": None}, "needs keys"),
    ("rows are a list", {"rows": [1]}, "'rows' needs"),
    ("rows are missing", {"rows": None}, "'rows' needs"),
    ("rows share a folder", {"rows": {"a b": {}, "a-b": {}}, "reference": None}, "share a folder"),
    ("threads huge", {"threads": 10**9}, "'threads'"),
    ("threads text", {"threads": "2"}, "'threads'"),
    ("threads none", {"threads": 0}, "'threads'"),
    ("seeds huge", {"seeds": [10**30]}, "seed"),
    ("seeds negative", {"seeds": [-1]}, "seed is -1"),
    ("seeds repeated", {"seeds": [1, 1]}, "'seeds'"),
    ("seeds in lists", {"seeds": [[1]]}, "'seeds'"),
    ("seeds missing", {"seeds": None}, "'seeds'"),
    ("set is a list", {"set": [1]}, "needs keys"),
    ("set has a seed", {"set": {"seed": 1}}, "list seeds under 'seeds'"),
    ("base is missing", {"base": "nowhere.yaml"}, "there is no base"),
    ("base is a list", {"base": ["digits.yaml"]}, "base"),
    ("base is a folder", {"base": "."}, "base"),
    ("unknown key", {"row": {}}, "unknown key 'row'"),
    ("unknown key of a row", {"rows": {"a": {"x": 1}}, "reference": None}, "unknown key 'x'"),
    ("key of a value", {"rows": {"a": {"init_cls.x": 1}}, "reference": None}, "init_cls"),
]


@pytest.mark.parametrize("case", GRIDS, ids=ids)
def test_a_grid_is_refused(
    case: tuple[str, dict[str, object], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump({**GRID, **case[1]}, sort_keys=False))
    refused(capsys, case[2], "compare", path, "--out", tmp_path / "out")
    assert contents(tmp_path).keys() == {"grid.yaml"}
