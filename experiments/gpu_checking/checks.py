"""Is it right, and is it the same every time: a GPU's spikes against the processor's, and against its own."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from alade_brian.gpu_checking.networks import GpuCase
from alade_brian.simulation import SimulationSettings, open_simulator, simulate
from alade_brian.simulation.simulator import Simulator
from alade_brian.spikes.responses import Responses

CPP = SimulationSettings(backend="cpp", workers=None)


def check(case: GpuCase, settings: SimulationSettings) -> dict[str, Any]:
    """Build a network, compare every spike with `cpp`, and run it a second time."""
    simulator = open_simulator(case.spec, settings)
    first, second = answers(simulator, case.images), answers(simulator, case.images)
    wanted = simulate(case.spec, case.images, CPP)
    return {
        "network": case.name,
        "images": len(case.images),
        "origin": case.origin,
        "seconds_build": simulator.seconds_build,
        "compiled": simulator.compiled,
        "entries": sum(raster.size for raster in wanted.spikes.values()),
        "mismatched": mismatched(first, wanted),
        "logits_max_abs_difference": float(np.abs(first.logits - wanted.logits).max()),
        "mismatched_between_two_runs": mismatched(first, second),
        "same_bits_in_two_runs": bool(np.array_equal(first.logits, second.logits)) and not mismatched(first, second),
        "rate": float(np.mean([raster.mean() for raster in wanted.spikes.values()])),
    }


def answers(simulator: Simulator, images: np.ndarray) -> Responses:
    """All responses of a simulator."""
    from alade_brian.spikes.responses import concatenate

    return concatenate([found for _, found in simulator.chunks(images)])


def mismatched(left: Responses, right: Responses) -> int:
    """Entries (image, step, neuron) where exactly one of both fired."""
    return sum(int(np.count_nonzero(left.spikes[name] != right.spikes[name])) for name in right.spikes)


def throughput(case: GpuCase, settings: SimulationSettings, batches: list[int], seconds: float) -> dict[str, Any]:
    """Images per second, logits alone, for every number of images side by side; each for about so many seconds."""
    found = {}
    for batch in batches:
        simulator = open_simulator(case.spec, dataclasses.replace(settings, batch=batch))
        size = max(batch, simulator.images_per_run)
        shown = np.resize(case.images, (size, *case.images.shape[1:]))
        # The first time starts the program and sets the network up.
        simulator.answers(shown)
        images, began = 0, time.perf_counter()
        while (used := time.perf_counter() - began) < seconds or not images:
            simulator.answers(shown)
            images += len(shown)
        found[str(batch)] = images / used
    return found
