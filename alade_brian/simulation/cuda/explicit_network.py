"""Plain Brian2 on a GPU: one weight per synapse, brian2cuda's own kernels, in the schedule of the processor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import brian2 as b2

from alade_brian.errors import UserError
from alade_brian.simulation.cache.builds import compiler_version, generator_digest
from alade_brian.simulation.cuda.brian2cuda_device import check_packages, compile_cuda, cuda_project
from alade_brian.simulation.cuda.compiler import Target, this_machine
from alade_brian.simulation.cuda.toolkit import find_curand

# What CUDA says when a run fails, and what is to be done.
_FAILURES: tuple[tuple[str, str], ...] = (
    ("out of memory", "the GPU's memory does not suffice; use a smaller simulation.batch, or float32"),
    ("busy or unavailable", "the GPU is busy: another program has it to itself; end that (nvidia-smi shows it)"),
    ("driver version is insufficient", "the GPU's driver is too old for the CUDA toolkit, or missing; install a newer"),
    ("no CUDA-capable device", "the GPU is gone; see nvidia-smi, and $CUDA_VISIBLE_DEVICES"),
)


class Brian2CudaDevice:
    """Brian2 as CUDA for a GPU; see `standalone.Device`."""

    from_spike = True
    # The same numbers for GPUs as in nvidia-smi.
    environment: Mapping[str, str] = MappingProxyType({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})

    def __init__(self, target: Target) -> None:
        self.target = target

    def project(self, folder: Path, dtype: type) -> AbstractContextManager[None]:
        """See `standalone.Device`."""
        return cuda_project(folder, dtype, self.target)

    def compile(self, folder: Path) -> None:
        """See `standalone.Device`."""
        compile_cuda(folder, self.target)

    def toolchain(self) -> dict[str, Any]:
        """See `standalone.Device`."""
        return cuda_toolchain(self.target)

    def failure(self, folder: Path, code: int, said: str) -> Exception:
        """See `standalone.Device`."""
        return gpu_failure(folder, code, said)


def cuda_toolchain(target: Target) -> dict[str, Any]:
    """What decides, beside the structure, which machine code a CUDA build holds."""
    return {
        "cuda": target.name,
        "curand": str(find_curand(target.toolkit).library),
        "brian2": b2.__version__,
        "compiler": compiler_version(),
        "generator": generator_digest(),
    }


def gpu_failure(folder: Path, code: int, said: str) -> UserError:
    """A sentence for a simulation that a GPU did not finish."""
    advice = next((what for mark, what in _FAILURES if mark in said), "the GPU was lost, or its program failed")
    first = re.sub(r"\s+", " ", said)[:300] or "it said nothing"
    return UserError(f"{advice}; the simulation in {folder} ended with code {code}: {first}")


def explicit_target() -> Target:
    """The target for this Python and this machine's GPU. UserError where anything that is needed is missing."""
    check_packages()
    target = this_machine()
    find_curand(target.toolkit)
    return target
