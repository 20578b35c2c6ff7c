"""From what Brian2 recorded (neuron numbers, times, a readout's membrane) to `Responses`."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from alade_brian.conversion.brian2_network import Layout
from alade_brian.conversion.brian2_text import period_steps
from alade_brian.conversion.responses import Responses
from alade_brian.conversion.spec import NetworkSpec


def decode(
    spec: NetworkSpec,
    layout: Layout,
    images: int,
    spikes: Mapping[str, tuple[np.ndarray, np.ndarray]],
    readout: np.ndarray,
) -> Responses:
    """Responses of the first `images` images of a run.

    spikes    by population: (neuron indices over all copies, times in seconds)
    readout   ``(presentations + 1, batch * classes)``: the readout's membrane where each presentation begins, so that
              row k + 1 is what presentation k summed up
    """
    found = {name: _unroll(spec, layout, name, *recorded)[:images] for name, recorded in spikes.items()}
    classes = prod(spec.shape(spec.readout.population))
    logits = readout[1:].reshape(layout.images, classes) / spec.steps
    return Responses(found, np.asarray(logits[:images], dtype=np.float64))


def _unroll(spec: NetworkSpec, layout: Layout, name: str, neurons: np.ndarray, times: np.ndarray) -> np.ndarray:
    size, period = prod(spec.shape(name)), period_steps(spec)
    presentation, step = np.divmod(np.rint(times / spec.dt).astype(np.int64), period)
    # The one step behind the last presentation is there for the readout only.
    real = presentation < layout.presentations
    neurons, presentation, step = neurons[real].astype(np.int64), presentation[real], step[real]
    raster = np.zeros((layout.images, spec.steps, size), dtype=bool)
    raster[presentation * layout.batch + neurons // size, step, neurons % size] = True
    return raster
