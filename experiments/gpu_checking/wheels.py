"""Packages for a machine without a network: a folder of wheels, filled on another machine. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from alade_brian.errors import UserError

# What the simulation needs; cuRAND (tens of megabytes) only where the machine's CUDA toolkit lacks it.
PACKAGES = ("brian2cuda==1.0b1", "joblib", "scipy", "platformdirs", "psutil", "pyyaml")
CURAND = "nvidia-curand"
PYTHON = "3.12"
PLATFORMS = tuple(f"manylinux{version}_x86_64" for version in ("_2_28", "_2_27", "_2_17", "2014"))


def fill(folder: Path, curand: bool) -> int:
    """Download the wheels into a folder; their size in bytes. UserError where pip fails."""
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [f"--platform={name}" for name in PLATFORMS]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--python-version={PYTHON}",
        *platforms, "--dest", str(folder), *PACKAGES, *([CURAND] if curand else []),
    ]  # fmt: skip
    if subprocess.run(command).returncode:
        raise UserError(f"pip could not fill {folder}; see its message above")
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def go_on_with(folder: Path) -> None:
    """Go on in an environment made of a folder's wheels; this function returns only within it."""
    environment = folder.absolute() / "environment"
    python = environment / "bin" / "python"
    if Path(os.path.abspath(sys.executable)) == python:
        return
    if not any(folder.glob("brian2cuda-*.whl")):
        raise UserError(f"{folder} holds no brian2cuda; fill it with --fill-wheels {folder}")
    if sys.version_info[:2] != tuple(int(part) for part in PYTHON.split(".")):
        raise UserError(f"the wheels are for Python {PYTHON}; run python{PYTHON} {' '.join(sys.argv)}")
    curand = [CURAND] if any(folder.glob("nvidia_curand*.whl")) else []
    commands = [
        # A PyTorch that is there is compared with.
        [sys.executable, "-m", "venv", "--system-site-packages", str(environment)],
        [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(folder), *PACKAGES, *curand],
    ]
    for command in commands if not python.is_file() else commands[1:]:
        if subprocess.run(command).returncode:
            raise UserError(f"'{' '.join(command)}' failed; see its message above")
    os.execv(python, [str(python), *sys.argv])
