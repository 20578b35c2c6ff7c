"""What is said before a simulation begins, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from networks import CPP, NUMPY, conv_net

from alade_brian.conversion.spec import (
    Dense,
    Identity,
    NetworkSpec,
    Population,
    Projection,
    Readout,
    Stimulus,
)
from alade_brian.conversion.table import lowering_table
from alade_brian.conversion.torch_lower import convert
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, advice, open_simulator
from alade_brian.simulation.needs import STREAM_BYTES, available_bytes, check_memory, needed_bytes

SPEC = convert(conv_net(), (2, 7, 6))
EXPLICIT = dataclasses.replace(NUMPY, connectivity="explicit")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (CPP, "cpp, fused passes with shared kernels"),
        (dataclasses.replace(CPP, passes="separate"), "cpp, separate passes with shared kernels"),
        (EXPLICIT, "numpy, separate passes with a list of synapses"),
        (dataclasses.replace(CPP, workers=3), "3 processes with about"),
    ],
)
def test_the_path_is_named(settings: SimulationSettings, says: str) -> None:
    said = advice(SPEC, settings)
    assert says in said
    assert f"{sum(row.synapses for row in lowering_table(SPEC)):,} synapses per image" in said


def dense(size: int) -> NetworkSpec:
    neuron = SPEC.populations[0].neuron
    populations = (Population("a", (size,), neuron), Population("b", (size,), neuron))
    projections = (Projection("image", "a", Identity()), Projection("a", "b", Dense(np.ones((size, size)))))
    return NetworkSpec((Stimulus((size,)),), populations, projections, Readout("b", "spike_count"), 4)


def test_memory_is_that_of_the_weights_where_they_are_many() -> None:
    size = 2000
    shared = needed_bytes(dense(size), CPP) - STREAM_BYTES
    assert shared == pytest.approx(size**2 * 8, rel=0.1)
    assert needed_bytes(dense(size), dataclasses.replace(CPP, dtype="float32")) - STREAM_BYTES < 0.6 * shared
    listed = dataclasses.replace(EXPLICIT, batch=2)
    assert needed_bytes(dense(size), listed) == pytest.approx(2 * size**2 * 20, rel=0.1)


def test_memory_that_does_not_suffice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = available_bytes()
    assert found is not None and found > 2**28
    check_memory(SPEC, CPP)
    monkeypatch.setattr("alade_brian.simulation.needs.available_bytes", lambda: 2**20)
    with pytest.raises(UserError, match=r"needs about 0\.1 GiB in 1 process\(es\), and 0\.0 GiB are free; use"):
        open_simulator(SPEC, CPP)


def test_where_memory_cannot_be_found_out_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alade_brian.simulation.needs.available_bytes", lambda: None)
    check_memory(SPEC, CPP)
