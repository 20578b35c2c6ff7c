"""What the backends that compile a whole network have in common."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence

from alade_brian.conversion.to_brian2.network import BatchLayout
from alade_brian.simulation.engine import BlockEngine, Engine, images_per_block
from alade_brian.simulation.engines.backend import Backend
from alade_brian.simulation.engines.growing import GrowingProgram
from alade_brian.simulation.fused.program import StreamedProgram
from alade_brian.simulation.plan import SimulationPlan
from alade_brian.simulation.separate.standalone import Device, StandaloneNetwork
from alade_brian.spec import NetworkSpec
from alade_brian.spec.parts import split


class CompiledBackend(Backend):
    """Fused passes in a program that stays alive, or Brian2's own standalone project."""

    fuses = True

    @abstractmethod
    def program(self, plan: SimulationPlan, traces: Sequence[str]) -> StreamedProgram:
        """The program of a network in fused passes, found or built."""

    @abstractmethod
    def device(self, plan: SimulationPlan) -> Device:
        """What compiles and runs a network in separate passes."""

    @abstractmethod
    def part_batch(self, plan: SimulationPlan, part: NetworkSpec) -> int:
        """Images side by side in a part of a network that grows."""

    def part(self, plan: SimulationPlan, part: NetworkSpec) -> SimulationPlan:
        """The plan of a part of a network that grows."""
        way = dataclasses.replace(plan.way, batch=self.part_batch(plan, part))
        cost = self.cost(part, way, plan.dtype)
        return dataclasses.replace(plan, spec=part, way=way, cost=cost, reuse=False)

    def build(self, plan: SimulationPlan, traces: Sequence[str]) -> tuple[Engine, int]:
        """See `Backend`."""
        if plan.passes == "fused":
            program = self._fused_engine(plan, traces)
            return program, images_per_block(program.bytes_per_image, plan.batch)
        layout = BatchLayout(plan.batch, -(-self.images_per_run // plan.batch))
        network = StandaloneNetwork(
            plan.spec, layout, plan.connectivity, plan.dtype, plan.cache, traces, self.device(plan)
        )
        return BlockEngine(plan.spec, network.run, network.compiled), layout.images

    def _fused_engine(self, plan: SimulationPlan, traces: Sequence[str]) -> StreamedProgram | GrowingProgram:
        # What extractors answered is given again to the same image, which noise would differ for.
        noisy = any(p.neuron.draws for p in plan.spec.populations)
        parts = split(plan.spec) if plan.reuse and not traces and not noisy else None
        if parts is None:
            return self.program(plan, traces)
        return GrowingProgram(plan, parts, lambda part: self.program(self.part(plan, part), ()))
