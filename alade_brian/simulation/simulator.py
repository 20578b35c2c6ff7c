"""One way in for all backends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from alade_brian.errors import UserError
from alade_brian.simulation.engine import Engine
from alade_brian.simulation.engines.make import make_engine
from alade_brian.simulation.planning import plan_simulation
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.simulation.workers.shards import ShardedEngine
from alade_brian.spec import NetworkSpec
from alade_brian.spec.image_axes import as_array, check_axes
from alade_brian.spikes.packed import PackedResponses
from alade_brian.spikes.responses import Responses, concatenate

# Parts of images for different workers are a multiple of this.
WHOLE = 8
# One array, or one per stimulus by its name.
Images = np.ndarray | Mapping[str, np.ndarray]


@dataclass
class Simulator:
    """A specification, ready to be shown images.

    images_per_run   the most images that are handed over at a time
    compiled         whether a compiler had to run; seconds_build and seconds_simulate add up where the time went
    """

    spec: NetworkSpec
    engine: Engine
    images_per_run: int
    seconds_build: float
    seconds_simulate: float = field(default=0.0)
    workers: int = 1

    @property
    def compiled(self) -> bool:
        return self.engine.compiled

    def chunks(self, images: Images) -> Iterator[tuple[slice, Responses]]:
        """Responses run by run, each with the slice of the images that it answers; bounded memory."""
        for part, responses in self.packed_chunks(images):
            yield part, responses.unpacked()

    def packed_chunks(self, images: Images, record: bool = True) -> Iterator[tuple[slice, PackedResponses]]:
        """As `chunks`, with a bit for each spike; `record` says whether spikes are wanted, or the logits alone."""
        shown = arrays(self.spec, images)
        check_images(self.spec, shown)
        count = len(next(iter(shown.values())))
        # Every worker gets a part, and whole presentations.
        each = -(-count // (self.workers * WHOLE)) * WHOLE
        size = self.images_per_run if self.workers == 1 else min(self.images_per_run, each)
        parts = [slice(k, min(k + size, count)) for k in range(0, count, size)]
        blocks = (pixels(self.spec, {name: array[part] for name, array in shown.items()}) for part in parts)
        answers = self.engine.stream(blocks, record)
        for part in parts:
            began = time.perf_counter()
            responses = next(answers)
            self.seconds_simulate += time.perf_counter() - began
            yield part, responses
        # A stream that was read to its end leaves its program ready for the next images; one that was not ends it.
        next(answers, None)

    def answers(self, images: Images) -> np.ndarray:
        """The logits alone, ``(images, classes)``: no spike is recorded."""
        return np.concatenate([found.logits for _, found in self.packed_chunks(images, record=False)])


def open_simulator(
    spec: NetworkSpec, settings: SimulationSettings | None = None, traces: Sequence[str] = ()
) -> Simulator:
    """Build (or find) what simulates this specification, recording the membranes of the populations in `traces`.

    Raises UserError where the settings cannot be met here.
    """
    plan = plan_simulation(spec, settings or SimulationSettings())
    began = time.perf_counter()
    if plan.workers == 1 and plan.cluster is None:
        engine, images_per_run = make_engine(plan, traces)
        return Simulator(spec, engine, images_per_run, time.perf_counter() - began)
    sharded = ShardedEngine(plan, traces)
    return Simulator(spec, sharded, sharded.images_per_block, time.perf_counter() - began, workers=sharded.workers)


def simulate(
    spec: NetworkSpec, images: Images, settings: SimulationSettings | None = None, traces: Sequence[str] = ()
) -> Responses:
    """All responses to images; for many images see `Simulator.chunks`.

    images   ``(n, *stimulus shape)``, or ``(n, steps, *stimulus shape)`` where the stimulus is a sequence; by name
             where there are several stimuli
    traces   populations whose membrane is kept, as it is at the end of every step

    >>> from torch import nn
    >>> from alade_brian import convert, simulate
    >>> from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
    >>> from alade_brian.simulation import SimulationSettings
    >>> model = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))
    >>> found = simulate(convert(model, (6,)), np.ones((2, 6)), SimulationSettings(backend="numpy"))
    >>> found.spikes["2"].shape, found.logits.shape
    ((2, 4, 8), (2, 3))
    """
    return concatenate([responses for _, responses in open_simulator(spec, settings, traces).chunks(images)])


def arrays(spec: NetworkSpec, images: Images) -> Mapping[str, np.ndarray]:
    """Images by the name of their stimulus."""
    if isinstance(images, Mapping):
        return {name: as_array(array) for name, array in images.items()}
    return {spec.stimulus.name: as_array(images)}


def pixels(spec: NetworkSpec, images: Mapping[str, np.ndarray]) -> np.ndarray:
    """Images as one array ``(n, rows, pixels of all stimuli)``: a row per step, or one that is held."""
    rows = 1 if spec.stimulus.coding == "direct" else spec.steps
    flat = [images[s.name].reshape(len(images[s.name]), rows, s.size) for s in spec.stimuli]
    return np.concatenate(flat, axis=2).astype(np.float64)


def check_images(spec: NetworkSpec, images: Mapping[str, np.ndarray]) -> None:
    """UserError where images do not fit the network's stimuli."""
    names = [s.name for s in spec.stimuli]
    if set(images) != set(names):
        raise UserError(f"there are images for {', '.join(sorted(images))}; this network takes {', '.join(names)}")
    counts = {len(array) for array in images.values()}
    if len(counts) > 1:
        raise UserError(f"the stimuli have {', '.join(map(str, sorted(counts)))} images; give each as many")
    for stimulus in spec.stimuli:
        array = images[stimulus.name]
        check_axes(spec, stimulus, array.shape)
        if stimulus.coding == "spikes" and not np.all((array == 0) | (array == 1)):
            raise UserError("the stimulus is one of spikes, and the images hold numbers other than 0 and 1")
        if not np.all(np.isfinite(array)):
            raise UserError("the images hold values that are not finite; clean them before the simulation")
