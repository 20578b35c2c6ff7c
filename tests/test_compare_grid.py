"""Grid files: what they change, what is refused, and those that come with the comparison command."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tiny_grid import PROGRAMS, compare, write_grid
from tiny_grid import grid as grids

from alade_brian.errors import UserError

BAD: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "key": ({"row": {}}, [], "unknown key 'row'"),
    "no rows": ({"rows": None}, [], "at least one row"),
    "row name": ({"rows": {True: {}}}, [], "the row name True is not text"),
    "row without letters": ({"rows": {"±": {}}}, [], "cannot be a folder name"),
    "row called figures": ({"rows": {"Figures": {}}}, [], "cannot be a folder name"),
    "rows that share a folder": ({"rows": {"a b": {}, "A-B": {}}}, [], "share a folder"),
    "row that is a value": ({"rows": {"a": "der"}}, [], "row 'a' is 'der'"),
    "seed in a row": ({"rows": {"a": {"seed": 1}}}, [], "list seeds under 'seeds'"),
    "seed in set": ({"set": {"seed": 1}}, [], "set: seed is set"),
    "seed on the command line": ({}, ["--set", "seed=1"], "--set: seed is set"),
    "no seeds": ({"seeds": []}, [], "list of distinct integers"),
    "seed twice": ({"seeds": [1, 1]}, [], "list of distinct integers"),
    "seed out of range": ({"seeds": [-1]}, [], "seed is -1"),
    "reference": ({"reference": "alade"}, [], "the reference 'alade' is not a row"),
    "threads": ({"threads": 0}, [], "'threads' is 0"),
    "base": ({"base": "nowhere.yaml"}, [], "there is no base"),
    "base of a row": ({"rows": {"a": {"base": "nowhere.yaml"}}, "reference": None}, [], "there is no base"),
    "unknown key of a row": ({"rows": {"a": {"depth": 3}}, "reference": None}, [], "row 'a': unknown key 'depth'"),
    "value of a row": ({"rows": {"a": {"network.decay": 2}}, "reference": None}, [], "between 0 and 1"),
    "method": ({"rows": {"a": {"method": "magic"}}, "reference": None}, [], "row 'a': unknown method 'magic'"),
    "override": ({}, ["--set", "init_cls"], "key=value"),
    "value as section": ({}, ["--set", "dataset.x=1"], "dataset is a value, not a section"),
    "jobs": ({}, ["--jobs", "0"], "--jobs 0"),
    "unknown row": ({}, ["--rows", "alade"], "has no row 'alade'; it has Grown, DER, finetune"),
    "unknown seed": ({}, ["--seeds", "3"], "has no seed '3'; it has 1, 2"),
    "nothing to report": ({}, ["--report-only"], "no cell is complete"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, options, words = BAD[case]
    out = tmp_path / "out"
    assert compare(write_grid(tmp_path, **changes), "--out", out, *options) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("alade-brian compare: error:") and error.strip().count("\n") == 0
    assert not out.exists()


def test_a_missing_grid_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(tmp_path / "no.yaml") == 2
    assert "there is no grid file" in capsys.readouterr().err


def test_changes_reach_into_sections() -> None:
    base = {"a": 1, "s": {"x": 1, "y": 2}, "empty": None}
    assert grids.merged(base, {"s.x": 3, "t": {"u.v": 4}, "empty.z": 5}, "here") == {
        "a": 1, "s": {"x": 3, "y": 2}, "t": {"u": {"v": 4}}, "empty": {"z": 5},
    }  # fmt: skip
    assert base["s"] == {"x": 1, "y": 2}
    with pytest.raises(UserError, match="here: a.b is set, but a is a value"):
        grids.merged(base, {"a.b": 1}, "here")


def test_a_row_may_begin_with_another_configuration(tmp_path: Path) -> None:
    (tmp_path / "narrow.yaml").write_text("init_cls: 4\nincrement: 3\nmemory_size: 90")
    rows = {"wide": {}, "narrow": {"base": "narrow.yaml", "memory_size": 80}}
    changes = {"set": {"increment": 6}, "rows": rows, "reference": None, "seeds": [1]}
    wide, narrow = (cell.config for cell in grids.read_grid(write_grid(tmp_path, **changes)).cells(tmp_path))
    assert (wide.init_cls, wide.increment, wide.memory_size) == (2, 6, 200)
    assert (narrow.init_cls, narrow.increment, narrow.memory_size) == (4, 6, 80)


@pytest.mark.parametrize("file", sorted((PROGRAMS / "grids").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_grids_can_be_read(file: Path) -> None:
    grid = grids.read_grid(file)
    rows = {"biology-digits": 4, "biology-fashion-mnist": 4, "omniglot-temperature": 6}
    rows |= {"blurred-distillation": 4, "dsr-bptt": 2}
    reference = {"blurred-distillation": "none", "dsr-bptt": "bptt"}.get(file.stem, "alade")
    assert grid.reference == reference and len(grid.seeds) >= 3 and len(grid.rows) == rows.get(file.stem, 9)


def test_the_terms_of_blurred_distillation_are_switched_one_by_one() -> None:
    cells = grids.read_grid(PROGRAMS / "grids" / "blurred-distillation.yaml").cells(Path())
    terms = {cell.row: cell.config.blurred_distillation for cell in cells}
    on = {row: (settings.logits > 0, settings.features > 0) for row, settings in terms.items()}
    assert on == {
        "none": (False, False), "logits": (True, False), "features": (False, True), "both": (True, True),
    }  # fmt: skip
    assert len({settings.teacher for settings in terms.values()}) == 1


def test_dsr_and_backpropagation_differ_in_the_rule_alone() -> None:
    one, other = grids.read_grid(PROGRAMS / "grids" / "dsr-bptt.yaml", ["network.steps=5"]).cells(Path())[:2]
    assert (one.config.method, other.config.method) == ("dsr", "plain")
    assert dataclasses.replace(one.config, method="plain") == other.config and one.config.network.steps == 5


def test_the_ablation_switches_one_part_at_a_time() -> None:
    configs = {
        cell.row: cell.config.alade for cell in grids.read_grid(PROGRAMS / "grids" / "ablation.yaml").cells(Path())
    }
    whole = configs["alade"]
    off = {
        name: sorted(key for key in vars(whole) if getattr(config, key) != getattr(whole, key))
        for name, config in configs.items()
    }
    assert off == {
        "alade": [],
        "without alignment": ["align_finetuning", "align_learning"],
        "alignment in stage 1 only": ["align_finetuning"],
        "alignment in stage 2 only": ["align_learning"],
        "without suppression": ["suppression"],
        "without release": ["release"],
        "without distillation": ["distillation"],
        "without auxiliary loss": ["auxiliary"],
        "as in the authors' later code": ["align_learning", "gamma_in_loss"],
    }
