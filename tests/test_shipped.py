"""Configurations and grids by their names, and what is offered where there is no such file."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import call

from alade_brian.commands.run_cil import configuration, parser
from alade_brian.config.run import config_from, read_mapping
from alade_brian.config.shipped import find_file, shipped_files
from alade_brian.errors import UserError
from alade_brian.studies.comparison.grid import read_grid

ROOT = Path(__file__).resolve().parent.parent / "experiments"


@pytest.mark.parametrize("kind", ["configs", "grids"])
def test_every_file_has_its_name(kind: str) -> None:
    files = sorted((ROOT / kind).glob("*.yaml"))
    assert files and [path.samefile(file) for path, file in zip(shipped_files(kind).values(), files, strict=True)]
    for file in files:
        assert find_file(file.stem, kind).samefile(file) and find_file(file, kind) == file


def test_a_file_of_the_user_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").write_text("seed: 5")
    assert configuration(parser().parse_args(["--config", "digits"]))[1].seed == 5
    # Only where it is asked for.
    name, config = configuration(parser().parse_args([]))
    assert (name, config) == ("digits", config_from(read_mapping(ROOT / "configs" / "digits.yaml"), "digits"))


def test_a_shipped_configuration_is_run_by_its_name() -> None:
    name, config = configuration(parser().parse_args(["--config", "fashion-mnist"]))
    assert name == "fashion-mnist" and config.dataset == "fashion-mnist"


@pytest.mark.parametrize("name", shipped_files("grids"))
def test_a_shipped_grid_finds_its_configurations(name: str) -> None:
    assert read_grid(find_file(name, "grids")).name == name


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        (
            "experiments/configs/digits.yml",
            "configs",
            "no configuration file .*digits.yml; .*--config .*'digits' comes with",
        ),
        ("fashion-minst", "configs", "'fashion-mnist' comes with"),
        ("qqq", "configs", "with this program come blurred-distillation-paper, .*, tinyimagenet$"),
        ("ablaton", "grids", "no grid file ablaton; .*GRID .*'ablation' comes with"),
        ("/", "grids", "/ is no grid file; give GRID a YAML file or one of ablation"),
    ],
)
def test_what_is_not_there_is_offered(given: str, kind: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        find_file(given, kind)


def test_the_commands_offer_it(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("run", "--config", "digts"), ("compare", "ablaton"), ("study", "ablaton")):
        assert call(*arguments) == 2
        error = capsys.readouterr().err
        assert "comes with this program" in error and error.count("\n") == 1
