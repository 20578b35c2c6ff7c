"""How long a simulation will take, about: a cost per neuron and per synaptic event, on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import joblib
import numpy as np

from alade_brian.simulation.synaptic_events import sends
from alade_brian.spec import NetworkSpec
from alade_brian.spec.cost_table import synapses_per_projection

# Spikes per neuron and step that are assumed before there is any: trained networks lie between 0.02 and 0.2.
ACTIVITY = 0.1

# Nanoseconds for a neuron in a step, and for a spike at a synapse, measured with `experiments/benchmark.py`'s network
# at firing rates of 0.02 and 0.18 on a core with AVX-512.
COSTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "fused float32": (0.5, 0.035),
        "fused float64": (0.55, 0.09),
        "separate float32": (8, 0.8),
        "separate float64": (8, 1.1),
        "numpy shared": (60, 7),
        "cpp explicit": (35, 6),
        "numpy explicit": (400, 25),
        "cython explicit": (350, 25),
    }
)
# What `_probe` took there, in seconds.
PROBE_SECONDS = 6.7e-4


def expected_seconds(
    spec: NetworkSpec, costs: tuple[float, float], cores: int, images: int, activity: float = ACTIVITY
) -> float:
    """Seconds for so many images, about: a factor of two either way is usual. Building is not counted.

    costs      nanoseconds for a neuron in a step, and for a spike at a synapse, see `COSTS`
    cores      that simulate; more than the machine has are not counted
    activity   spikes per neuron and step
    """
    per_neuron, per_event = costs
    each = spec.steps * sum(p.size for p in spec.populations) * per_neuron + _events(spec, activity) * per_event
    return images * each * 1e-9 * slowness() / min(cores, joblib.cpu_count())


def _events(spec: NetworkSpec, activity: float) -> float:
    """Arrivals at synapses for an image; a current that is held arrives once, numbers of a sequence in every step."""
    held = 1 if spec.stimulus.coding == "direct" else spec.steps
    return sum(
        count * (spec.steps * activity if sends(spec, p.source) else held if spec.is_stimulus(p.source) else spec.steps)
        for p, count in zip(spec.projections, synapses_per_projection(spec), strict=True)
    )


@cache
def slowness() -> float:
    """Slowdown of this machine relative to the one `COSTS` was measured on (probe: summing scattered rows)."""
    return min(_probe() for _ in range(7)) / PROBE_SECONDS


def _probe() -> float:
    numbers = np.random.default_rng(0)
    kernel, rows = numbers.random((4096, 16)), numbers.integers(4096, size=20_000)
    began = time.perf_counter()
    kernel[rows].sum(0)
    return time.perf_counter() - began
