"""The command that perturbs a trained network: what it writes, that it goes on, and every bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from tiny_grid import learnt

from alade_brian.data import class_order
from alade_brian.outputs import writing_to
from alade_brian.studies.perturbation import study
from alade_brian.studies.perturbation.curves import Curve

PROGRAMS = Path(__file__).resolve().parent.parent / "experiments"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of the digits, learnt in an epoch."""
    return learnt(tmp_path_factory.mktemp("runs") / "run", "der")


def perturb(*arguments: object) -> int:
    return call("perturb", *arguments)


def options(out: Path) -> list[object]:
    return ["--images", 40, "--repeats", 2, "--backend", "numpy", "--out", out]


def test_a_study_is_written_and_goes_on(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    assert perturb(checkpoint, "--perturb", "lesion", "--strengths", 1, *options(out)) == 0
    first = json.loads((out / "results.json").read_text())
    assert perturb(checkpoint, "--perturb", "lesion", "delay", "--strengths", 1, *options(out)) == 0
    found = json.loads((out / "results.json").read_text())
    assert found["perturbations"]["lesion"] == first["perturbations"]["lesion"]
    lesion = found["perturbations"]["lesion"]["strengths"]
    assert {strength: len(repeats) for strength, repeats in lesion.items()} == {"1": 2}
    # A network without neurons sees nothing: the logits are equal, the first class is its answer.
    assert lesion["1"]["0"]["per_task"][1] == 0 and lesion["1"]["0"]["events_per_image"] == 0
    assert lesion["1"]["0"]["answers"] == [1, 0] and sum(found["baseline"]["answers"]) == pytest.approx(1)
    before, there = (f"{share:.0%}" for share in (found["baseline"]["answers"][1], 0))
    assert (
        "| lesion | 2 | " in (out / "table.md").read_text()
        and f"| {before} → {there} |" in (out / "table.md").read_text()
    )
    assert found["baseline"]["events_per_image"] > 0 and len(found["baseline"]["per_task"]) == len(found["best"]) == 2
    assert set(found["perturbations"]["delay"]["strengths"]) == {"1"}
    kinds = {f"figures/{name}.{kind}" for name in ("lesion", "delay") for kind in ("png", "svg")}
    assert {"table.md", "table.csv", *kinds} <= {str(f.relative_to(out)) for f in out.rglob("*")}
    assert (out / "table.csv").read_text().count("\n") == 1 + 2 * 3


def test_another_network_is_refused(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "study"
    assert perturb(checkpoint, "--perturb", "delay", "--strengths", 1, *options(out)) == 0
    first = checkpoint.with_name("task-01.safetensors")
    assert perturb(first, "--perturb", "delay", "--strengths", 1, *options(out)) == 2
    assert "another network" in capsys.readouterr().err


def test_strength_0_is_the_unperturbed_network(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert perturb(checkpoint, "--perturb", "delay", "--strengths", 0, *options(tmp_path)) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    accuracy = f"{found['baseline']['accuracy']:.3f}"
    assert found["perturbations"]["delay"]["strengths"] == {}
    assert f"| delay | all | {accuracy} | not measured | {accuracy} at 0 |" in capsys.readouterr().out
    assert found["class_names"] == [str(c) for c in class_order(1993, 10)]
    # Other strengths are measured into the same study.
    assert perturb(checkpoint, "--perturb", "delay", "--strengths", 0, 3, *options(tmp_path)) == 0
    assert "| delay | all |" in (said := capsys.readouterr().out) and " at 3 |" in said


def test_two_commands_do_not_write_one_study(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing_to(tmp_path):
        assert perturb(checkpoint, "--perturb", "delay", "--strengths", 1, *options(tmp_path)) == 2
    assert f"another process is writing to {tmp_path}; wait for it or" in capsys.readouterr().err
    assert not (tmp_path / "results.json").exists()


def test_results_lie_in_the_folder_of_their_run(checkpoint: Path, tmp_path: Path) -> None:
    """Also of runs whose folders have the same name."""
    copied = Path(shutil.copytree(checkpoint.parent.parent, tmp_path / "other" / checkpoint.parent.parent.name))
    for run in (checkpoint.parent.parent, copied):
        again = run / "checkpoints" / "task-01.safetensors"
        assert perturb(again, "--perturb", "delay", "--strengths", 1, *options(tmp_path)[:-2]) == 0
        assert (run / "perturbed" / "task-01" / "results.json").is_file()


def test_an_interrupted_study_says_how_to_go_on(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "measure", interrupt)
    assert perturb(checkpoint, "--perturb", "delay", "--strengths", 1, *options(tmp_path)) == 130
    assert capsys.readouterr().err == "alade-brian perturb: interrupted; the same command continues\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--perturb", "earthquake"], "unknown perturbation 'earthquake'"),
        (["--perturb", "lesion", "--strengths", 2], "use 0 to 1"),
        (["--perturb", "delay", "--task", 1], "does not take task"),
        (["--perturb", "lesion", "--task", 9, "--strengths", 1], "no extractor of task 9"),
        (["--perturb", "all", "--strengths", 1], "stands alone"),
        (["--perturb", "delay", "--repeats", 0], "--repeats 0"),
        (["--perturb", "delay", "--images", 0], "--images 0"),
    ],
)
def test_bad_input_is_one_sentence(
    checkpoint: Path, tmp_path: Path, arguments: list[object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert perturb(checkpoint, "--out", tmp_path / "study", "--backend", "numpy", *arguments) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_half_strength_lies_on_the_line_between_measurements() -> None:
    repeats = tuple(np.array(a) for a in ([0.9], [0.8, 0.8], [0.4, 0.2], [0.1, 0.1]))
    line = Curve(np.array([0.0, 1.0, 2.0, 4.0]), repeats)
    # Half of the margin above 0.1 is left at 0.5: three fifths of the way from 0.8 to 0.3.
    half, (low, high) = line.half_strength(chance=0.1)
    assert half == pytest.approx(1.6)
    assert low == pytest.approx(1.5) and high == pytest.approx(1.75)
    assert line.half_strength(chance=0.95)[0] is None
    # Between whole numbers nothing was measured, whatever repeats say; nor does one repeat say anything.
    assert not line.between_measured
    whole = Curve(line.strengths, repeats, whole=True)
    assert whole.half_strength(chance=0.1) == (pytest.approx(1.6), (1, 2))
    once = Curve(line.strengths, tuple(r[:1] for r in repeats))
    assert once.half_strength(chance=0.1)[1] == (1, 2) and once.between_measured
    never = Curve(line.strengths[:2], repeats[:2], whole=True)
    assert never.half_strength(chance=0.1) == (None, (None, None))
    bottom, top = line.band()
    assert bottom[0] == top[0] == 0.9 and (bottom[2], top[2]) == (0, 1)
    wide = Curve(np.array([0.0]), (np.array([0.4, 0.5, 0.6]),))
    assert wide.band()[1][0] - 0.5 == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=1e-3)
