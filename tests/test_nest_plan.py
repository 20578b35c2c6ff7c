"""What NEST cannot say exactly is refused in one sentence that names the place; needs no NEST."""

from __future__ import annotations

import dataclasses
import importlib.util
import math

import numpy as np
import pytest
from nest_specs import DT, HALF, INTEGRATOR, LEAKY, each_alone, lif, random_spec

from alade_brian.conversion.to_nest.neurons import nest_neurons
from alade_brian.conversion.to_nest.plan import nest_plan
from alade_brian.errors import UserError
from alade_brian.models.neurons.neuron import ENDLESS, MOMENTARY
from alade_brian.simulation.nest import simulate_in_nest
from alade_brian.spec import Identity, NetworkSpec, NeuronEquations, Population, Projection, Readout, Stimulus

CUBA = NeuronEquations(f"{LEAKY}\ndsyn/dt = -syn/tau : 1", {**lif().parameters}, input="syn", update="v += syn")
LEAK_ELSEWHERE = lif(model="dv/dt = (0.5 - v)/tau : 1")
REFUSED_NEURONS = {
    "synaptic current": (CUBA, "are not those of one membrane"),
    "leak to another value": (LEAK_ELSEWHERE, "are not those of one membrane"),
    "no reset": (lif(reset="none"), "it has no reset"),
    "late reset": (lif(leak="before_reset", v_reset=-0.5), "is delayed until"),
    "late subtraction": (lif(leak="before_reset", reset="subtract", comparison=">=", v_reset=1.0), "is delayed until"),
    "subtracts another number": (
        lif(reset="subtract", comparison=">=", v_reset=0.5),
        "another number than the threshold",
    ),
    "strict subtraction": (lif(reset="subtract", v_reset=1.0), "strict threshold"),
    "reset above the threshold": (lif(v_reset=1.5), "below the threshold"),
    "reset at a reached threshold": (lif(comparison=">=", v_reset=1.0), "below the threshold"),
    "no constant threshold": (
        NeuronEquations(LEAKY, lif().parameters, threshold="v_threshold + v_reset"),
        "is no constant",
    ),
    "done on a spike": (lif(on_spike="v -= 0.25"), "is done on a spike"),
    "Euler in one step": (lif(method="euler", tau=1.0), "leaves no decay"),
}


@pytest.mark.parametrize("name", REFUSED_NEURONS)
def test_a_neuron_that_nest_has_not_is_refused_by_name(name: str) -> None:
    neuron, reason = REFUSED_NEURONS[name]
    spec = each_alone({"fits": lif(), name: neuron}, steps=2)
    with pytest.raises(UserError, match=reason) as refused:
        nest_plan(spec)
    assert f"population '{name}'" in str(refused.value) and "fits" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("decay", "tau"), [(1.0, ENDLESS), (0.0, MOMENTARY)])
def test_a_decay_at_its_bounds_stays_there(decay: float, tau: float) -> None:
    found = nest_neurons(Population("at its bound", (1,), lif(tau=tau)), DT)
    assert found.decay.tolist() == [decay] and math.exp(-1 / found.tau_m[0]) == decay


def network(*links: tuple[str, str, int], middle: NeuronEquations | None = None, **readout: object) -> NetworkSpec:
    """Populations a, b, c of one neuron each; a takes the image."""
    populations = [Population("a", (1,), lif()), Population("b", (1,), middle or lif()), Population("c", (1,), lif())]
    edges = [Projection("image", "a", Identity()), *(Projection(s, t, Identity(), delay) for s, t, delay in links)]
    read = Readout("c", **{"decoding": "spike_count", **readout})  # type: ignore[arg-type]
    return NetworkSpec((Stimulus((1,)),), tuple(populations), tuple(edges), read, steps=3)


def test_a_loop_that_is_too_fast_is_refused_by_its_names() -> None:
    fast = network(("a", "b", 0), ("b", "c", 0), ("c", "b", 1))
    with pytest.raises(
        UserError, match=r"(b -> c -> b|c -> b -> c) exactly: round the loop it takes 1 step\(s\).* the 2$"
    ):
        nest_plan(fast)
    assert nest_plan(network(("a", "b", 0), ("b", "c", 0), ("c", "b", 2))).lead == {"a": 1, "b": 2, "c": 3}
    assert nest_plan(network(("a", "b", 0), ("b", "b", 1), ("b", "c", 1))).lead == {"a": 1, "b": 2, "c": 2}


def test_what_is_no_spike_is_refused() -> None:
    passes_on = network(("a", "b", 0), ("b", "c", 0), middle=INTEGRATOR)
    with pytest.raises(UserError, match="projection b -> c exactly: its source sends its membrane"):
        nest_plan(passes_on)
    links = (("a", "b", 0), ("b", "c", 0))
    with pytest.raises(UserError, match="population 'c' exactly: its membrane is read before the reset"):
        nest_plan(network(*links, decoding="mean_membrane"))
    nest_plan(network(*links, decoding="mean_membrane", sampled="after_reset"))


@pytest.mark.parametrize("seed", range(12))
def test_every_delay_is_a_step_at_least_and_clocks_are_consistent(seed: int) -> None:
    spec = random_spec(seed)
    plan = nest_plan(spec)
    for projection in spec.projections:
        assert plan.delay(projection) >= 1
        late = plan.lead[projection.target] - plan.lead.get(projection.source, 0)
        assert plan.delay(projection) == projection.delay + late
    # No clock is later than something makes it.
    into = {p.target: min(plan.delay(q) for q in spec.inputs(p.target)) for p in spec.projections}
    assert all(plan.lead[name] == 1 or least == 1 for name, least in into.items())


@pytest.mark.parametrize("tau", [0.3, 1.7, HALF, 10.0, 123.4])
def test_the_decay_is_the_specifications_to_the_last_bit(tau: float) -> None:
    neurons = nest_plan(each_alone({"one": lif(tau=tau)}, steps=1)).neurons["one"]
    assert neurons.decay[0] == math.exp(-DT / (tau * DT))
    assert math.exp(-1 / neurons.tau_m[0]) == neurons.decay[0]


def test_parameters_of_each_neuron_are_kept() -> None:
    own = lif(threshold=np.array([[0.5], [2.0]]), tau=np.array([[1.5, 3.0]]))
    spec = each_alone({"one": lif()}, steps=1)
    spec = dataclasses.replace(
        spec, populations=(*spec.populations, Population("many", (2, 2), own)), projections=spec.projections
    )
    neurons = nest_plan(spec).neurons["many"]
    assert neurons.v_threshold.tolist() == [np.nextafter(0.5, 1)] * 2 + [np.nextafter(2.0, 3)] * 2
    np.testing.assert_allclose(neurons.tau_m, [1.5, 3.0, 1.5, 3.0], rtol=1e-15)
    np.testing.assert_allclose(neurons.decay, np.exp(-1 / np.array([1.5, 3.0, 1.5, 3.0])), rtol=1e-15)


def test_without_nest_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "nest" else found(name, *a))
    with pytest.raises(UserError, match=r"NEST is not installed; install it with: pip install 'alade-brian\[nest\]'"):
        simulate_in_nest(each_alone({"one": lif()}, steps=1), np.zeros((1, 1, 1)))
