"""Energy in closed form: small networks whose operations can be counted on paper, and the list of synapses for others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_spec_simulation import INTEGRATOR, LI, NEURONS, network

from alade_brian.analysis.metrics.energy import Operations, Prices, current_operations, energy_metrics, relu_operations
from alade_brian.errors import UserError
from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
    NetworkSpec,
    Pooling,
    Population,
    Projection,
    Readout,
    Stimulus,
)
from alade_brian.spec.cost_table import synapses_per_projection
from alade_brian.spec.synapses import projection_synapses

LIF = NEURONS["lif"]
# A 3x3 kernel over a 4x4 image with a border of zeros: 4 corners see 4 pixels, 8 edges 6, 4 inner ones 9.
TAPS = 4 * 4 + 8 * 6 + 4 * 9


def small(coding: str = "direct", steps: int = 5) -> NetworkSpec:
    """1x4x4 -> convolution to 2x4x4 -> pooling to 2x2x2, and straight across -> dense to 3."""
    shape, frames = (1, 4, 4), (2, 4, 4)
    return NetworkSpec(
        (Stimulus(shape, coding=coding),),  # type: ignore[arg-type]
        (Population("a", frames, LIF), Population("b", (2, 2, 2), LIF), Population("out", (3,), INTEGRATOR)),
        (
            Projection("image", "a", Convolution(np.ones((2, 1, 3, 3)), padding=(1, 1))),
            Projection("a", "b", Pooling((2, 2), (2, 2))),
            Projection("b", "out", Dense(np.ones((3, 8)))),
        ),
        Readout("out"),
        steps,
    )


def operations(spec: NetworkSpec, **options: bool) -> dict[str, Operations]:
    return current_operations(spec, synapses_per_projection(spec), **options)


def test_the_analogue_layer_is_counted_once_or_in_every_step() -> None:
    assert operations(small())["a"] == Operations(macs=2 * TAPS)
    assert operations(small(), input_every_step=True)["a"] == Operations(macs=5 * 2 * TAPS)
    # A sequence has another image in every step.
    assert operations(small("sequence"))["a"] == operations(small("sequence"), input_every_step=True)["a"]
    assert operations(small("sequence"))["a"] == Operations(macs=5 * 2 * TAPS)
    # Spikes that are shown need no multiplication at all: they are events.
    assert operations(small("spikes")) == dict.fromkeys(("a", "b", "out"), Operations())


def test_the_relu_network_by_hand() -> None:
    found = relu_operations(small(), synapses_per_projection(small()))
    # Every pixel goes into one pool: 32 additions; 8 features, 3 classes: 24 multiply-accumulates.
    assert found == {"a": Operations(2 * TAPS), "b": Operations(0, 32), "out": Operations(24)}


def test_energy_in_closed_form() -> None:
    spec = small()
    events = {"b": 40, "out": 120}
    found = energy_metrics(spec, synapses_per_projection(spec), events, images=4, prices=Prices(1.0, 10.0, "me"))
    once, relu = 10 + 30 + 10.0 * 2 * TAPS, 32 + 10.0 * (2 * TAPS + 24)
    assert found["synaptic_events_per_image"] == found["accumulates_per_image"] == 40
    assert found["macs_per_image"] == 2 * TAPS and found["macs_per_image_relu"] == 2 * TAPS + 24
    assert found["accumulates_per_image_relu"] == 32
    assert found["joule_per_image"] == found["joule_per_image_input_once"] == once
    assert found["joule_per_image_input_every_step"] == 40 + 10.0 * 5 * 2 * TAPS
    assert found["joule_per_image_relu"] == relu and found["ratio"] == pytest.approx(once / relu)
    assert [layer["name"] for layer in found["layers"]] == ["a", "b", "out"]
    assert [layer["joule_per_image"] for layer in found["layers"]] == [10.0 * 2 * TAPS, 10, 30]
    assert [layer["joule_per_image_relu"] for layer in found["layers"]] == [10.0 * 2 * TAPS, 32, 240]
    assert found["source"] == "me" and json.loads(json.dumps(found)) == found
    recomputing = energy_metrics(
        spec, synapses_per_projection(spec), events, 4, input_every_step=True, prices=Prices(1.0, 10.0, "me")
    )
    assert recomputing["joule_per_image"] == found["joule_per_image_input_every_step"]
    assert recomputing["layers"][0]["macs_per_image"] == 5 * 2 * TAPS


def test_default_prices_are_those_of_horowitz() -> None:
    spec = small()
    found = energy_metrics(spec, synapses_per_projection(spec), {"out": 1000}, images=1)
    assert found["joule_per_synaptic_event"] == 0.9e-12
    # A multiplication and an addition.
    assert found["joule_per_mac"] == pytest.approx(3.7e-12 + 0.9e-12)
    assert found["joule_per_image"] == pytest.approx(1000 * 0.9e-12 + 2 * TAPS * 4.6e-12)
    assert "Horowitz" in found["source"]


def test_a_shortcut_adds_and_a_membrane_is_sent_in_every_step() -> None:
    spec = NetworkSpec(
        (Stimulus((6,)),),
        (Population("li", (6,), LI), Population("out", (2,), INTEGRATOR)),
        (
            Projection("image", "li", Identity()),
            Projection("li", "out", Dense(np.ones((2, 6)))),
        ),
        Readout("out"),
        7,
    )
    assert operations(spec) == {"li": Operations(0, 6), "out": Operations(7 * 12)}


def test_every_operator_counts_the_connections_that_exist() -> None:
    spec = network(LIF)
    listed = [len(projection_synapses(spec, p)) for p in spec.projections]
    assert synapses_per_projection(spec) == listed
    total = sum(relu_operations(spec, listed).values(), Operations())
    assert total.macs + total.accumulates == sum(listed)


def test_a_relu_network_that_computes_nothing_has_no_ratio() -> None:
    spec = NetworkSpec((Stimulus((2,)),), (Population("out", (2,), INTEGRATOR),), (), Readout("out"), 3)
    assert energy_metrics(spec, [], {}, images=1)["ratio"] is None


def test_what_has_no_energy_is_refused() -> None:
    spec = small()
    with pytest.raises(UserError, match="at least one simulated image"):
        energy_metrics(spec, synapses_per_projection(spec), {}, images=0)
    with pytest.raises(UserError, match="'c', which is no layer"):
        energy_metrics(spec, synapses_per_projection(spec), {"c": 1}, images=1)
