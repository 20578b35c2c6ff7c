"""Neurons: both faces of every class spike by spike, and the torch face against closed forms."""

from __future__ import annotations

import math
from inspect import isabstract, signature
from itertools import product

import numpy as np
import pytest
import torch
from networks import assert_same, convert, dyadic_, dyadic_images
from torch import Tensor, nn

from alade_brian.models import (
    LIF,
    NEURONS,
    AdaptiveLIF,
    Alpha,
    CubaLIF,
    HoldCurrent,
    MeanOverSteps,
    Neuron,
    Synaptic,
)
from alade_brian.models.neurons.leaky import time_constant
from alade_brian.models.neurons.surrogate import triangle_spike

CONVENTIONS = [
    {"comparison": comparison, "reset": reset, "leak": leak, "v_reset": v_reset}
    for comparison, (reset, v_reset), leak in product(
        (">", ">="), (("value", 0.0), ("value", 0.25), ("subtract", 1.0), ("subtract", 0.5), ("none", 0.0)), ("after_reset", "before_reset")
    )
]  # fmt: skip


SPIKING = [cls for cls in NEURONS.values() if cls.spiking]
# A step that is a power of two: Euler's dt/tau is exact with it.
DT = 2.0**-10
CHANNELS, SHAPE = (3, 1, 1), (3, 2, 2)


def per_channel(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64).reshape(CHANNELS)


def per_neuron(*numbers: float) -> Tensor:
    return torch.tensor(numbers * 12, dtype=torch.float64)[:12].reshape(SHAPE)


def learned(numbers: Tensor | float) -> nn.Parameter:
    return nn.Parameter(torch.as_tensor(numbers, dtype=torch.float64))


# What every class understands, what those with a leak do, and what those that spike do.
OF_ALL = {
    "initial membrane": {"v_initial": 0.5},
    "initial membranes per channel": {"v_initial": per_channel(0.25, -0.5, 1.0)},
}
OF_DECAYS = {
    "scaled input": {"scale_input": True},
    "euler": {"method": "euler"},
    "euler with scaled input": {"method": "euler", "scale_input": True},
    "first decay per channel": {0: per_channel(0.5, 0.25, 0.5)},
    "first decay per neuron": {0: per_neuron(0.5, 0.25, 0.25, 0.5, 0.5)},
    "first decay learned": {0: learned(0.5)},
    "first decay learned per channel, scaled input": {0: learned(per_channel(0.25, 0.5, 0.25)), "scale_input": True},
    "second decay per channel": {1: per_channel(0.125, 0.0625, 0.125)},
    "first decay at its bounds": {0: per_channel(0.0, 1.0, 0.5)},
    "first decay at its bounds, learned, euler, scaled input": {
        0: learned(per_channel(1.0, 0.0, 0.75)),
        "method": "euler",
        "scale_input": True,
    },
    "second decay at its bounds": {1: per_channel(0.5, 0.0, 1.0)},
    "euler, all per channel": {0: per_channel(0.5, 0.75, 0.5), 1: per_channel(0.25, 0.25, 0.5), "method": "euler"},
}
OF_SPIKING = {
    "threshold per channel": {"threshold": per_channel(0.5, 1.0, 0.75), "comparison": ">="},
    "threshold per neuron, learned": {"threshold": learned(per_neuron(0.5, 1.0, 1.25))},
    "reset per channel": {"v_reset": per_channel(0.25, -0.5, 0.0)},
    "subtraction per neuron, put off": {
        "v_reset": per_neuron(0.5, 1.0, 0.25),
        "reset": "subtract",
        "leak": "before_reset",
    },
    "amplitude": {"amplitude": 0.5},
    "negative amplitude": {"amplitude": -1.5},
    "amplitude per channel": {"amplitude": per_channel(1.0, 2.0, -0.5)},
    "amplitude per neuron": {"amplitude": per_neuron(1.0, 0.5, 0.25, 2.0)},
    "euler, put off": {"method": "euler", "leak": "before_reset", "v_reset": 0.25},
}


def decays(cls: type[Neuron]) -> list[str]:
    """The names of a class's decays, in the order of its constructor."""
    return [
        name
        for name in ("decay", "alpha", "beta", "syn_decay", "adaptation_decay")
        if name in signature(cls).parameters
    ]


