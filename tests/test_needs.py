"""What is said before a simulation begins, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from networks import CPP, NUMPY, conv_net

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, advice, check_machine, open_simulator
from alade_brian.simulation.duration import slowness
from alade_brian.simulation.planning import _auto, check_plan_memory, draft_plan
from alade_brian.simulation.resources import (
    STREAM_BYTES,
    available_bytes,
    format_bytes,
    format_seconds,
)
from alade_brian.spec import Dense, Identity, NetworkSpec, Population, Projection, Readout, Stimulus
from alade_brian.spec.cost_table import lowering_table

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


def needed_bytes(spec: NetworkSpec, settings: SimulationSettings) -> int:
    return draft_plan(spec, settings).cost.memory


def expected_seconds(spec: NetworkSpec, settings: SimulationSettings, images: int, activity: float = 0.1) -> float:
    found = draft_plan(spec, settings).seconds(images, activity)
    assert found is not None
    return found


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
    check_plan_memory(draft_plan(SPEC, CPP))
    monkeypatch.setattr("alade_brian.simulation.resources.available_bytes", lambda: 2**20)
    with pytest.raises(UserError, match=r"needs about \d+ MiB in 1 process\(es\), and 1 MiB are free; use"):
        open_simulator(SPEC, CPP)


def test_where_memory_cannot_be_found_out_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden() -> None:
        raise PermissionError

    monkeypatch.setattr("psutil.virtual_memory", hidden)
    assert available_bytes() is None
    check_plan_memory(draft_plan(SPEC, CPP))


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 MiB"), (5.4 * 2**20, "5 MiB"), (2**30 - 2**20, "1,023 MiB"), (2.25 * 2**30, "2.2 GiB")]
)
def test_sizes_are_said_for_reading(count: float, said: str) -> None:
    assert format_bytes(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0312, "0.03 s"),
        (4.4, "4 s"),
        (9.7, "10 s"),
        (44, "40 s"),
        (89, "90 s"),
        (100, "2 min"),
        (5000, "83 min"),
        (9000, "2 h"),
    ],
)
def test_durations_are_said_as_roughly_as_they_are_known(seconds: float, said: str) -> None:
    assert format_seconds(seconds) == said


def test_a_duration_is_said_before_a_run() -> None:
    assert " s for 1,000 images if neurons spike in 10% of the steps" in advice(SPEC, CPP)
    elsewhere = dataclasses.replace(CPP, cluster="tcp://host:8786")
    assert "up to the cluster at tcp://host:8786" in advice(SPEC, elsewhere)


def test_a_duration_is_counted_from_neurons_and_events() -> None:
    """By hand, with the costs of one path: 2 layers of 50 neurons, 4 steps, 50 currents that are held, 50 * 50 synapses
    of which a fifth carries a spike in every step."""
    spec, settings = dense(50), dataclasses.replace(NUMPY, workers=1)
    each = 4 * 100 * 60 + (50 + 4 * 2500 * 0.2) * 7
    assert expected_seconds(spec, settings, 10, activity=0.2) == pytest.approx(10 * each * 1e-9 * slowness())
    assert expected_seconds(spec, settings, 10, activity=0.4) < 2 * expected_seconds(spec, settings, 10, activity=0.2)


def test_many_cores_are_counted_but_no_more_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    one, two, many = (expected_seconds(SPEC, dataclasses.replace(CPP, workers=n), 100) for n in (1, 2, 50))
    assert (one / two, one / many) == (pytest.approx(2), pytest.approx(3))


def test_slower_ways_are_expected_to_be_slower() -> None:
    ways = [
        {"dtype": "float32"}, {}, {"passes": "separate"}, {"connectivity": "explicit"},
        {"backend": "numpy", "connectivity": "explicit"},
    ]  # fmt: skip
    found = [expected_seconds(SPEC, dataclasses.replace(CPP, **way), 1) for way in ways]
    assert found == sorted(found) and len(set(found)) == len(found)
    assert 0.05 < slowness() < 50


def test_auto_is_the_compiled_backend_where_there_is_a_compiler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _auto.cache_clear()
    settings = SimulationSettings(backend="auto")
    with caplog.at_level("INFO", "alade_brian"):
        assert draft_plan(SPEC, settings) == draft_plan(SPEC, SimulationSettings(backend="cpp"))
        monkeypatch.setenv("CXX", "no-such-compiler")
        plan = draft_plan(SPEC, settings)
        check_machine(settings)
    assert (plan.backend, plan.connectivity, plan.passes) == ("numpy", "shared", "separate")
    assert len(caplog.records) == 2
    assert "backend auto: cpp, as the C++ compiler is" in caplog.text and "numpy, as no C++ compiler" in caplog.text
