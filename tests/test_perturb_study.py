"""Many networks under the same perturbations: what is found of each task's age, and the command from a grid to tables."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import call
from matplotlib.axes import Axes
from tiny_grid import GRID

from alade_brian.analysis.figures import style
from alade_brian.analysis.problems import Classification
from alade_brian.outputs import writing_to
from alade_brian.simulation.engines.cpp import CppBackend
from alade_brian.studies.perturbation.ages import broken
from alade_brian.studies.perturbation.answer_bias import AnswerBias, answer_bias
from alade_brian.studies.perturbation.answer_tables import all_biases
from alade_brian.studies.perturbation.answer_tables import csv_text as answers_csv
from alade_brian.studies.perturbation.answer_tables import markdown as answers_markdown
from alade_brian.studies.perturbation.trend_figures import plot_ages, plot_methods, plot_trends
from alade_brian.studies.perturbation.trend_tables import csv_text, markdown

PROGRAMS = Path(__file__).resolve().parent.parent / "experiments"


def cell(per_task: list[float], events: float) -> dict[str, Any]:
    return {"accuracy": float(np.mean(per_task)), "per_task": per_task, "events_per_image": events}


def study(*at: list[float], events: float = 100.0, best: list[float] | None = None) -> dict[str, Any]:
    """Ten classes, three tasks; accuracies without a perturbation and at strengths 1, 2, ..."""
    strengths = {str(k): {"0": cell(found, events / (1 + k))} for k, found in enumerate(at[1:], 1)}
    return {
        "format": 2, "subject": "made up", "digest": "", "classes": 10, "tasks": [1, 2, 3], "images_per_task": [5, 5, 5],
        "best": best, "baseline": cell(at[0], events), "perturbations": {"lesion": {"unit": "part", "strengths": strengths}},
    }  # fmt: skip


def test_what_is_left_of_each_task_is_taken_where_half_of_all_is_gone() -> None:
    """The old falls to chance at strength 2, the new stays; half of all is gone in the middle of 1 and 2."""
    found = broken(study([0.9, 0.7, 0.9], [0.9, 0.7, 0.9], [0.1, 0.1, 0.5], best=[1.0, 0.8, 0.9]), "lesion")
    # Mean accuracy 0.8333, 0.8333, 0.2333; the level is 0.4667, reached 0.6111 of the way.
    assert found.half == pytest.approx(1.6111, abs=1e-4) and found.strength == found.half
    assert found.kept == pytest.approx(0.5)
    np.testing.assert_allclose(found.by_task, [0.3889, 0.3889, 1 - 0.6111 / 2], atol=1e-4)
    # Ends of the line through 0.3889, 0.3889, 0.6944.
    assert found.trend == pytest.approx(0.6944 - 0.3889, abs=1e-3)
    assert found.events == pytest.approx(0.5 + 0.6111 * (1 / 3 - 0.5), abs=1e-4)
    assert found.forgetting is not None
    assert found.forgetting[0] == pytest.approx(0.1)
    assert found.forgetting[1] == pytest.approx(0.1 + 0.6111 * (0.8 + 0.6) / 2, abs=1e-3)


def test_a_robust_network_is_judged_at_the_greatest_strength_and_what_was_not_learnt_is_left_out() -> None:
    found = broken(study([0.9, 0.12, 0.9], [0.85, 0.1, 0.7]), "lesion")
    assert found.half is None and found.strength == 1 and found.forgetting is None
    assert np.isnan(found.by_task[1]) and found.trend == pytest.approx((0.6 - 0.75) / 0.8)


RESULTS = {
    "format": 1, "grid": "made up", "reference": "alade",
    "rows": {
        "alade": {"1": study([0.9] * 3, [0.2, 0.5, 0.8], [0.1, 0.1, 0.2]), "2": study([0.8] * 3, [0.2, 0.4, 0.6])},
        "joint": {"1": study([0.9] * 3, [0.5] * 3, [0.1] * 3)},
    },
}  # fmt: skip


def test_tables_hold_every_network() -> None:
    lines = markdown(RESULTS).splitlines()
    half = broken(RESULTS["rows"]["alade"]["1"], "lesion").half  # type: ignore[index]
    assert half is not None and lines[0].split(" | ")[2:4] == ["half-strength", "of alade's"]
    assert lines[2].split(" | ")[3].strip() == ""
    assert lines[2].startswith("| lesion | alade | ") and lines[3].startswith("| lesion | joint | ")
    assert lines[3].split(" | ")[2:4] == ["1 (1 to 1)", f"{1 / half:.2f}"] and "2 seeds" in lines[-1]
    # One perturbation only: its mean is its own.
    assert lines[4].startswith("| mean of those that took 10% or more | alade |")
    assert lines[4].split("|")[-2] == lines[2].split("|")[-2]
    # Both have seed 1, where the control's tasks lose alike.
    own = broken(RESULTS["rows"]["alade"]["1"], "lesion").trend  # type: ignore[index]
    assert [cell.strip() for cell in lines[2].split("|")[-2:-1]] == [f"{100 * own:+.0f}"]
    assert lines[0].endswith("the same, minus joint's |") and lines[3].split("|")[-2].strip() == ""
    assert len({line.count("|") for line in lines[:6]}) == 1
    alone = {**RESULTS, "rows": {"alade": RESULTS["rows"]["alade"]}}  # type: ignore[index]
    assert "joint" not in markdown(alone) and markdown(alone).splitlines()[0].endswith("newest - oldest |")
    rows = list(csv.DictReader(csv_text(RESULTS).splitlines()))
    assert [(row["network"], row["seed"]) for row in rows] == [("alade", "1"), ("alade", "2"), ("joint", "1")]
    assert float(rows[0]["margin_left"]) == 0.5 and rows[0]["forgetting_with"] == ""
    assert float(rows[0]["margin_left_task_1"]) < float(rows[0]["margin_left_task_3"]) and float(rows[0]["trend"]) > 0


LABELS, TASKS = np.repeat(np.arange(4), 5), np.repeat([1, 2], 10)


def outcome(logits: np.ndarray, labels: np.ndarray, tasks: np.ndarray) -> dict[str, Any]:
    """What is kept of a network's answers."""
    return dict(Classification().measurement(logits, SimpleNamespace(labels=labels, tasks=tasks, targets=None)))


