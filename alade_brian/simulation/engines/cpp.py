"""Generated C++ on the processor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alade_brian.conversion.to_brian2.network import BatchLayout
from alade_brian.simulation.cuda.compiler import Target
from alade_brian.simulation.engines.backend import MOST_SIDE_BY_SIDE, check_compiler
from alade_brian.simulation.engines.compiled import CompiledBackend
from alade_brian.simulation.fused.program import FusedProgram, StreamedProgram
from alade_brian.simulation.plan import SimulationPlan, Way
from alade_brian.simulation.separate.standalone import Device, Processor, StandaloneNetwork
from alade_brian.simulation.separate.state_monitors import States, Wanted
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.responses import Responses

# Neurons at once in fused passes: their state stays in a core's cache, and small networks still fill a step.
NEURONS_AT_ONCE = 8_192


class CppBackend(CompiledBackend):
    """Brian2's C++ standalone mode."""

    name = "cpp"
    monitors = True

    def check_machine(self, settings: SimulationSettings) -> Target | None:
        """See `Backend`."""
        check_compiler(self.name)
        return None

    def fused_batch(self, spec: NetworkSpec, settings: SimulationSettings) -> int:
        """See `Backend`."""
        most = NEURONS_AT_ONCE // sum(p.size for p in spec.populations)
        return settings.batch or max(1, min(MOST_SIDE_BY_SIDE, most))

    def part_batch(self, plan: SimulationPlan, part: NetworkSpec) -> int:
        """See `CompiledBackend`. What suits the part: an extractor's program does not change if the network grows."""
        return self.fused_batch(part, plan.settings)

    def program(self, plan: SimulationPlan, traces: Sequence[str]) -> StreamedProgram:
        """See `CompiledBackend`."""
        return FusedProgram(plan.spec, plan.batch, plan.dtype, plan.cache, traces)

    def device(self, plan: SimulationPlan) -> Device:
        """See `CompiledBackend`."""
        return Processor()

    def record_states(self, plan: SimulationPlan, pixels: np.ndarray, wanted: Wanted) -> tuple[Responses, States]:
        """See `Backend`. Fused passes have no monitors, so this compiles a network in separate passes."""
        layout = BatchLayout(plan.batch, -(-len(pixels) // plan.batch))
        network = StandaloneNetwork(
            plan.spec, layout, plan.connectivity, plan.dtype, plan.cache, (), self.device(plan), wanted
        )
        return network.states(pixels)

    def _measured_as(self, way: Way, dtype: str) -> str:
        return super()._measured_as(way, dtype) if way.connectivity == "explicit" else f"{way.passes} {dtype}"
