"""Which engine simulates a specification, by the settings: the one place that knows all backends."""

from __future__ import annotations

from collections.abc import Sequence

from alade_brian.conversion.to_brian2.network import BatchLayout
from alade_brian.simulation.cuda.explicit_network import Brian2CudaDevice, explicit_target
from alade_brian.simulation.engine import BlockEngine, Engine
from alade_brian.simulation.engines.fused import fused_program
from alade_brian.simulation.engines.growing import GrowingProgram
from alade_brian.simulation.fused.program import StreamedProgram
from alade_brian.simulation.other_python.engine import OtherPythonEngine
from alade_brian.simulation.separate.runtime import RuntimeNetwork
from alade_brian.simulation.separate.shared_synapses import connector
from alade_brian.simulation.separate.standalone import StandaloneNetwork
from alade_brian.simulation.settings import (
    BYTES_PER_BLOCK,
    GPU_IMAGES_PER_RUN,
    IMAGES_PER_BLOCK,
    IMAGES_PER_RUN,
    SimulationSettings,
)
from alade_brian.spec.network import NetworkSpec
from alade_brian.spec.parts import split


def make_engine(spec: NetworkSpec, settings: SimulationSettings, traces: Sequence[str]) -> tuple[Engine, int]:
    """What simulates in this process, and how many images it is given at a time."""
    python = settings.other_python()
    if python is not None:
        bridge = OtherPythonEngine(spec, settings, traces, python)
        return bridge, bridge.images
    batch = settings.batch_for(spec)
    if settings.fuses(spec):
        program = _fused(spec, settings, traces)
        block = max(1, min(IMAGES_PER_BLOCK, BYTES_PER_BLOCK // program.bytes_per_image) // batch) * batch
        return program, block
    layout = BatchLayout(batch, -(-(GPU_IMAGES_PER_RUN if settings.backend == "cuda" else IMAGES_PER_RUN) // batch))
    connectivity = "shared" if settings.shares else "explicit"
    network: StandaloneNetwork | RuntimeNetwork
    if settings.backend in ("cpp", "cuda"):
        device = Brian2CudaDevice(explicit_target()) if settings.backend == "cuda" else None
        network = StandaloneNetwork(spec, layout, connectivity, settings.dtype, settings.cache_folder, traces, device)
    else:
        network = RuntimeNetwork(spec, layout, settings.backend, settings.dtype, traces, connector(connectivity))
    return BlockEngine(spec, network.run, network.compiled), layout.images


def _fused(spec: NetworkSpec, settings: SimulationSettings, traces: Sequence[str]) -> StreamedProgram | GrowingProgram:
    parts = split(spec) if settings.reuse and not traces else None
    if parts is not None:
        return GrowingProgram(spec, parts, settings)
    return fused_program(spec, settings, traces)
