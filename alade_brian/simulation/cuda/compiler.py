"""nvcc: what a CUDA program is compiled with and for. Needs no GPU."""

from __future__ import annotations

from dataclasses import dataclass

from alade_brian.errors import UserError
from alade_brian.machine import compiler
from alade_brian.simulation.cache.builds import FLAGS, PROGRAM
from alade_brian.simulation.cuda.toolkit import ARCHITECTURE, Gpu, Toolkit, check_gpu, find_gpu, find_toolkit

# No contraction of a * b + c and no fast division or root: the same arithmetic as on the processor.
NVCC_FLAGS = ("-w", "-fmad=false", "--extended-lambda")
# A project's files as one.
SOURCE = "whole.cu"


@dataclass(frozen=True)
class Target:
    """What a program is compiled with and for.

    architecture   of the GPU, e.g. ``sm_80``
    optimise       of both compilers; less is faster to compile
    gpu            that runs it, as it was found; None for a target that is only compiled for
    """

    toolkit: Toolkit
    architecture: str = ARCHITECTURE
    optimise: str = "-O3"
    gpu: Gpu | None = None

    @property
    def name(self) -> str:
        """All that decides the machine code, beside the C++ compiler."""
        toolkit, flags = self.toolkit, " ".join([*NVCC_FLAGS, self.optimise, self.architecture])
        return f"{toolkit.nvcc} {toolkit.version[0]}.{toolkit.version[1]} {flags}"

    @property
    def host_flags(self) -> list[str]:
        """Flags of the C++ compiler."""
        return [self.optimise if flag == "-O3" else flag for flag in FLAGS]

    def command(self, *flags: str) -> list[str]:
        """The command that makes a program of `SOURCE`, to be run in the project's folder."""
        path = compiler()
        if path is None:
            raise UserError(
                "nvcc needs a C++ compiler and none was found (looked for $CXX and g++ on the PATH); install one "
                "(Debian: apt-get install g++)"
            )
        host = ",".join(flag for flag in self.host_flags if not flag.startswith("-std"))
        return [
            str(self.toolkit.nvcc), "-ccbin", path, f"-arch={self.architecture}", "-std=c++17", *NVCC_FLAGS,
            f"-Xcompiler={host}", "-I.", "-Ibrianlib", SOURCE, "-o", PROGRAM, *flags,
        ]  # fmt: skip


def this_machine() -> Target:
    """The target for this machine's GPU. UserError where the compiler, the GPU or a fitting driver is missing."""
    toolkit = find_toolkit()
    gpu = find_gpu()
    check_gpu(gpu, toolkit)
    return Target(toolkit, gpu.architecture, gpu=gpu)
