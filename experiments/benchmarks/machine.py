"""On what was measured: without it no number of images per second says anything."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import joblib
import psutil

from alade_brian.machine import compiler
from alade_brian.runs.folder import environment

# What decides how many numbers a register holds.
FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512vl", "avx512bw", "asimd", "sve")


def cores() -> int:
    """Cores that this process may use; a container often has fewer than the machine."""
    return joblib.cpu_count()


def machine() -> dict[str, Any]:
    """Processor with its vector instructions, cores, versions, and the load when the measurement began."""
    return environment() | {
        "cores_used": cores(),
        "vector_instructions": _flags(),
        "compiler": _compiler(),
        "load_average": list(psutil.getloadavg()),
    }


def _flags() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    words = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [flag for flag in FLAGS if flag in words]


def _compiler() -> str | None:
    path = compiler()
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True)
    return (done.stdout.splitlines() or [path])[0]
