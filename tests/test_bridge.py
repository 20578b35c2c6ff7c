"""A simulation in another Python: the same answers, and a sentence for everything that may be wrong with it."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import fakes
import numpy as np
import pytest
import yaml
from networks import CPP, NUMPY, conv_net, dyadic_images
from test_job import QUICK, metrics, run

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, open_simulator, simulate
from alade_brian.simulation.other_python.engine import OtherPythonEngine
from alade_brian.spec.file import FORMAT
from alade_brian.spikes.responses import Responses

SPEC = convert(conv_net(), (2, 7, 6))
IMAGES = dyadic_images(150, 2, 7, 6)
VARIABLE = "ALADE_BRIAN_CUDA_PYTHON"


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A second Python: the one of the GPU where there is one, else this one under another name."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else fakes.python(tmp_path / "python")


def alike(left: Responses, right: Responses) -> bool:
    spikes = all(np.array_equal(left.spikes[name], right.spikes[name]) for name in right.spikes)
    traces = all(np.array_equal(left.traces[name], right.traces[name]) for name in right.traces)
    return spikes and traces and left.traces.keys() == right.traces.keys() and np.array_equal(left.logits, right.logits)


@pytest.mark.parametrize(
    "settings", [CPP, NUMPY, dataclasses.replace(CPP, connectivity="explicit")], ids=["cpp", "numpy", "explicit"]
)
def test_another_python_gives_the_same_answers(settings: SimulationSettings, python: Path) -> None:
    there = dataclasses.replace(settings, python=python)
    assert alike(simulate(SPEC, IMAGES, there, traces=("6",)), simulate(SPEC, IMAGES, settings, traces=("6",)))


def test_it_stays_for_more_images_and_for_logits_alone(python: Path) -> None:
    simulator = open_simulator(SPEC, dataclasses.replace(NUMPY, python=python))
    bridge = simulator.engine
    assert isinstance(bridge, OtherPythonEngine) and bridge._child is not None
    process = bridge._child._child.pid
    wanted = simulate(SPEC, IMAGES, NUMPY)
    for _ in range(2):
        assert np.array_equal(simulator.answers(IMAGES), wanted.logits)
    assert bridge._child is not None and bridge._child._child.pid == process
    counted = next(simulator.packed_chunks(IMAGES[:9]))[1].events
    here = next(open_simulator(SPEC, NUMPY).packed_chunks(IMAGES[:9]))[1].events
    assert counted is not None and here is not None and np.array_equal(counted, here)
    # The images are given up half-way: it is started anew for the next ones.
    simulator.images_per_run = 8
    for _ in simulator.chunks(IMAGES):
        break
    assert np.array_equal(simulator.answers(IMAGES), wanted.logits)


def test_two_other_pythons_share_the_images(python: Path) -> None:
    there = dataclasses.replace(CPP, python=python, workers=2)
    assert alike(simulate(SPEC, IMAGES, there), simulate(SPEC, IMAGES, CPP))


def test_what_it_refuses_is_said_here(tmp_path: Path) -> None:
    python = fakes.python(tmp_path / "python", "CXX=no-such-compiler; export CXX")
    with pytest.raises(UserError, match=f"needs a C.. compiler and none was found.*in {python}"):
        open_simulator(SPEC, dataclasses.replace(CPP, python=python))


def test_a_package_that_it_lacks_is_named(tmp_path: Path) -> None:
    bare = fakes.script(tmp_path / "bare", f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    with pytest.raises(UserError, match=f"{bare} lacks the package (\\w+); {bare} -m pip install \\1"):
        open_simulator(SPEC, dataclasses.replace(NUMPY, python=bare))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\necho hello\n", "is no Python, or not one that runs this version.*'hello'"),
        ("#!/bin/sh\necho oh >&2\nexit 3\n", "ended with code 3 .*: oh$"),
        ("no program", "cannot be run"),
    ],
)
def test_what_is_no_python(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        open_simulator(SPEC, dataclasses.replace(NUMPY, python=fakes.script(tmp_path / "it", text)))


def test_a_network_from_another_version_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys, alade_brian.spec.file as f; f.FORMAT = 1; "
        "from alade_brian.simulation.workers.other_python_server import main; main(sys.argv[1:])"
    )
    other = fakes.script(tmp_path / "other", f"#!/bin/sh\nshift 2\nexec '{sys.executable}' -c '{code}' \"$@\"\n")
    with pytest.raises(UserError, match=f"has format {FORMAT}, this version reads 1"):
        open_simulator(SPEC, dataclasses.replace(NUMPY, python=other))


def test_one_that_dies_in_mid_run_is_a_sentence(python: Path) -> None:
    simulator = open_simulator(SPEC, dataclasses.replace(NUMPY, python=python))
    simulator.images_per_run = 8
    assert isinstance(simulator.engine, OtherPythonEngine)
    with pytest.raises(UserError, match="ended with code -9"):
        for _ in simulator.chunks(IMAGES):
            assert simulator.engine._child is not None
            simulator.engine._child._child.kill()
    # The next images find another.
    assert alike(simulate(SPEC, IMAGES[:8], NUMPY), next(simulator.chunks(IMAGES[:8]))[1])


@pytest.mark.slow
def test_a_job_whose_python_dies_keeps_its_tasks_and_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other Python is asked once whether it can, and then for a network after every task: it dies at the third."""
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    begun = tmp_path / "begun"
    dying = fakes.python(tmp_path / "dying", f"echo >> {begun}; [ $(wc -l < {begun}) -lt 4 ] || exit 9")
    arguments = ("--config", tmp_path / "quick.yaml", "--out", tmp_path / "out")
    assert run(*arguments, "--cuda-python", dying) == 2
    error = capsys.readouterr().err
    assert "ended with code 9" in error and error.strip().count("\n") == 0
    assert "everything that was learnt, task 3 too, is kept; resume with --resume" in error
    assert len(json.loads((tmp_path / "out" / "metrics.json").read_text())["tasks"]) == 2
    assert run("--out", tmp_path / "out", "--resume", "--cuda-python", fakes.python(tmp_path / "well")) == 0
    assert run("--config", tmp_path / "quick.yaml", "--out", tmp_path / "alone") == 0
    assert metrics(tmp_path / "out") == metrics(tmp_path / "alone")
