"""Synaptic events, projection by projection: fused passes count what recorded spikes and the connectivity say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from networks import CPP, NUMPY, conv_net, dyadic_images
from test_spec_simulation import NEURONS, network

from alade_brian.simulation import SimulationSettings, open_simulator, synaptic_events
from alade_brian.simulation import simulator as simulators
from alade_brian.simulation.synaptic_events import EventCounter
from alade_brian.spec import (
    Convolution,
    Dense,
    NetworkSpec,
    Pooling,
    Population,
    Projection,
    Readout,
    Stimulus,
    TransposedConvolution,
)
from alade_brian.spec.synapses import projection_synapses
from alade_brian.spikes.packed import PackedResponses
from alade_brian.spikes.responses import Responses
from alade_brian.verification.verify import verify

SEPARATE = dataclasses.replace(CPP, passes="separate")
EXPLICIT = dataclasses.replace(NUMPY, connectivity="explicit")
PATHS = {"fused": CPP, "separate": SEPARATE, "numpy": NUMPY, "explicit": EXPLICIT}


def answered(
    spec: NetworkSpec, settings: SimulationSettings, images: np.ndarray | dict[str, np.ndarray]
) -> PackedResponses:
    [(_, found)] = open_simulator(spec, settings).packed_chunks(images)
    return found


def arrivals(spec: NetworkSpec, spikes: dict[str, np.ndarray]) -> np.ndarray:
    """Spike by spike and synapse by synapse, ``(images, projections)``; `spikes` by every source that sends them."""
    counts = np.zeros((len(next(iter(spikes.values()))), len(spec.projections)), int)
    for number, projection in enumerate(spec.projections):
        listed = projection_synapses(spec, projection).pre
        for image, step, neuron in np.argwhere(spikes.get(projection.source, np.zeros((0, 0, 0)))):
            if step + projection.delay < spec.steps:
                counts[image, number] += np.count_nonzero(listed == neuron)
    return counts


@pytest.mark.parametrize("path", PATHS)
def test_every_path_counts_what_arrives(path: str) -> None:
    """Recurrence, delays, several projections between the same two, no connection at all, currents."""
    spec, numbers = network(NEURONS["lif"]), np.random.default_rng(5)
    images = {s.name: numbers.uniform(-0.5, 1, (3, *s.shape)) for s in spec.stimuli}
    found = answered(spec, PATHS[path], images)
    wanted = arrivals(spec, dict(found.unpacked().spikes))
    assert found.events is not None and np.array_equal(found.events, wanted)
    carry = [p.source in ("hidden", "behind") and p.target != "li" for p in spec.projections]
    assert wanted[:, carry].sum(0).all() and not wanted[:, [0, 1, 4, 7, 9, 11]].any()


@pytest.mark.parametrize("path", PATHS)
def test_spikes_that_are_shown_count_too(path: str) -> None:
    spec, numbers = network(NEURONS["lif"], "spikes"), np.random.default_rng(6)
    images = {s.name: numbers.random((2, spec.steps, *s.shape)) < 0.3 for s in spec.stimuli}
    found = answered(spec, PATHS[path], images)
    shown = {name: raster.reshape(*raster.shape[:2], -1) for name, raster in images.items()}
    wanted = arrivals(spec, dict(found.unpacked().spikes) | shown)
    assert wanted[:, :2].all()
    assert found.events is not None and np.array_equal(found.events, wanted)


def test_fan_out_at_borders_by_hand() -> None:
    """One spike in a corner, one at an edge and one in the middle of a 4x4 image."""
    operators = {
        "same": (Convolution(np.ones((2, 1, 3, 3)), padding=(1, 1)), [8, 12, 18]),
        "strided": (Convolution(np.ones((2, 1, 3, 3)), (2, 2), (1, 1)), [2, 4, 8]),
        "valid": (Convolution(np.ones((2, 1, 3, 3))), [2, 4, 8]),
        "transposed": (TransposedConvolution(np.ones((1, 2, 2, 2)), padding=(1, 1)), [2, 4, 8]),
        "pooled": (Pooling((2, 2), (2, 2)), [1, 1, 1]),
        "dense": (Dense(np.ones((5, 16))), [5, 5, 5]),
    }
    fired = np.zeros((3, 1, 16), bool)
    fired[[0, 1, 2], 0, [0, 1, 5]] = True
    for operator, expected in operators.values():
        made = operator.output_shape((1, 4, 4))
        spec = NetworkSpec(
            (Stimulus((16,)),),
            (Population("a", (1, 4, 4), NEURONS["no memory"]), Population("b", made, NEURONS["no memory"])),
            (Projection("image", "a", Dense(np.eye(16))), Projection("a", "b", operator)),
            Readout("b", "spike_count"),
            1,
        )
        counted = EventCounter(spec).count(Responses({"a": fired}, np.zeros((3, 1))))
        assert counted.tolist() == [[0, n] for n in expected]


def test_what_a_delay_carries_beyond_the_end_arrives_nowhere() -> None:
    spec = network(NEURONS["lif"], steps=3)
    fired = {"hidden": np.zeros((1, 3, 36), bool), "behind": np.zeros((1, 3, 32), bool)}
    fired["behind"][0, 1, 0] = True
    counted = EventCounter(spec).count(Responses(fired, np.zeros((1, 3))))[0]
    # Delays of 0, 1 (no connection there) and 2 steps.
    assert counted[[8, 9, 10]].tolist() == [3, 0, 0]
    fired["behind"][0] = np.roll(fired["behind"][0], -1, axis=0)
    assert EventCounter(spec).count(Responses(fired, np.zeros((1, 3))))[0, [8, 9, 10]].tolist() == [3, 0, 36]
    assert synaptic_events(spec, Responses(fired, np.zeros((1, 3)))) == 39


def test_spikes_that_were_shown_must_be_given() -> None:
    spec = network(NEURONS["lif"], "spikes")
    fired = {p.name: np.zeros((1, spec.steps, p.size), bool) for p in spec.spiking}
    with pytest.raises(ValueError, match="the pixels that were shown"):
        synaptic_events(spec, Responses(fired, np.zeros((1, 3))))


def test_who_answers_does_not_change_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from alade_brian.conversion.from_torch.convert import convert

    monkeypatch.setattr(simulators, "WHOLE", 1)
    spec, images = convert(conv_net(), (2, 7, 6)), dyadic_images(7, 2, 7, 6)
    one = [a.events for _, a in open_simulator(spec, CPP).packed_chunks(images)]
    two = [a.events for _, a in open_simulator(spec, dataclasses.replace(CPP, workers=2)).packed_chunks(images)]
    assert len(one) == 1 and len(two) == 2
    assert np.array_equal(np.concatenate(two), one[0])  # type: ignore[arg-type]


def test_a_verification_tells_where_events_arrive() -> None:
    found = verify(conv_net(), dyadic_images(6, 2, 7, 6), settings=NUMPY)
    per_layer, per_projection = found.synaptic_events_per_layer, found.synaptic_events_per_projection
    assert list(per_layer) == ["3", "6", "10"] and per_layer["3"] == 0 and per_layer["6"] > 0 and per_layer["10"] > 0
    assert list(per_projection.values()) == list(per_layer.values())
    assert sum(per_layer.values()) == found.synaptic_events > 0
