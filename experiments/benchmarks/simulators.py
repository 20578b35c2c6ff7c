"""The project's own simulators as competitors."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from alade_brian.benchmarks.rounds import timed
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings
from alade_brian.simulation.simulator import Simulator, open_simulator
from alade_brian.spec import NetworkSpec

FIRST_IMAGES = 32
IMAGES_PER_CALL = 4096


def answers(simulator: Simulator, images: np.ndarray) -> np.ndarray:
    """Logits ``(n, classes)``, with nothing recorded where the simulator can do without."""
    direct = getattr(simulator, "answers", None)
    if direct is not None:
        return np.asarray(direct(images))
    return np.concatenate([responses.logits for _, responses in simulator.chunks(images)])


def settings(connectivity: str, dtype: str, workers: int) -> SimulationSettings:
    """Settings of the compiled simulator; UserError where it knows only one process."""
    chosen: dict[str, Any] = {"backend": "cpp", "connectivity": connectivity, "dtype": dtype}
    if "workers" in {field.name for field in dataclasses.fields(SimulationSettings)}:
        chosen["workers"] = workers
    elif workers > 1:
        raise UserError("the simulator runs in one process only")
    return SimulationSettings(**chosen)


class SimulatorRunner:
    """A simulator, built and warm.

    logits   its answers to the first images, from the warming up
    """

    def __init__(self, spec: NetworkSpec, chosen: SimulationSettings, images: np.ndarray) -> None:
        self.simulator = open_simulator(spec, chosen)
        self.logits = answers(self.simulator, images[:FIRST_IMAGES])
        began = time.perf_counter()
        answers(self.simulator, images[:FIRST_IMAGES])
        self._speed = len(self.logits) / (time.perf_counter() - began)
        self._images = images

    def run(self, seconds: float) -> float:
        """Images per second, from calls that each take about half of the time."""
        count = int(min(max(self._speed * seconds / 2, FIRST_IMAGES), IMAGES_PER_CALL))
        shown = np.resize(self._images, (count, *self._images.shape[1:]))

        def show() -> int:
            return len(answers(self.simulator, shown))

        self._speed = timed(show, seconds)
        return self._speed
