"""The wheel and the source distribution hold all that runs, and the wheel runs where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
# What stands in the distributions, and the folder of the checkout that it comes from.
HELD = {
    "alade_brian/configs": "experiments/configs/*.yaml",
    "alade_brian/grids": "experiments/grids/*.yaml",
    "alade_brian/simulation/templates": "alade_brian/simulation/templates/*",
    "alade_brian/models/kernels": "models/kernels/*.cpp",
    "alade_brian/benchmarks": "experiments/benchmarks/*.cpp",
    "alade_brian/data/files": "alade_brian/data/files/*",
    "alade_brian/analysis/report": "alade_brian/analysis/report/*.js",
    "alade_brian": "alade_brian/py.typed",
}

pytestmark = pytest.mark.slow


def files(pattern: str) -> list[Path]:
    found = sorted(file for file in ROOT.glob(pattern) if file.is_file())
    assert found, f"{pattern} is empty"
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source distribution, built from a copy of the sources."""
    place = tmp_path_factory.mktemp("built")
    copy = place / "copy"
    for folder in ("alade_brian", "models", "conversion", "experiments"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # As pip does: each hook in a process of its own.
    for hook in ("build_wheel", "build_sdist"):
        code = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", code, str(place)], cwd=copy, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """The wheel, unpacked as an installation."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "installed")
    return built / "installed"


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the installation, started in another folder; nothing of the checkout can be imported."""
    code = (
        "import sys, pathlib; import alade_brian\n"
        "assert pathlib.Path(alade_brian.__file__).is_relative_to(sys.argv[1]), alade_brian.__file__\n"
        "del sys.argv[1]\nfrom alade_brian.cli import console\nconsole()"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-c", code, str(installed), *arguments],
        cwd=installed.parent, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_the_wheel_holds_every_file_that_is_not_code(installed: Path) -> None:
    for folder, pattern in HELD.items():
        for file in files(pattern):
            assert (installed / folder / file.name).read_bytes() == file.read_bytes()
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"alade_brian"}


def test_the_wheel_holds_every_module(installed: Path) -> None:
    folders = {"alade_brian": "alade_brian", "models": "alade_brian/models", "conversion": "alade_brian/conversion"}
    for folder, target in folders.items():
        for file in (ROOT / folder).rglob("*.py"):
            assert (installed / target / file.relative_to(ROOT / folder)).is_file(), file


def test_the_source_distribution_holds_the_same(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]
        names = {name.rpartition("/")[2] for name in archive.getnames()}
    assert {file.name for pattern in HELD.values() for file in files(pattern)} <= names
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE"} <= names


def test_the_wheel_runs_without_the_checkout(installed: Path) -> None:
    done = run(installed, "doctor")
    assert done.returncode in (0, 1) and done.stderr == "" and "simulation" in done.stdout
    assert ("ok", "simulation") == tuple(next(x for x in done.stdout.splitlines() if "simulation" in x).split()[:2])
    shown = run(installed, "run", "--help")
    assert shown.returncode == 0 and "tinyimagenet" in shown.stdout


def test_the_wheel_verifies_a_users_network(installed: Path) -> None:
    (installed.parent / "mine.py").write_text(
        "from torch import nn\nfrom alade_brian.models import LIF, HoldCurrent, MeanOverSteps\n"
        "net = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))\n"
    )
    np.save(installed.parent / "images.npy", 3 * np.random.default_rng(0).normal(size=(5, 6)))
    done = run(installed, "verify", "mine.py:net", "images.npy", "--backend", "numpy")
    assert done.returncode == 0 and "160 entries compared, 0 mismatched" in done.stdout, done.stderr


def test_the_wheel_finds_its_configurations_and_grids(installed: Path) -> None:
    asked = run(installed, "run", "--config", "digits", "--set", "init_cls=0")
    assert asked.returncode == 2 and f"{installed}/alade_brian/configs/digits.yaml: init_cls is 0" in asked.stderr
    asked = run(installed, "compare", "ablation", "--rows", "none")
    assert asked.returncode == 2 and "has no row 'none'" in asked.stderr
    assert not (installed.parent / "runs").exists()


def test_the_console_script_is_declared(installed: Path) -> None:
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "alade-brian = alade_brian.cli:console" in entry.read_text()