def variants() -> list:
    found = []
    for cls in NEURONS.values():
        cases = OF_ALL | (OF_SPIKING if cls.spiking else {})
        for name, case in OF_DECAYS.items():
            fits = all(k < len(decays(cls)) if isinstance(k, int) else True for k in case)
            # The gain of an Alpha neuron has a logarithm of both decays.
            fits &= not (cls is Alpha and "at its bounds" in name)
            if decays(cls) and fits and ("scale_input" not in case or "scale_input" in vars(cls(1))):
                cases[name] = {decays(cls)[k] if isinstance(k, int) else k: v for k, v in case.items()}
        found += [pytest.param(cls, case, id=f"{cls.__name__}, {name}") for name, case in cases.items()]
    return found


def run_both_faces(neuron: type[Neuron], keywords: dict, steps: int = 6) -> None:
    """A layer of these neurons, and one behind it that shows what it sends."""
    net = nn.Sequential(
        HoldCurrent(steps), nn.Conv2d(2, 3, 3, padding=1), neuron(steps, **keywords),
        nn.Conv2d(3, 4, 3, padding=1), LIF(steps, threshold=0.25), nn.Flatten(), nn.Linear(16, 2), MeanOverSteps(steps),
    )  # fmt: skip
    spec = convert(dyadic_(net, seed=5), (2, 2, 2), dt=DT)
    assert_same(net, dyadic_images(4, 2, 2, 2), spec=spec)


@pytest.mark.parametrize("conventions", CONVENTIONS, ids=lambda c: "-".join(str(v) for v in c.values()))
@pytest.mark.parametrize("neuron", SPIKING, ids=lambda n: n.__name__)
def test_both_faces_spike_alike(neuron: type[Neuron], conventions: dict) -> None:
    run_both_faces(neuron, conventions)


@pytest.mark.parametrize(("neuron", "keywords"), variants())
def test_both_faces_agree_on_every_constant(neuron: type[Neuron], keywords: dict) -> None:
    run_both_faces(neuron, keywords)


def test_no_neuron_class_of_the_package_is_left_out() -> None:
    found: set[type] = set()
    waiting: list[type] = [Neuron]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.startswith("alade_brian.models.") and not isabstract(cls):
            found.add(cls)
    assert found == set(NEURONS.values()) and all(name == cls.__name__ for name, cls in NEURONS.items())


def test_plain_constants_leave_no_trace_in_a_checkpoint() -> None:
    assert not LIF(4, 0.3, threshold=0.7).state_dict()
    assert set(LIF(4, learned(0.3), threshold=per_channel(1, 2, 3)).state_dict()) == {"decay", "threshold"}
    assert LIF(4, 0.5).equations().parameters.keys() == {"tau", "v_threshold", "v_reset"}


def test_a_learned_decay_gets_a_gradient() -> None:
    neuron = CubaLIF(3, learned(0.5), learned(0.25))
    neuron.trace(torch.full((3, 1), 0.3, dtype=torch.float64))[1].sum().backward()
    assert neuron.decay.grad is not None and neuron.decay.grad > 0
    assert neuron.syn_decay.grad is not None and neuron.syn_decay.grad > 0


def one_pulse(neuron: Neuron, steps: int = 8) -> np.ndarray:
    current = torch.zeros(steps, 1, dtype=torch.float64)
    current[0] = 1.0
    return neuron.trace(current)[1][:, 0].numpy()


def test_alpha_answers_a_pulse_with_a_difference_of_exponentials() -> None:
    alpha, beta, n = 0.9, 0.6, np.arange(8)
    gain = np.log(beta) / (np.log(beta) - np.log(alpha))
    membranes = one_pulse(Alpha(8, alpha, beta, threshold=100.0))
    np.testing.assert_allclose(membranes, gain * (alpha**n - beta**n), atol=1e-14)


def test_alpha_with_equal_decays_is_an_alpha_function() -> None:
    beta, n = 0.7, np.arange(8)
    neuron = Alpha(8, learned(per_channel(beta, beta, 0.9)), beta, threshold=100.0)
    current = torch.zeros(8, *SHAPE, dtype=torch.float64)
    current[0] = 1.0
    membranes = neuron.trace(current)[1]
    np.testing.assert_allclose(membranes[:, 0, 0, 0].detach(), -np.log(beta) * n * beta**n, atol=1e-14)
    membranes.sum().backward()
    assert neuron.decay.grad is not None and torch.all(torch.isfinite(neuron.decay.grad))


