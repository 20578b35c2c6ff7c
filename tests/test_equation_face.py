"""Equations computed by torch: against the step of every neuron of this package, and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from alade_brian.models import NEURONS, Neuron
from alade_brian.models.neurons.equation_face import run_equations
from alade_brian.spec import NeuronEquations, constant

STEPS = 12


def currents(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((STEPS, *shape), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("method", ["exact", "euler"])
@pytest.mark.parametrize("neuron", list(NEURONS.values()), ids=list(NEURONS))
def test_the_text_of_every_neuron_is_its_step(neuron: type[Neuron], method: str) -> None:
    # A quantal leaky neuron takes a twentieth of its current.
    given = currents(5, 4) * (20 if neuron is NEURONS["QuantalLIF"] else 1)
    for conventions in (
        [{}, {"reset": "subtract", "comparison": ">="}, {"leak": "before_reset", "v_reset": 0.3, "amplitude": -1.5}]
        if neuron.spiking
        else [{"v_initial": 0.4}]
    ):
        module = neuron(STEPS, method=method, **conventions)  # type: ignore[arg-type]
        spikes, membranes = module.trace(given.flatten(0, 1))
        found = run_equations(module.equations(), given)
        assert torch.equal(found.sent.flatten(0, 1), module.output(spikes)) or not neuron.spiking
        assert torch.allclose(found.before_reset.flatten(0, 1), membranes, rtol=0, atol=1e-12)
        assert bool(found.sent.any())


def test_feedback_and_what_a_reset_leaves() -> None:
    """A neuron that inhibits itself: v = x - 2 s, reset to 0.25."""
    equations = NeuronEquations("v : 1", {"v_threshold": constant(1.0), "v_reset": constant(0.25)})
    found = run_equations(equations, torch.full((4, 1, 1), 1.5, dtype=torch.float64), feedback=lambda sent: -2 * sent)
    assert found.before_reset.ravel().tolist() == [1.5, -0.25, 1.25, -0.25]
    assert found.after_reset.ravel().tolist() == [0.25, -0.25, 0.25, -0.25]
    assert found.sent.ravel().tolist() == [1, 0, 1, 0]


def value_of(expression: str, **parameters: float) -> float:
    """An expression, as a neuron's update computes it."""
    constants = {name: constant(value) for name, value in parameters.items()}
    equations = NeuronEquations(
        "v : 1\nx : 1", constants, spiking=False, reset="none", input="x", update=f"v = {expression}"
    )
    return float(run_equations(equations, torch.zeros(1, 1, 1)).sent)


def test_expressions_mean_what_they_mean_in_python() -> None:
    scope = {"a": 2.5, "b": -0.75, **vars(math), "inf": math.inf, "int": int, "abs": abs}
    for text in (
        "a + b*2 - 1/a", "a**2 % 2", "-a // b", "exp(b) + log(a) + sqrt(a)", "int(a > 1 and not b > 0)", "abs(b)",
        "int(a < b or b <= -0.75)", "sin(a)*cos(b) + tanh(a)", "int(1 < a < 3)", "floor(b) + ceil(b)", "+a - -b",
        "int(a)", "pi*a", "expm1(b) + log1p(a)", "(a != b) + (a == a)",
    ):  # fmt: skip
        assert value_of(text, a=2.5, b=-0.75) == pytest.approx(eval(text, {}, scope), abs=1e-15), text
    assert value_of("clip(a, 0, inf) + clip(b, 0, inf)", a=2.5, b=-0.75) == 2.5
    assert value_of("sign(b)*exprel(0*a)", a=2.5, b=-0.75) == -1


def test_variables_begin_at_their_parameters() -> None:
    given = {"v_initial": constant(np.array([0.5, -1.0])), "u_initial": constant(2.0)}
    equations = NeuronEquations("v : 1\nu : 1", given, spiking=False, reset="none", update="v = v + u\nu = 0")
    found = run_equations(equations, torch.zeros(2, 1, 2))
    assert found.sent.squeeze(1).tolist() == [[2.5, 1.0], [2.5, 1.0]]


def test_what_is_not_the_same_in_every_run_is_refused() -> None:
    noisy = NeuronEquations("v : 1", spiking=False, reset="none", update="v += randn()")
    with pytest.raises(ValueError, match=r"'randn\(\)' is not computed here"):
        run_equations(noisy, torch.zeros(1, 1, 1))
    driven = NeuronEquations("dv/dt = (1 - v)/tau : 1", {"tau": constant(2.0, "step")}, spiking=False, reset="none")
    with pytest.raises(ValueError, match="is no decay"):
        run_equations(driven, torch.zeros(1, 1, 1))
    timed = NeuronEquations("v : 1", spiking=False, reset="none", update="v = t/second")
    with pytest.raises(ValueError, match="'t' is not computed here"):
        run_equations(timed, torch.zeros(1, 1, 1))
