"""From what Brian2 recorded (neuron numbers, times, membranes) to `Responses`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from alade_brian.conversion.to_brian2.network import BatchLayout
from alade_brian.spec import NetworkSpec
from alade_brian.spec.presentation import period_steps
from alade_brian.spikes.responses import Responses, read_out


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a run left behind.

    spikes      by population: (neuron indices over all copies, times in seconds)
    membrane    the readout's in every step ``(steps of the run, batch * neurons)``; None where spikes are the answer
    traces      by population, as `membrane`
    """

    spikes: Mapping[str, tuple[np.ndarray, np.ndarray]]
    membrane: np.ndarray | None
    traces: Mapping[str, np.ndarray] = field(default_factory=dict)


def decode(spec: NetworkSpec, layout: BatchLayout, images: int, recorded: Recorded) -> Responses:
    """Responses of the first `images` images of a run."""
    spikes = {name: _unroll(spec, layout, name, *found)[:images] for name, found in recorded.spikes.items()}
    traces = {name: by_image(spec, layout, values)[:images] for name, values in recorded.traces.items()}
    population = spec.readout.population
    if recorded.membrane is None:
        values = spikes[population] * spec.population(population).amplitude.ravel()
    else:
        values = by_image(spec, layout, recorded.membrane)[:images]
    return Responses(spikes, read_out(spec.readout, values), traces)


def by_image(spec: NetworkSpec, layout: BatchLayout, values: np.ndarray) -> np.ndarray:
    """Values of every step of a run as float64 ``(images, steps, neurons)``."""
    whole = values.reshape(layout.presentations, period_steps(spec), layout.batch, -1)[:, : spec.steps]
    return whole.transpose(0, 2, 1, 3).reshape(layout.images, spec.steps, -1).astype(np.float64)


def _unroll(spec: NetworkSpec, layout: BatchLayout, name: str, neurons: np.ndarray, times: np.ndarray) -> np.ndarray:
    size, period = prod(spec.shape(name)), period_steps(spec)
    presentation, step = np.divmod(np.rint(times / spec.dt).astype(np.int64), period)
    neurons = neurons.astype(np.int64)
    raster = np.zeros((layout.images, spec.steps, size), dtype=bool)
    raster[presentation * layout.batch + neurons // size, step, neurons % size] = True
    return raster
