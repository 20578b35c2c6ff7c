"""Brian2's runtime targets: the simulation runs in this process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alade_brian.conversion.to_brian2.network import BatchLayout
from alade_brian.simulation.cuda.compiler import Target
from alade_brian.simulation.engine import BlockEngine
from alade_brian.simulation.engines.backend import Backend, check_compiler
from alade_brian.simulation.plan import SimulationPlan, Way
from alade_brian.simulation.separate.runtime import RuntimeNetwork
from alade_brian.simulation.separate.shared_synapses import connector
from alade_brian.simulation.separate.state_monitors import States, Wanted
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.spikes.responses import Responses


class NumpyBackend(Backend):
    """Brian2's numpy target, which needs no compiler.

    target   Brian2's name of it; costs are those measured for it
    """

    name = target = "numpy"
    monitors = True

    def build(self, plan: SimulationPlan, traces: Sequence[str]) -> tuple[BlockEngine, int]:
        """See `Backend`."""
        layout = BatchLayout(plan.batch, -(-self.images_per_run // plan.batch))
        network = RuntimeNetwork(plan.spec, layout, self.target, plan.dtype, traces, connector(plan.connectivity))
        return BlockEngine(plan.spec, network.run, network.compiled), layout.images

    def record_states(self, plan: SimulationPlan, pixels: np.ndarray, wanted: Wanted) -> tuple[Responses, States]:
        """See `Backend`."""
        layout = BatchLayout(plan.batch, -(-len(pixels) // plan.batch))
        network = RuntimeNetwork(plan.spec, layout, self.target, plan.dtype, (), connector(plan.connectivity))
        return network.states(pixels, wanted)

    def _measured_as(self, way: Way, dtype: str) -> str:
        return f"{self.target} {way.connectivity}"


class CythonBackend(NumpyBackend):
    """Brian2's Cython target."""

    name = target = "cython"
    shares = False

    def check_machine(self, settings: SimulationSettings) -> Target | None:
        """See `Backend`."""
        check_compiler(self.name)
        return None
