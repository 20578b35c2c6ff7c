"""Several networks under the same perturbations, side by side: the command, from studies as `perturb` writes them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import call

from alade_brian.studies.perturbation.side_by_side import plot_side_by_side, read_studies, shared


def study(folder: Path, subject: str, there: dict[str, float], **changed: Any) -> Path:
    """A study of ten classes; accuracy 0.9 without a perturbation, and what it is at strength 1 of each."""

    def cell(accuracy: float) -> dict[str, Any]:
        return {"accuracy": accuracy, "per_task": [accuracy], "answers": [1.0], "events_per_image": 10.0}

    perturbations = {
        name: {"unit": "part", "whole": False, "strengths": {"1.0": {"0": cell(accuracy), "1": cell(accuracy)}}}
        for name, accuracy in there.items()
    }
    found = {
        "format": 2, "subject": subject, "digest": subject, "classes": 10, "tasks": [1], "images_per_task": [100],
        "best": [0.9], "baseline": cell(0.9), "perturbations": perturbations, **changed,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(found))
    return folder


def test_the_table_has_what_is_left_of_each_network(tmp_path: Path) -> None:
    """Half of the margin above chance is gone at 0.5: of 0.9 to 0.1 on the way to 0.1."""
    one = study(tmp_path / "one", "digits, one", {"lesion": 0.1, "delay": 0.9, "jitter": 0.5})
    two = study(tmp_path / "two", "digits, two", {"delay": 0.1, "lesion": 0.9})
    out = tmp_path / "out"
    assert call("side-by-side", one, two, "--out", out) == 0
    with (out / "table.csv").open() as file:
        rows = [
            (r["perturbation"], r["network"], r["accuracy_there"], r["half_strength"]) for r in csv.DictReader(file)
        ]
    assert [row[:2] for row in rows] == [(p, f"digits, {n}") for p in ("lesion", "delay") for n in ("one", "two")]
    assert [float(row[2]) for row in rows] == [0.1, 0.9, 0.9, 0.1]
    assert [row[3] and round(float(row[3]), 3) for row in rows] == [0.5, "", "", 0.5]
    assert (out / "perturbed.png").is_file() and "| delay | digits, two | 0.900 | 0.5" in (out / "table.md").read_text()
    # It is written again, but never over something else.
    assert call("side-by-side", two, one, "--out", out) == 0
    assert call("side-by-side", two, one, "--out", one) == 2


def test_every_network_is_a_line_in_every_panel(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    folders = [study(tmp_path / name, f"digits, {name}", {"lesion": 0.3, "delay": 0.5}) for name in names]
    studies = read_studies(folders)
    panels = plot_side_by_side(studies).axes
    assert [ax.get_title() for ax in panels] == shared(studies) == ["lesion", "delay"]
    for ax in panels:
        assert [line.get_label() for line in ax.lines] == [*(f"digits, {name}" for name in names), "chance"]
        assert ax.lines[0].get_ydata()[0] == 0.9


def test_chance_is_that_of_every_network(tmp_path: Path) -> None:
    few = study(tmp_path / "few", "few", {"lesion": 0.3}, classes=2)
    many = study(tmp_path / "many", "many", {"lesion": 0.3})
    (ax,) = plot_side_by_side(read_studies([few, many])).axes
    levels = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"]
    assert levels == [0.1, 0.5] and [line.get_label() for line in ax.lines].count("chance") == 1


def test_networks_that_are_called_alike_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    folders = [study(tmp_path / name, "digits, dsr", {"lesion": 0.3}) for name in ("a", "b")]
    assert list(read_studies(folders)) == [str(folder) for folder in folders]


def test_what_cannot_stand_side_by_side_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = study(tmp_path / "one", "one", {"lesion": 0.1})
    other = study(tmp_path / "other", "other", {"delay": 0.1})
    values = study(tmp_path / "values", "values", {"lesion": 0.1}, problem="regression")
    old = study(tmp_path / "old", "old", {"lesion": 0.1}, format=1)
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "results.json").write_text('{"format": 1, "rows": {}}')
    for folder, sentence in [
        (other, "no perturbation was measured on all"),
        (values, "learnt classification and some regression"),
        (old, "another version"),
        (tmp_path / "grid", "no study of one network"),
        (tmp_path / "none", "cannot be read"),
        (one, "a folder is named twice"),
        (study(tmp_path / "empty", "empty", {"lesion": 0.1}, baseline=None), "holds no measurement yet"),
    ]:
        assert call("side-by-side", one, folder, "--out", tmp_path / "out") == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
