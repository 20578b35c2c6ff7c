"""What machine this is."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path


def compiler() -> str | None:
    """The C++ compiler: $CXX where set, else g++; None where it cannot be found."""
    return shutil.which(os.environ.get("CXX") or "g++")


def processor() -> str:
    """The processor's name: programs compiled for it (-march=native) may not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def available_bytes() -> int | None:
    """Memory that is free for use on this machine, in bytes; None where it cannot be found out."""
    try:
        import psutil  # not needed by another Python that only simulates

        return int(psutil.virtual_memory().available)
    except (ImportError, OSError):  # a container may hide it
        return None
