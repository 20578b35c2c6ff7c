"""Programs in fused passes: which one a backend takes."""

from __future__ import annotations

from collections.abc import Sequence

from alade_brian.simulation.cuda.compiler import this_machine
from alade_brian.simulation.cuda.fused_program import FusedCudaProgram
from alade_brian.simulation.fused.program import FusedProgram, StreamedProgram
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.spec.network import NetworkSpec


def fused_program(spec: NetworkSpec, settings: SimulationSettings, traces: Sequence[str] = ()) -> StreamedProgram:
    """The program of a network for the processor or the GPU, found or built."""
    batch = settings.batch_for(spec)
    if settings.backend == "cuda":
        return FusedCudaProgram(spec, batch, settings.dtype, settings.cache_folder, this_machine(), traces)
    return FusedProgram(spec, batch, settings.dtype, settings.cache_folder, traces)
