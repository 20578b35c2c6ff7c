"""One way in for all backends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from alade_brian.conversion.brian2_network import Layout
from alade_brian.conversion.connectivity import out_degrees
from alade_brian.conversion.responses import Responses, concatenate
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.errors import UserError
from alade_brian.simulation.settings import IMAGES_PER_RUN, SimulationSettings


class Engine(Protocol):
    """A network that is ready to run: what a backend must offer."""

    compiled: bool

    def run(self, images: np.ndarray) -> Responses: ...


@dataclass
class Simulator:
    """A specification, ready to be shown images.

    compiled   whether a compiler had to run; seconds_build and seconds_simulate add up where the time went
    """

    spec: NetworkSpec
    engine: Engine
    images_per_run: int
    seconds_build: float
    seconds_simulate: float = field(default=0.0)

    @property
    def compiled(self) -> bool:
        return self.engine.compiled

    def chunks(self, images: np.ndarray) -> Iterator[tuple[slice, Responses]]:
        """Responses run by run, each with the slice of the images that it answers; bounded memory."""
        check_images(self.spec, images)
        for start in range(0, len(images), self.images_per_run):
            part = slice(start, min(start + self.images_per_run, len(images)))
            began = time.perf_counter()
            responses = self.engine.run(images[part])
            self.seconds_simulate += time.perf_counter() - began
            yield part, responses


def open_simulator(spec: NetworkSpec, settings: SimulationSettings | None = None) -> Simulator:
    """Build (or find) what simulates this specification. Raises UserError where the settings cannot be met here."""
    settings = settings or SimulationSettings()
    settings.check()
    batch = settings.batch_for(spec)
    layout = Layout(batch, -(-IMAGES_PER_RUN // batch))
    began = time.perf_counter()
    engine: Engine
    if settings.backend == "cpp":
        from alade_brian.simulation.standalone import StandaloneNetwork

        engine = StandaloneNetwork(spec, layout, settings.dtype, settings.cache_folder)
    else:
        from alade_brian.simulation.runtime import RuntimeNetwork

        engine = RuntimeNetwork(spec, layout, settings.backend, settings.dtype)
    return Simulator(spec, engine, layout.images, time.perf_counter() - began)


def simulate(spec: NetworkSpec, images: np.ndarray, settings: SimulationSettings | None = None) -> Responses:
    """All responses to images ``(n, *stimulus shape)``; for many images see `Simulator.chunks`."""
    return concatenate([responses for _, responses in open_simulator(spec, settings).chunks(images)])


def check_images(spec: NetworkSpec, images: np.ndarray) -> None:
    """UserError where images do not fit the network's stimulus."""
    if images.shape[1:] != spec.stimulus.shape or not len(images):
        raise UserError(
            f"the images have the shape {images.shape}; this network takes (n, "
            f"{', '.join(map(str, spec.stimulus.shape))}), n at least 1"
        )
    if not np.all(np.isfinite(images)):
        raise UserError("the images hold values that are not finite; clean them before the simulation")


def synaptic_events(spec: NetworkSpec, responses: Responses) -> int:
    """Spikes times the synapses that carried them, over all images and projections between populations."""
    total = 0
    for projection in spec.projections:
        if projection.source != spec.stimulus.name:
            counts = responses.spikes[projection.source].sum((0, 1), dtype=np.int64)
            total += int(counts @ out_degrees(spec, projection))
    return total
