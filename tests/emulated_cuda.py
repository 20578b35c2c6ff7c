"""The GPU's programs on a processor: compiled with g++ against a small stand-in for CUDA, see cuda_shim/."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alade_brian.machine import compiler
from alade_brian.simulation.cache.builds import FLAGS, NATIVE, PROGRAM
from alade_brian.simulation.cuda.compiler import SOURCE
from alade_brian.simulation.cuda.fused_program import FusedCudaProgram
from alade_brian.simulation.cuda.toolkit import Gpu
from alade_brian.simulation.simulator import Images, arrays, pixels
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.responses import Responses, concatenate

SHIM = Path(__file__).parent / "cuda_shim"


@dataclass(frozen=True)
class Emulation:
    """g++ in the place of nvcc."""

    flags: Sequence[str] = ()
    gpu: Gpu | None = None

    @property
    def name(self) -> str:
        """Another shim or other flags are another build."""
        return f"emulated {hashlib.sha256((SHIM / 'cuda_runtime.h').read_bytes()).hexdigest()} {self.flags}"

    def command(self, *flags: str) -> list[str]:
        """See `Compiler`; flags are nvcc's."""
        path = compiler()
        assert path is not None
        own = [flag for flag in FLAGS if flag != "-O3"]
        includes = [f"-I{SHIM}", "-I.", "-Ibrianlib"]
        return [path, *own, "-O1", NATIVE, *self.flags, *includes, "-x", "c++", SOURCE, "-o", PROGRAM]


def emulate(
    spec: NetworkSpec,
    images: Images,
    cache: Path,
    batch: int = 2,
    dtype: str = "float64",
    traces: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> Responses:
    """Answers of the GPU's program to images."""
    program = FusedCudaProgram(spec, batch, dtype, cache, Emulation(flags), traces)
    shown: np.ndarray = pixels(spec, arrays(spec, images))
    try:
        return concatenate([found.unpacked() for found in program.stream([shown])])
    finally:
        program.close()