def test_synaptic_answers_a_pulse_with_the_convolution_of_its_exponentials() -> None:
    alpha, beta, n = 0.6, 0.9, np.arange(8)
    membranes = one_pulse(Synaptic(8, alpha=alpha, beta=beta, threshold=100.0))
    np.testing.assert_allclose(membranes, (beta ** (n + 1) - alpha ** (n + 1)) / (beta - alpha), atol=1e-14)


def test_adaptation_raises_the_threshold_by_the_geometric_series() -> None:
    neuron = AdaptiveLIF(6, 0.5, adaptation_decay=0.5, jump=1.0)
    current = torch.tensor([2.0, 1.25, 2.0, 1.75, 2.0, 2.0], dtype=torch.float64)[:, None]
    a, membrane, spikes = 0.0, 0.0, []
    for x in current[:, 0].tolist():
        membrane, a = 0.5 * membrane + x, 0.5 * a
        spikes.append(float(membrane > 1 + a))
        a, membrane = a + spikes[-1], membrane * (1 - spikes[-1])
    assert neuron(current)[:, 0].tolist() == spikes
    assert 0 < sum(spikes) < 6


@pytest.mark.parametrize("decay", [0.5, 0.25, 0.9])
def test_membrane_below_threshold_follows_the_geometric_series(decay: float) -> None:
    steps, current = 12, 0.05
    _, membranes = LIF(steps, decay).trace(torch.full((steps, 1), current, dtype=torch.float64))
    expected = [current * (1 - decay ** (t + 1)) / (1 - decay) for t in range(steps)]
    np.testing.assert_allclose(membranes[:, 0].numpy(), expected, rtol=1e-13)


def test_constant_current_gives_the_closed_form_interval() -> None:
    decay, current, steps = 0.8, 0.3, 60
    spikes = LIF(steps, decay)(torch.full((steps, 1), current, dtype=torch.float64))
    # Reset to zero: the first n with current * (1 - decay^n) / (1 - decay) > 1.
    interval = math.floor(math.log(1 - (1 - decay) / current) / math.log(decay)) + 1
    assert np.diff(np.flatnonzero(spikes.numpy())).tolist() == [interval] * (steps // interval - 1)


def test_a_membrane_at_threshold_fires_only_where_the_comparison_includes_it() -> None:
    at_threshold = torch.ones(1, 1, dtype=torch.float64)
    assert LIF(1)(at_threshold).item() == 0
    assert LIF(1, comparison=">=")(at_threshold).item() == 1


@pytest.mark.parametrize("decay", [0.5, 0.25, 0.75, 0.0, 1.0])
def test_time_constant_gives_the_decay_back_to_the_last_bit(decay: float) -> None:
    assert math.exp(-1 / time_constant(decay)) == decay


def test_surrogate_is_the_triangle() -> None:
    distance = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.25, 1.0, 2.0], requires_grad=True)
    triangle_spike(distance).sum().backward()
    assert distance.grad is not None
    assert distance.grad.tolist() == [0, 0, 0.5, 1, 0.75, 0, 0]


def test_gradient_flows_through_the_reset() -> None:
    current = torch.tensor([[1.5], [0.2]], dtype=torch.float64, requires_grad=True)
    spikes, membranes = LIF(2).trace(current)
    (first,) = torch.autograd.grad(membranes[1, 0], current)
    # u1 = 0.5 (1 - s0) u0 + x1: du1/dx0 = 0.5 (1 - s0) - 0.5 u0 * triangle(0.5) = 0 - 0.5 * 1.5 * 0.5
    assert first[:, 0].tolist() == [-0.375, 1.0]
    assert spikes[:, 0].tolist() == [1, 0]


def test_a_decay_that_is_none_is_refused() -> None:
    for wrong in (1.0, 0.0, torch.tensor([0.5, 1.1]), torch.tensor([0.5, -0.1]), torch.tensor([float("nan")])):
        with pytest.raises(ValueError, match="between 0 and 1"):
            LIF(4, decay=wrong)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Alpha(4, alpha=torch.tensor([1.0, 0.5]))
