"""Programs that a machine may have: written as small scripts and found on the PATH, as the real ones are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SMI = """#!/bin/sh
case "$*" in
  *--query-gpu*) echo "{row}" ;;
  *) echo "| NVIDIA-SMI 1.0   Driver Version: {driver}   CUDA Version: {cuda} |" ;;
esac
"""
NVCC = """#!/bin/sh
[ "$1" = --list-gpu-code ] && echo sm_75 && echo sm_80 && echo sm_90 && exit
echo "Cuda compilation tools, release {version}, V{version}.1"
"""


def script(path: Path, text: str) -> Path:
    """An executable script."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that, with the system's own programs but nvcc, is all of the PATH: what it lacks, the machine lacks."""
    for key in ("CUDA_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "ALADE_BRIAN_CUDA_PYTHON"):
        monkeypatch.delenv(key, raising=False)
    tools = folder / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("PYENV_ROOT", str(folder / "no-pyenv"))
    monkeypatch.setattr("alade_brian.simulation.cuda.toolkit.USUAL_PLACE", str(folder / "no-cuda"))
    for name in ("sh", "g++", "as", "ld"):
        found = next((Path(p, name) for p in ("/usr/bin", "/bin", "/usr/local/bin") if Path(p, name).exists()), None)
        if found is not None:
            (tools / name).symlink_to(found)
    return tools


def gpu(tools: Path, capability: str = "9.0", free: str = "80000", mode: str = "Default", cuda: str = "13.0") -> None:
    """A GPU, as nvidia-smi describes it."""
    row = f"0, GPU-1234, Fake GPU, {capability}, 81559, {free}, 580.1, {mode}"
    script(tools / "nvidia-smi", SMI.format(row=row, driver="580.1", cuda=cuda))


def nvcc(tools: Path, version: str = "13.0") -> None:
    """A CUDA compiler that knows its version and nothing else."""
    script(tools / "nvcc", NVCC.format(version=version))


def python(path: Path, before: str = "") -> Path:
    """This very Python under another name, `before` (a line of shell) done first."""
    return script(path, f'#!/bin/sh\n{before}\nexec "{sys.executable}" "$@"\n')
