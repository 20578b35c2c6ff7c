"""What a backend is: it checks the machine, decides how a network runs, builds its engine, and knows its cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import joblib
import numpy as np

from alade_brian.errors import UserError
from alade_brian.machine import compiler
from alade_brian.simulation.cuda.compiler import Target
from alade_brian.simulation.duration import COSTS
from alade_brian.simulation.engine import Engine
from alade_brian.simulation.gather import can_gather
from alade_brian.simulation.plan import Cost, SimulationPlan, Way
from alade_brian.simulation.resources import needed_bytes
from alade_brian.simulation.separate.state_monitors import States, Wanted
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.spec import NetworkSpec
from alade_brian.spec.cost_table import lowering_table
from alade_brian.spikes.responses import Responses

# Images per run of a program that takes its images as a file: enough to make loading the synapses a small part of it.
IMAGES_PER_RUN = 128
# Explicit synapses held at once, over all copies: about 50 bytes each while they are created.
SYNAPSES_AT_ONCE = 8_000_000
# Beyond this a single image's synapses do not fit into a common machine's memory.
SYNAPSES_AT_MOST = 200_000_000
# Images side by side at most, on a processor.
MOST_SIDE_BY_SIDE = 8


class Backend(ABC):
    """A way to run what Brian2 generates; a further one is a class like this, registered in `engines.TABLE`.

    name              as in the settings
    shares            whether it has kernels that are shared
    fuses             whether it has fused passes
    monitors          whether it records any variables of neurons
    images_per_run, most_side_by_side, synapses_at_once   of a network in separate passes
    """

    name: str
    shares = True
    fuses = False
    monitors = False
    images_per_run = IMAGES_PER_RUN
    most_side_by_side = MOST_SIDE_BY_SIDE
    synapses_at_once = SYNAPSES_AT_ONCE

    @abstractmethod
    def build(self, plan: SimulationPlan, traces: Sequence[str]) -> tuple[Engine, int]:
        """The engine of a plan in this process, and how many images it is given at a time."""

    def check(self, settings: SimulationSettings) -> None:
        """UserError if it cannot do what the settings ask for, on whatever machine."""
        if not self.shares and settings.connectivity == "shared":
            raise UserError(f"backend '{self.name}' has no shared connectivity; use --connectivity explicit")
        if settings.passes == "fused" and (not self.fuses or settings.connectivity == "explicit"):
            raise UserError(
                "fused passes need the backend 'cpp' or 'cuda' and shared connectivity; leave simulation.passes out"
            )

    def record_states(self, plan: SimulationPlan, pixels: np.ndarray, wanted: Wanted) -> tuple[Responses, States]:
        """Responses to images as pixels ``(n, rows, pixels)``, and variables of their neurons, see `states`."""
        raise NotImplementedError(f"backend {self.name} has no monitors of variables")

    def check_machine(self, settings: SimulationSettings) -> Target | None:
        """What it uses of this machine's GPU, None if nothing. UserError if this machine lacks what it needs."""
        return None

    def needs_brian2cuda(self, settings: SimulationSettings) -> bool:
        """Whether the simulation needs brian2cuda, which another Python may have."""
        return False

    def connectivity(self, settings: SimulationSettings) -> str:
        """Whether kernels are shared, where a projection can be, or every synapse is explicit."""
        shared = settings.connectivity == "shared" or (settings.connectivity == "auto" and self.shares)
        return "shared" if shared else "explicit"

    def decide(self, spec: NetworkSpec, settings: SimulationSettings) -> Way:
        """How this network runs; asks nothing of the machine but its number of cores. UserError if it cannot."""
        connectivity, fused = self.connectivity(settings), self._fused(spec, settings)
        batch = self.fused_batch(spec, settings) if fused else self._separate_batch(spec, settings)
        passes = "fused" if fused else "separate"
        return Way(connectivity, passes, batch, self._workers(settings, fused))

    def cost(self, spec: NetworkSpec, way: Way, dtype: str) -> Cost:
        """What that takes, about."""
        memory = needed_bytes(spec, way.connectivity, way.batch, dtype)
        return Cost(memory, nanoseconds=COSTS[self._measured_as(way, dtype)])

    def fused_batch(self, spec: NetworkSpec, settings: SimulationSettings) -> int:
        """Images side by side in fused passes."""
        raise NotImplementedError(f"backend {self.name} has no fused passes")

    def refusal(self, spec: NetworkSpec) -> str | None:
        """Why this network cannot run with shared connectivity at all, in a sentence; None if it can."""
        return None

    def _measured_as(self, way: Way, dtype: str) -> str:
        return f"{self.name} {way.connectivity}"

    def _fused(self, spec: NetworkSpec, settings: SimulationSettings) -> bool:
        if not self.fuses or self.connectivity(settings) == "explicit" or settings.passes == "separate":
            return False
        refused = self.refusal(spec)
        if refused is not None:
            raise UserError(refused)
        possible = can_gather(spec)
        if settings.passes == "fused" and not possible:
            raise UserError(
                "the network has a list of connections that is too long for fused passes, or synapses that fail by "
                "chance; leave simulation.passes out"
            )
        return possible

    def _separate_batch(self, spec: NetworkSpec, settings: SimulationSettings) -> int:
        synapses = sum(row.synapses for row in lowering_table(spec))
        if synapses > SYNAPSES_AT_MOST and self.connectivity(settings) == "explicit":
            raise UserError(
                f"the network has {synapses:,} explicit synapses per image, more than the {SYNAPSES_AT_MOST:,} that "
                "are simulated at most; use --connectivity shared, smaller images, fewer channels or fewer tasks"
            )
        return settings.batch or max(1, min(self.most_side_by_side, self.synapses_at_once // max(1, synapses)))

    def _workers(self, settings: SimulationSettings, fused: bool) -> int:
        return settings.workers or (joblib.cpu_count() if fused else 1)


def check_compiler(backend: str) -> None:
    """UserError if this machine has no C++ compiler."""
    if compiler() is None:
        raise UserError(
            f"backend '{backend}' needs a C++ compiler and none was found (looked for $CXX and g++ on the PATH); "
            "install one (Debian: apt-get install g++), or use --backend numpy"
        )
