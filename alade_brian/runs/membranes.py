"""Membranes of a few neurons of every layer after the last task, recorded for the report."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from torch import nn

from alade_brian.data import ImageSet
from alade_brian.spec import NetworkSpec
from alade_brian.spec.cost_table import synapses_per_projection
from alade_brian.spikes.state_record import StateRecord, save_states
from alade_brian.spikes.states import InnerState
from alade_brian.verification.inner_states import inner_states

log = logging.getLogger(__name__)

# Every synapse is listed for this: seconds and a few hundred megabytes.
MOST_SYNAPSES = 5_000_000


def record_membranes(network: nn.Module, spec: NetworkSpec, test: ImageSet, path: Path) -> None:
    """Write the membranes of both networks at the first test image, of the neurons that `representative_neurons`
    chooses. For a network with more than `MOST_SYNAPSES` nothing is written, and the log reports it."""
    synapses = sum(synapses_per_projection(spec))
    if synapses > MOST_SYNAPSES:
        log.info("no membranes are recorded: %d synapses, more than %d", synapses, MOST_SYNAPSES)
        return
    wanted = {p.name: [p.neuron.membrane] for p in spec.spiking}
    found = inner_states(network, spec, test.images[:1], wanted)
    states = tuple(state.of(representative_neurons(state)) for state in found)
    save_states(path, StateRecord(spec.dt, np.zeros(1, np.int64), test.labels[:1], states))


def representative_neurons(state: InnerState) -> np.ndarray:
    """Indices of at most three neurons of a layer, over all images: the one that fires most, the firing one that fires
    least, and the silent one whose membrane comes closest to its threshold."""
    assert state.spikes is not None and state.threshold is not None
    spikes, closest = state.spikes.sum((0, 1)), (state.brian2 - state.threshold).max((0, 1))
    fire, silent = np.flatnonzero(spikes), np.flatnonzero(spikes == 0)
    chosen = [fire[spikes[fire].argmax()], fire[spikes[fire].argmin()]] if len(fire) else []
    chosen += [silent[closest[silent].argmax()]] if len(silent) else []
    return np.array(list(dict.fromkeys(int(number) for number in chosen)))
