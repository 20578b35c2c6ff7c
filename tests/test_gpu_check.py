"""The check of a GPU, tried with another backend in its place; and that it refuses where there is none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from alade_brian.gpu_checking import report, tensors, wheels
from alade_brian.gpu_checking.networks import case
from alade_brian.simulation import SimulationSettings, simulate

ROOT = Path(__file__).resolve().parent.parent


NUMPY = SimulationSettings(backend="numpy")


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "experiments" / "gpu_check.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=ROOT)


@pytest.mark.slow
def test_everything_is_checked_and_written(tmp_path: Path) -> None:
    done = run(
        "--stand-in", "numpy", "--networks", "digits", "--images", 9, "--rates", 0.05, "--batches", 2, 3, "--seconds", 0.01,
        "--bandwidth", 20, "--json", tmp_path / "found.json", "--figure", tmp_path / "found.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nothing here was measured on one" in done.stdout and "left out" not in done.stdout
    assert "every spike that was compared is the processor's" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(c["way"], c["mismatched"], c["same_bits_in_two_runs"]) for c in found["checks"]] == [
        ("shared", 0, True),
        ("explicit", 0, True),
    ]
    assert found["checks"][0]["entries"] == 9 * 4 * (16 * 64 + 32 * 16)
    assert found["checks"][0]["rate"] == pytest.approx(0.1, rel=0.2)
    for row in found["throughput"]:
        assert {name: list(speeds) for name, speeds in row["images_per_second"].items()} == {
            "shared": ["2", "3"], "explicit": ["4"], "cpp": ["8"], "torch": ["2", "3"],
        }  # fmt: skip
        assert all(value > 0 for value in row["ratios"].values())
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_what_there_is_no_time_for_is_said(tmp_path: Path) -> None:
    done = run(
        "--stand-in",
        "numpy",
        "--networks",
        "digits",
        "--minutes",
        0,
        "--rates",
        0.05,
        "--json",
        tmp_path / "found.json",
    )
    assert done.returncode == 1, done.stderr
    assert "left out: comparing shared on digits: no time left (--minutes)" in done.stdout
    assert "NOT SHOWN: shared on digits was not compared" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["checks"] == [] and found["uncompared"] == ["shared on digits", "explicit on digits"]


CHECK = {
    "way": "shared",
    "network": "digits",
    "entries": 9,
    "rate": 0.1,
    "mismatched": 0,
    "mismatched_between_two_runs": 0,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checks": []}, "NOT SHOWN: nothing was compared"),
        ({"uncompared": ["explicit on digits"]}, "NOT SHOWN: explicit on digits was not compared"),
        ({"checks": [CHECK, CHECK | {"mismatched": 2}]}, "WRONG: shared on digits: 2 entries differ"),
        ({"checks": [CHECK | {"mismatched_between_two_runs": 1}]}, "WRONG: shared on digits: 1 entries differ"),
        ({"checks": [CHECK | {"rate": 0.0}]}, "NOT SHOWN: shared on digits: no neuron fired"),
        ({"checks": [CHECK | {"entries": 0, "rate": float("nan")}]}, "NOT SHOWN: shared on digits: no neuron fired"),
    ],
)
def test_what_is_not_shown_is_no_success(changes: dict[str, object], words: str) -> None:
    whole = {"checks": [CHECK], "uncompared": []}
    assert report.shortcomings(whole) == []
    [sentence] = report.shortcomings(whole | changes)
    assert sentence.startswith(words)


@pytest.mark.parametrize("option", ["--json", "--figure"])
def test_files_that_exist_are_kept(option: str, tmp_path: Path) -> None:
    (tmp_path / "found").write_text("precious")
    done = run("--stand-in", "numpy", "--minutes", 0, option, tmp_path / "found")
    assert done.returncode == 2 and f"found already exists; choose another {option}" in done.stderr
    assert (tmp_path / "found").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no GPU was found|nvcc"),
        (("--stand-in", "numpy", "--networks", "mnist"), "no network 'mnist'"),
        (("--stand-in", "numpy", "--images", "0"), "--images 0: use at least 1"),
    ],
)
def test_what_cannot_be_checked_is_a_sentence(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(words, done.stderr.splitlines()[-1])


def test_a_folder_without_wheels_is_a_sentence(tmp_path: Path) -> None:
    done = run("--wheels", tmp_path)
    assert done.returncode == 2 and "holds no brian2cuda; fill it with --fill-wheels" in done.stderr


def test_pytorch_runs_the_same_network() -> None:
    one = case("digits", 0.1, 20, 3)
    with torch.inference_mode():
        logits = tensors.forward(one.spec, torch.float64, "cpu")(torch.from_numpy(one.images)).numpy()
    np.testing.assert_allclose(simulate(one.spec, one.images, NUMPY).logits, logits, atol=1e-12)


def test_the_least_traffic_is_counted_by_hand() -> None:
    neurons, answers, steps = 16 * 64 + 32 * 16, 10, 4
    wanted = (neurons + answers) * steps * 2 * 8 + neurons * steps * 2 // 8 + 64 * 8
    assert report.least_bytes(case("digits", 0.1, 2, 0).spec, 8) == wanted


def test_the_wheels_are_those_that_the_other_python_is_made_of() -> None:
    from alade_brian.simulation.other_python.find import PACKAGES

    assert set(PACKAGES.split()) <= {*wheels.PACKAGES, wheels.CURAND}