def preferring(label: int, by: float) -> dict[str, Any]:
    """A network that knows all four classes of two tasks, and whose logit of one class is too large whatever it sees."""
    return {**outcome(np.eye(4)[LABELS] + by * np.eye(4)[label], LABELS, TASKS), "events_per_image": 1.0}


def test_answers_are_counted_by_class_and_without_a_preference() -> None:
    found = preferring(3, 2.0)
    assert found["accuracy"] == 0.25 and found["per_task"] == [0, 0.5] and found["answers"] == [0, 1]
    assert found["recall"] == found["answers_per_class"] == [0, 0, 0, 1] and found["per_task_centred"] == [1, 1]
    few = outcome(np.eye(3)[[0, 0, 2]], np.array([0, 2, 2]), np.array([1, 2, 2]))
    assert few["recall"] == [1, None, 0.5] and few["answers_per_class"] == pytest.approx([2 / 3, 0, 1 / 3])


def test_a_preference_for_the_newest_task_is_told_from_what_broke_first() -> None:
    """All answers become the last class: by accuracy the old broke first; no image is distinguished from another."""
    biased = {
        "format": 2, "subject": "made up", "digest": "", "classes": 4, "tasks": [1, 2], "images_per_task": [10, 10],
        "images_per_class": [5] * 4, "task_of_class": [1, 1, 2, 2], "best": None, "baseline": preferring(0, 0.0),
        "perturbations": {"delay": {"unit": "steps", "whole": True, "strengths": {"1": {"0": preferring(3, 2.0)}}}},
    }  # fmt: skip
    found = answer_bias(biased, "delay")
    # Half of the margin of 0.75 is gone half-way; of the old task's a third is left there, of the new one's two.
    assert found.plain.half == pytest.approx(0.5)
    assert found.trends == pytest.approx({"plain": 1 / 3, "corrected": 0, "centred": 0, "own": 0})
    # Nothing is lost beside the preference: the greatest strength is taken.
    assert (found.centred_left, found.own_strength, found.own_left) == (1, 1, 1)
    np.testing.assert_allclose(found.corrected, [0.5, 0.5])
    np.testing.assert_allclose(found.centred, [1, 1])
    np.testing.assert_allclose(found.balanced, [0.75, 0.75])
    np.testing.assert_allclose(found.answers, [0.25, 0.75])
    np.testing.assert_allclose(found.answers_at_greatest, [0, 1])
    results = {**RESULTS, "rows": {"replay": {"1": biased, "2": biased}, "joint": {"1": biased}}}
    every = all_biases(results)
    line, *_ = [line for line in answers_markdown(results, every).splitlines() if line.startswith("| delay | replay |")]
    # Two equal seeds have an interval of no width, in bold by a rounding.
    assert line.replace("**", "") == (
        "| delay | replay | 2 | 25% | 75% | 100% | 50% | 100% | +33 (+33 to +33) | +0"
        + " | +0 (+0 to +0) | +0" * 3
        + " |"
    )
    row = next(csv.DictReader(answers_csv(every).splitlines()))
    assert (row["trend_plain"], row["balanced_accuracy_task_1"], row["margin_left"]) == ("0.3333", "0.75", "0.5")
    # Measured by an earlier version, which kept no answers.
    assert all_biases(RESULTS) == {}


