"""brian2cuda's code for a network, generated, compiled and linked: needs nvcc and a Python with brian2cuda, and no GPU.

Where there is a GPU the program is run too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from networks import NUMPY, dyadic_, dyadic_images
from torch import nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.simulation import simulate
from alade_brian.simulation.cuda.toolkit import find_gpu, find_toolkit
from alade_brian.simulation.other_python.find import VARIABLE, environment
from alade_brian.spec.file import save_spec

PROGRAM = Path(__file__).parent / "cuda_project.py"
IMAGES = dyadic_images(6, 6)
TEMPLATES = "import brian2cuda, pathlib; print(pathlib.Path(brian2cuda.__file__).parent)"


@pytest.fixture(scope="module")
def python() -> str:
    """A Python with brian2cuda."""
    try:
        find_toolkit()
    except UserError as error:
        pytest.skip(str(error))
    if not os.environ.get(VARIABLE):
        pytest.skip(f"needs a Python with brian2cuda: set {VARIABLE} to it")
    return os.environ[VARIABLE]


def network(seed: int, delay: int = 0):  # type: ignore[no-untyped-def]
    net = nn.Sequential(
        HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 5), LIF(4), nn.Linear(5, 3), MeanOverSteps(4)
    )
    spec = convert(dyadic_(net, seed), (6,))
    late = tuple(dataclasses.replace(p, delay=delay) if p.source == "2" else p for p in spec.projections)
    return dataclasses.replace(spec, projections=late)


def build(python: str, spec, folder: Path, architecture: str) -> dict:  # type: ignore[no-untyped-def,type-arg]
    save_spec(spec, folder / "network.npz")
    np.save(folder / "pixels.npy", IMAGES[:, None].astype(np.float64))
    command = [python, PROGRAM, folder / "network.npz", folder / "cache", architecture, folder / "pixels.npy"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


def agrees_or_lacks_a_gpu(found: dict, spec) -> None:  # type: ignore[no-untyped-def,type-arg]
    try:
        find_gpu()
    except UserError:
        assert "too old for the CUDA toolkit, or missing" in found["error"] or "the GPU is gone" in found["error"]
        return
    wanted = simulate(spec, IMAGES, NUMPY).spikes
    assert found["spikes"] == {name: raster.sum(axis=(1, 2)).tolist() for name, raster in wanted.items()}


@pytest.mark.slow
def test_a_network_is_generated_compiled_and_linked_without_a_gpu(python: str, tmp_path: Path) -> None:
    installed = Path(subprocess.check_output([python, "-c", TEMPLATES], text=True).strip(), "templates")
    before = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in installed.iterdir()}
    spec = network(0, delay=2)
    found = build(python, spec, tmp_path, "sm_90")
    folder = Path(found["folder"])
    assert found["compiled"] and (folder / "main").stat().st_mode & 0o100
    # The makefile is the second way, and mended too.
    assert "-std=c++17" in (folder / "makefile").read_text() and "sm_90" in (folder / "makefile").read_text()
    synapses = "".join(f.read_text() for f in (folder / "code_objects").glob("projection_*_pre_codeobject.cu"))
    assert "timestep[0] >= projection_" in synapses and "defaultclock.timestep" not in synapses
    assert "tolower" not in (folder / "objects.cu").read_text()
    assert {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in installed.iterdir()} == before
    agrees_or_lacks_a_gpu(found, spec)
    # Other numbers need no compiler.
    other = network(1, delay=2)
    again = build(python, other, tmp_path, "sm_90")
    assert not again["compiled"] and again["folder"] == found["folder"]
    agrees_or_lacks_a_gpu(again, other)
