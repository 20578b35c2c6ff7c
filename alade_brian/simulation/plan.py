"""One answer to how a network is simulated: decided once, then only read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from alade_brian.simulation.cuda.compiler import Target
from alade_brian.simulation.duration import ACTIVITY, expected_seconds
from alade_brian.simulation.resources import format_bytes, format_seconds
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.spec import NetworkSpec
from alade_brian.spec.cost_table import lowering_table

# What the advice gives a duration for.
IMAGES_FOR_ESTIMATE = 1000


@dataclass(frozen=True)
class Way:
    """How a backend simulates a network: the part of a plan that is the backend's to decide.

    connectivity   shared (kernels) or explicit (a list of synapses)
    passes         fused or separate
    batch          images side by side
    workers        processes that share the images on this machine
    """

    connectivity: str
    passes: str
    batch: int
    workers: int


@dataclass(frozen=True)
class Cost:
    """What a simulation takes, about.

    memory        bytes of one process
    gpu_memory    bytes of a GPU; None if it needs none
    nanoseconds   for a neuron in a step, and for a spike at a synapse; None if that was never measured
    """

    memory: int
    gpu_memory: int | None = None
    nanoseconds: tuple[float, float] | None = None


@dataclass(frozen=True)
class SimulationPlan:
    """How one network is simulated with one set of settings; made by `planning.plan_simulation`.

    settings       as the user gave them, the backend resolved
    way, cost      what the backend decided, and what that takes
    cache          folder of compiled networks
    reuse          whether extractors are simulated by themselves, if the network has any
    keep_answers   whether their answers are kept on disk
    python         the Python that simulates; None: this one
    target         the GPU and its compiler, as found on this machine; None if none was looked for
    """

    spec: NetworkSpec = field(repr=False)
    settings: SimulationSettings
    way: Way
    cost: Cost
    cache: Path
    reuse: bool
    keep_answers: bool
    python: Path | None = None
    target: Target | None = None

    @property
    def backend(self) -> str:
        """Name of the backend, never auto."""
        return self.settings.backend

    @property
    def dtype(self) -> str:
        """float64 or float32."""
        return self.settings.dtype

    @property
    def cluster(self) -> str | None:
        """Address of the cluster that shares the images."""
        return self.settings.cluster

    @property
    def connectivity(self) -> str:
        """See `Way`."""
        return self.way.connectivity

    @property
    def passes(self) -> str:
        """See `Way`."""
        return self.way.passes

    @property
    def batch(self) -> int:
        """See `Way`."""
        return self.way.batch

    @property
    def workers(self) -> int:
        """See `Way`."""
        return self.way.workers

    def alone(self) -> SimulationPlan:
        """The plan of one worker among those that share the images."""
        settings = dataclasses.replace(self.settings, workers=1, cluster=None)
        return dataclasses.replace(self, settings=settings, way=dataclasses.replace(self.way, workers=1))

    def seconds(self, images: int, activity: float = ACTIVITY) -> float | None:
        """Seconds for so many images on this machine, see `expected_seconds`; None if it cannot be known."""
        if self.cluster is not None or self.cost.nanoseconds is None:
            return None
        return expected_seconds(self.spec, self.cost.nanoseconds, self.workers, images, activity)

    def advice(self) -> str:
        """Size of the network, the path that it takes, its memory, and about how long it will take, in one line."""
        table = lowering_table(self.spec)
        kernels = "shared kernels" if self.connectivity == "shared" else "a list of synapses"
        together = f"{self.batch} images side by side" if self.batch > 1 else "an image at a time"
        return (
            f"{sum(row.neurons for row in table):,} neurons and {sum(row.synapses for row in table):,} synapses per "
            f"image; {self.backend}, {self.passes} passes with {kernels}, {together}, "
            f"{self.workers} process{'es' if self.workers > 1 else ''} with about {format_bytes(self.cost.memory)} "
            f"each; {self._duration()}"
        )

    def _duration(self) -> str:
        if self.cluster is not None:
            return f"how long it takes is up to the cluster at {self.cluster}"
        seconds, unknown = self.seconds(IMAGES_FOR_ESTIMATE), "how long it takes was never measured"
        if self.cost.gpu_memory is not None:
            return f"about {format_bytes(self.cost.gpu_memory)} of the GPU's memory; {unknown}"
        if seconds is None:
            return unknown
        return (
            f"about {format_seconds(seconds)} for {IMAGES_FOR_ESTIMATE:,} images if neurons spike in {ACTIVITY:.0%} of "
            "the steps, excluding compilation"
        )
