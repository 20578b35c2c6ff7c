"""C++ kernels of this folder: compiled for this machine when first needed, kept in a cache, and never required.

Where there is no compiler, or it fails, `kernel` says so in the log, once, and gives None; whoever asked then uses
torch's own operations.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from alade_brian.errors import UserError
from alade_brian.files import user_cache
from alade_brian.machine import compiler, processor
from alade_brian.program_cache import finish_build, private_folder, read_build

log = logging.getLogger("alade_brian")

# Errors of arithmetic are neither trapped nor counted, as in torch; results stay those of IEEE 754.
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")
LIBRARY = "kernel.so"
# The types that every kernel exists for, by the ends of its functions' names.
TYPES = {torch.float32: "float32", torch.float64: "float64"}


def usable(*tensors: Tensor | None) -> bool:
    """Whether kernels can take these tensors: on the CPU, of one of their types, and not while torch compiles."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return all(x is None or (type(x) in PLAIN and x.device.type == "cpu" and x.dtype in TYPES) for x in tensors)


# Neither torch.fx's stand-ins nor other subclasses hold numbers of their own.
PLAIN = (Tensor, torch.nn.Parameter)


@cache
def kernel(name: str, *flags: str) -> ctypes.CDLL | None:
    """The functions of ``name.cpp``, compiled with further flags; None where that is impossible."""
    path = compiler()
    if path is None:
        log.info("no C++ compiler was found, so %s runs on torch's operations; g++ would make training faster", name)
        return None
    source = files("alade_brian.models.kernels") / f"{name}.cpp"
    try:
        command = [path, *FLAGS, *flags]
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        parts = [source.read_text(), shlex.join(command), version, processor()]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        cache = cache_folder()
        private_folder(cache.parent)
        private_folder(cache)
        folder = cache / f"{name}-{digest}"
        if read_build(folder, LIBRARY) is None:
            _compile(command, parts[0], folder)
        found = ctypes.CDLL(str(folder / LIBRARY))
    except (OSError, UserError, subprocess.CalledProcessError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        reason = next((line for line in lines if "error" in line), lines[0] if lines else "no reason given")
        log.warning("%s was not compiled (%s), so it runs on torch's operations, more slowly", name, reason.strip())
        return None
    return found


def _compile(command: list[str], source: str, folder: Path) -> None:
    """Whole or not at all, also where two processes compile the same."""
    scratch = Path(tempfile.mkdtemp(prefix="compiling-", dir=folder.parent))
    try:
        text = scratch / "kernel.cpp"
        text.write_text(source)
        subprocess.run([*command, str(text), "-o", str(scratch / LIBRARY)], capture_output=True, text=True, check=True)
        finish_build(scratch, folder, LIBRARY, {})
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def reuse_freed_memory() -> None:
    """Let the C library of this process use again what a layer has freed, also where it is large; for a program that
    trains, not for a library.

    Otherwise large tensors are given back to the system and come anew, zeroed page by page, in every layer of every
    step.
    """
    mmap_threshold, trim_threshold, largest = -3, -1, 2**31 - 1  # of malloc.h
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is not None:
        change(mmap_threshold, largest)
        change(trim_threshold, largest)


def cache_folder() -> Path:
    """``kernels`` in $ALADE_BRIAN_CACHE, else in the user's cache folder."""
    return Path(os.environ.get("ALADE_BRIAN_CACHE") or user_cache()) / "kernels"


def run(library: ctypes.CDLL, name: str, shape: ctypes.Structure, x: Tensor, *others: Tensor | None) -> None:
    """Call a function on tensors, which must lie in memory as it expects them; the first one decides the type."""
    function = getattr(library, f"{name}_{TYPES[x.dtype]}")
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in (x, *others)]
    function.restype = None
    function(ctypes.byref(shape), *pointers)
