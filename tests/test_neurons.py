"""Neurons: both faces of every class spike by spike, and the torch face against closed forms."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from networks import assert_same, dyadic_, dyadic_images
from torch import nn

from alade_brian.models import LIF, HoldCurrent, MeanOverSteps, neuron_classes
from alade_brian.models.neurons import time_constant
from alade_brian.models.surrogate import triangle_spike

CONVENTIONS = [
    {"comparison": comparison, "reset": reset, "leak": leak, "v_reset": v_reset}
    for comparison, (reset, v_reset), leak in product(
        (">", ">="), (("value", 0.0), ("value", 0.25), ("subtract", 1.0), ("subtract", 0.5), ("none", 0.0)), ("after_reset", "before_reset")
    )
]  # fmt: skip


@pytest.mark.parametrize("conventions", CONVENTIONS, ids=lambda c: "-".join(str(v) for v in c.values()))
@pytest.mark.parametrize("neuron", neuron_classes(), ids=lambda n: n.__name__)
def test_both_faces_spike_alike(neuron: type, conventions: dict) -> None:
    steps = 7
    net = nn.Sequential(
        HoldCurrent(steps), nn.Linear(6, 12), neuron(steps, **conventions), nn.Linear(12, 9), neuron(steps, **conventions),
        nn.Linear(9, 2), MeanOverSteps(steps),
    )  # fmt: skip
    assert_same(dyadic_(net), dyadic_images(4, 6))


def test_a_new_neuron_class_would_be_tested() -> None:
    assert {cls.__name__ for cls in neuron_classes()} >= {"LIF", "IF"}


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


@pytest.mark.parametrize("decay", [0.5, 0.25, 0.75])
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
    with pytest.raises(ValueError, match="between 0 and 1"):
        LIF(4, decay=1.0)
