"""Generated CUDA on a GPU: fused passes of this package, or brian2cuda with explicit synapses."""

from __future__ import annotations

from collections.abc import Sequence

from alade_brian.errors import UserError
from alade_brian.simulation.cuda.compiler import Target, this_machine
from alade_brian.simulation.cuda.explicit_network import Brian2CudaDevice, explicit_target
from alade_brian.simulation.cuda.fused_limits import images_on_gpu, refusal
from alade_brian.simulation.cuda.fused_program import FusedCudaProgram
from alade_brian.simulation.engines.compiled import CompiledBackend
from alade_brian.simulation.fused.program import StreamedProgram
from alade_brian.simulation.plan import Cost, SimulationPlan, Way
from alade_brian.simulation.resources import GPU_IMAGES_PER_RUN, gpu_bytes, needed_bytes
from alade_brian.simulation.separate.standalone import Device
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.spec import NetworkSpec


class CudaBackend(CompiledBackend):
    """One process, one GPU, which is busier with more images side by side."""

    name = "cuda"
    images_per_run = GPU_IMAGES_PER_RUN
    most_side_by_side = 256
    # A program with explicit synapses sets all of them up for every run.
    synapses_at_once = 32_000_000

    def check(self, settings: SimulationSettings) -> None:
        """See `Backend`."""
        super().check(settings)
        if self.connectivity(settings) == "shared" and settings.passes == "separate":
            raise UserError(
                "backend 'cuda' runs shared connectivity in fused passes; leave simulation.passes out, or use "
                "--connectivity explicit"
            )
        if settings.workers is not None and settings.workers > 1:
            raise UserError(f"workers is {settings.workers}, but one process keeps a GPU busy; leave --workers out")

    def check_machine(self, settings: SimulationSettings) -> Target | None:
        """See `Backend`."""
        return explicit_target() if self.needs_brian2cuda(settings) else this_machine()

    def needs_brian2cuda(self, settings: SimulationSettings) -> bool:
        """See `Backend`."""
        return self.connectivity(settings) == "explicit"

    def refusal(self, spec: NetworkSpec) -> str | None:
        """See `Backend`."""
        return refusal(spec)

    def fused_batch(self, spec: NetworkSpec, settings: SimulationSettings) -> int:
        """See `Backend`."""
        return settings.batch or images_on_gpu(spec)

    def part_batch(self, plan: SimulationPlan, part: NetworkSpec) -> int:
        """See `CompiledBackend`. What one part answers to a block is shown to the next: all have the same number."""
        return plan.batch

    def cost(self, spec: NetworkSpec, way: Way, dtype: str) -> Cost:
        """See `Backend`."""
        return Cost(
            needed_bytes(spec, way.connectivity, way.batch, dtype), gpu_bytes(spec, way.connectivity, way.batch, dtype)
        )

    def program(self, plan: SimulationPlan, traces: Sequence[str]) -> StreamedProgram:
        """See `CompiledBackend`."""
        target = plan.target or this_machine()
        return FusedCudaProgram(plan.spec, plan.batch, plan.dtype, plan.cache, target, traces)

    def device(self, plan: SimulationPlan) -> Device:
        """See `CompiledBackend`."""
        return Brian2CudaDevice(plan.target or explicit_target())

    def _workers(self, settings: SimulationSettings, fused: bool) -> int:
        return settings.workers or 1