def test_a_network_with_fewer_tasks_leaves_its_cells_empty() -> None:
    whole = broken(RESULTS["rows"]["alade"]["1"], "lesion")
    count = len(whole.by_task)
    short = {**RESULTS["rows"]["alade"]["1"], "tasks": [1]}
    lines = csv_text({**RESULTS, "rows": {"alade": {"1": short}, "joint": RESULTS["rows"]["joint"]}}).splitlines()
    first = next(csv.DictReader(lines))
    assert {line.count(",") for line in lines} == {lines[0].count(",")}
    assert first["margin_left_task_1"] and not any(first[f"margin_left_task_{k}"] for k in range(2, count + 1))
    biases = {}
    for tasks in (1, 2):
        of_task = [np.full(tasks, 0.25)] * 3
        plain = replace(whole, by_task=whole.by_task[:tasks])
        biases[f"tasks: {tasks}"] = {"1": AnswerBias(plain, *of_task, 0.5, 1.0, 0.5, *of_task)}
    every = {"delay": biases}
    one, two = csv.DictReader(answers_csv(every).splitlines())
    assert (one["answers_task_1"], one["answers_task_2"], one["balanced_accuracy_task_1"]) == ("0.25", "", "0.25")
    assert (two["answers_task_2"], two["balanced_accuracy_task_2"]) == ("0.25", "0.25")


def test_figures_show_what_was_measured() -> None:
    methods: Axes = plot_methods(RESULTS, "lesion", style.new_axes()[1])
    first, second, chance = methods.lines
    np.testing.assert_allclose(second.get_ydata(), [0.9, 0.5, 0.1])
    # One of the two seeds lacks strength 2.
    np.testing.assert_allclose(first.get_ydata(), [0.85, (0.5 + 0.4) / 2])
    assert chance.get_ydata()[0] == 0.1 and first.get_label() == "alade"  # type: ignore[index]
    ages = plot_ages(RESULTS, "lesion", "joint", style.new_axes()[1])
    np.testing.assert_allclose(ages.lines[0].get_ydata(), [1, 0.5, 0])
    trends = plot_trends(RESULTS, style.new_axes()[1])
    seeds = RESULTS["rows"]["alade"].values()  # type: ignore[index]
    first, second = (100 * broken(each, "lesion").trend for each in seeds)
    # The control has seed 1 alone, and its tasks lose alike.
    expected = [f"{(first + second) / 2:+.0f}", "+0", f"{first:+.0f}"]
    assert [text.get_text() for text in trends.texts] == expected
    assert [label.get_text() for label in trends.get_xticklabels()] == ["alade", "joint", "alade\n- joint"]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("grid") / "tiny.yaml"
    names = ("finetune", "joint")
    common = {key: value for key, value in GRID["set"].items() if "." not in key}
    file.write_text(yaml.safe_dump({"seeds": [1, 2], "set": common, "rows": {n: {"method": n} for n in names}}))
    return file


def test_from_a_grid_to_tables_and_on(
    grid: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = grid.parent / "out"
    wanted = [grid, "--out", out, "--images", 20, "--repeats", 1]
    assert call("study", *wanted, "--perturb", "delay") == 2
    assert "4 of 4 networks are not trained yet" in capsys.readouterr().err
    assert call("compare", grid, "--out", out) == 0
    assert call("study", *wanted, "--perturb", "delay") == 0
    first = json.loads((out / "perturbed" / "results.json").read_text())["rows"]
    assert {row: sorted(seeds) for row, seeds in first.items()} == {"finetune": ["1", "2"], "joint": ["1", "2"]}
    with writing_to(out / "perturbed"):
        assert call("study", *wanted, "--perturb", "delay") == 2
    assert f"another process is writing to {out / 'perturbed'};" in capsys.readouterr().err
    # What was measured of other rows stays in the tables.
    assert call("study", *wanted, "--perturb", "delay", "--rows", "joint") == 0
    assert json.loads((out / "perturbed" / "results.json").read_text())["rows"] == first
    other = grid.with_name("other.yaml")
    other.write_text(grid.read_text())
    assert call("study", other, *wanted[1:], "--perturb", "delay") == 2
    assert "belong to another grid" in capsys.readouterr().err
    # Nothing is compiled where another backend is asked for, nor to find the selective neurons.
    monkeypatch.setattr(CppBackend, "build", lambda *_: pytest.fail("a program was built"))
    assert call("study", *wanted, "--perturb", "delay", "selective-lesion", "--backend", "numpy") == 0
    second = json.loads((out / "perturbed" / "results.json").read_text())["rows"]["joint"]["2"]
    assert second["perturbations"]["delay"] == first["joint"]["2"]["perturbations"]["delay"]
    lesion = second["perturbations"]["selective-lesion"]["strengths"]
    assert lesion["0.8"]["0"]["events_per_image"] < lesion["0.1"]["0"]["events_per_image"]
    for name in ("methods", "trends", "ages-delay", "ages-selective-lesion"):
        assert (out / "perturbed" / "figures" / f"{name}.png").stat().st_size > 5000
    assert "| delay | finetune | 2 |" in (out / "perturbed" / "answers.md").read_text()
    assert (out / "perturbed" / "answers.csv").read_text().count("\n") == 1 + 2 * 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--repeats", 0], "--repeats 0: use at least 1"),
        (["--perturb", "flood"], "unknown perturbation 'flood'"),
        (["--rows", "der"], "has no row 'der'"),
        (["--seeds", 7], "has no seed '7'"),
        (["--report-only"], "no network has been studied yet"),
    ],
)
def test_bad_input_is_one_sentence(
    grid: Path, tmp_path: Path, arguments: list[object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("study", grid, "--out", tmp_path / "none", *arguments) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
