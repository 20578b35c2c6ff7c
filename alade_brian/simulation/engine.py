"""What simulates a specification, by the settings: the one place that knows all backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from alade_brian.conversion.to_brian2.network import BatchLayout
from alade_brian.simulation.bridge import OtherPythonEngine
from alade_brian.simulation.cuda_network import Brian2CudaDevice, explicit_target
from alade_brian.simulation.events import EventCounter
from alade_brian.simulation.fused_programs import fused_program
from alade_brian.simulation.growing import GrowingProgram
from alade_brian.simulation.program import StreamedProgram
from alade_brian.simulation.runtime import RuntimeNetwork
from alade_brian.simulation.settings import (
    BYTES_PER_BLOCK,
    GPU_IMAGES_PER_RUN,
    IMAGES_PER_BLOCK,
    IMAGES_PER_RUN,
    SimulationSettings,
)
from alade_brian.simulation.shared_synapses import connector
from alade_brian.simulation.standalone import StandaloneNetwork
from alade_brian.spec.network import NetworkSpec
from alade_brian.spec.parts import split
from alade_brian.spikes.packed import PackedResponses, packed
from alade_brian.spikes.responses import Responses


class Engine(Protocol):
    """A network that is ready to run: what a backend must offer.

    compiled      whether a compiler had to run for it
    own_process   whether it runs outside of this process, so that several may run at once
    """

    compiled: bool
    own_process: bool

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        """Answers to blocks of images, each ``(n, rows, pixels)``; `record` says whether the spikes are wanted."""
        ...


@dataclass
class BlockEngine:
    """An engine that answers to one block of images at a time, unpacked."""

    spec: NetworkSpec
    run: Callable[[np.ndarray], Responses]
    compiled: bool
    own_process: bool = False

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        """See `Engine`."""
        shapes, counter = {p.name: p.shape for p in self.spec.spiking}, EventCounter(self.spec)
        for block in blocks:
            responses = self.run(block)
            yield packed(responses, shapes, counter.count(responses, block))


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
