"""Parts from a file outside the package: found by path, refused in a sentence, and known by their content."""

from __future__ import annotations

from pathlib import Path

import pytest

from alade_brian import plugins
from alade_brian.config.run import config_from
from alade_brian.data import load_dataset
from alade_brian.errors import UserError
from alade_brian.learning import method_class
from alade_brian.models import make_backbone
from alade_brian.perturbations import perturbation
from alade_brian.runs.folder import RunFolder

FILE = """
from dataclasses import replace

import numpy as np
from alade_brian.data import make_dataset
from alade_brian.learning.incremental.methods.finetune import Finetune
from alade_brian.models import ConvBackbone
from alade_brian.perturbations import SpecPerturbation

CALLS = []


class Gentle(Finetune):
    pass


def stripes(source):
    CALLS.append(source)
    images = np.arange(32.0).reshape(8, 1, 2, 2)
    return make_dataset("stripes", (images, np.arange(8) % 2), (images, np.arange(8) % 2), ("even", "odd"))


def tiny(settings):
    return ConvBackbone(replace(settings, channels=(2,), strides=(1,), pool=2))


class Nothing(SpecPerturbation):
    name = "nothing"

    def changed(self, spec, strength, seed):
        return spec


class Nameless(Nothing):
    name = ""
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_each_kind_is_found_in_a_file(file: Path) -> None:
    assert method_class(f"{file}:Gentle").__name__ == "Gentle"
    assert load_dataset(f"{file}:stripes").class_names == ("even", "odd")
    assert make_backbone(f"{file}:tiny", (1, 4, 4), steps=3).width == 2 * 2 * 2
    assert perturbation(f"{file}:Nothing").label == "nothing"


def test_a_file_is_run_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = method_class(f"{file}:Gentle")
    monkeypatch.chdir(file.parent)
    assert method_class("own.py:Gentle") is first
    load_dataset("own.py:stripes", data_root=Path("there"))
    (source,) = plugins.load(f"{file}:stripes", "data set").__globals__["CALLS"]
    assert source.data_root == Path("there")


def test_what_is_missing_or_wrong_is_one_sentence(file: Path) -> None:
    for name, says in (
        (f"{file.parent}/other.py:Gentle", r"plug-in .*other\.py cannot be read .*check its path"),
        (f"{file}:Rough", r"own\.py has no 'Rough' for a method; it holds Gentle, stripes, tiny, Nothing, Nameless"),
        (f"{file}:stripes", r"'stripes' in .*own\.py is no method; derive a class from .*\.Method"),
    ):
        with pytest.raises(UserError, match=says):
            method_class(name)
    with pytest.raises(UserError, match="'CALLS' in .* is no data set; give the name of a class or function"):
        load_dataset(f"{file}:CALLS")
    with pytest.raises(UserError, match="has no name to file its results under"):
        perturbation(f"{file}:Nameless")
    file.write_text("1 / 0", encoding="utf-8")
    for _ in range(2):  # the second time too: a broken file leaves nothing behind
        with pytest.raises(UserError, match=r"own\.py cannot be run \(ZeroDivisionError"):
            method_class(f"{file}:Gentle")


def test_another_content_is_another_result(file: Path) -> None:
    before = perturbation(f"{file}:Nothing")
    assert before.key.startswith("nothing@") and perturbation(f"{file}:Nothing").key == before.key
    file.write_text(FILE.replace("return spec", "return spec  # changed"), encoding="utf-8")
    after = perturbation(f"{file}:Nothing")
    assert after.key != before.key and type(after) is not type(before)
    assert perturbation("delay").key == "delay"


def test_a_run_finds_its_files_again_and_refuses_changed_ones(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    mapping = {"method": "own.py:Gentle", "network": {"backbone": "own.py:tiny"}}
    config = config_from(mapping, "test")
    assert config.method == f"{file}:Gentle" and config.network.backbone == f"{file}:tiny"
    assert config.dataset == "digits" and plugins.short_name(config.method) == "Gentle"
    folder = RunFolder(file.parent / "run")
    folder.begin(config)
    monkeypatch.chdir("/")
    folder.check_same(config_from(folder.stored_config(), "test"))
    file.write_text(f"{FILE}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"own\.py:Gentle.*has changed since the run in .*; restore the file"):
        folder.check_same(config)
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        folder.check_same(config)


def test_names_that_are_no_files_stay_as_they_are() -> None:
    for name in ("alade", "tonic:NMNIST", "x.py", "x.py:", "x.py:a b"):
        assert not plugins.is_plugin(name) and plugins.absolute(name) == plugins.short_name(name) == name
    assert plugins.is_plugin("a/b.py:Name") and plugins.is_plugin("C:/a.py:Name")
    assert plugins.digests(["alade", "npz"]) == {}
