"""Surrogate gradients: against their formulas, against autograd of the smooth function each comes from, and in layers."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alade_brian.config import sections
from alade_brian.config.run import NetworkConfig
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.models import (
    IF,
    LIF,
    ArcTan,
    FastSigmoid,
    MeanOverSteps,
    StraightThrough,
    Surrogate,
    Triangle,
    make_backbone,
)
from alade_brian.models.neurons.neuron import _log_loop
from alade_brian.models.neurons.surrogate import SURROGATES, surrogate_of
from alade_brian.spec.file import save_spec
from alade_brian.verification.kept_reference import digest

DISTANCES = [-1.5, -1.0, -0.5, -0.0625, 0.0, 0.25, 1.0, 2.0]
# The smooth step whose derivative each one is.
SMOOTH = {
    Triangle(): lambda d: torch.where(d.abs() < 1, d - d * d.abs() / 2, d.sign() / 2),
    FastSigmoid(10.0): lambda d: d / (1 + 10 * d.abs()),
    ArcTan(3.0): lambda d: torch.arctan(math.pi / 2 * 3 * d) / math.pi,
    StraightThrough(): lambda d: d,
}


def gradient_of(function, at: list[float]) -> Tensor:
    distance = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    function(distance).sum().backward()
    assert distance.grad is not None
    return distance.grad


@pytest.mark.parametrize("surrogate", SMOOTH, ids=str)
def test_the_gradient_is_that_of_a_smooth_step(surrogate: Surrogate) -> None:
    away_from_the_kinks = [d for d in DISTANCES if abs(d) != 1]
    found = gradient_of(surrogate.spike, away_from_the_kinks)
    torch.testing.assert_close(found, gradient_of(SMOOTH[surrogate], away_from_the_kinks))


@pytest.mark.parametrize(
    ("surrogate", "expected"),
    [
        (Triangle(), [0, 0, 0.5, 0.9375, 1, 0.75, 0, 0]),
        (FastSigmoid(4.0), [1 / 49, 1 / 25, 1 / 9, 1 / 1.5625, 1, 0.25, 1 / 25, 1 / 81]),
        (ArcTan(2 / math.pi), [1 / math.pi / (1 + d * d) for d in DISTANCES]),
        (StraightThrough(), [1.0] * 8),
    ],
    ids=str,
)
def test_the_gradient_by_hand(surrogate: Surrogate, expected: list[float]) -> None:
    assert gradient_of(surrogate.spike, DISTANCES).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("surrogate", SMOOTH, ids=str)
def test_spikes_do_not_depend_on_it(surrogate: Surrogate) -> None:
    distance = torch.tensor(DISTANCES)
    assert surrogate.spike(distance).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert surrogate.spike(distance, inclusive=True).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("surrogate", SMOOTH, ids=str)
def test_a_layer_uses_its_own_through_the_reset(surrogate: Surrogate) -> None:
    current = torch.tensor([[1.5], [0.9]], dtype=torch.float64, requires_grad=True)
    LIF(2, surrogate=surrogate)(current)[1].sum().backward()
    # v0 = 1.5 fires, v1 = 0.5 (1 - s0) v0 + 0.9: dv1/dx0 = 0.5 (1 - s0) - 0.5 v0 s'(0.5) = -0.75 s'(0.5).
    early, late = surrogate.derivative(torch.tensor([0.5, -0.1], dtype=torch.float64)).tolist()
    assert current.grad is not None
    assert current.grad[:, 0].tolist() == pytest.approx([-0.75 * early * late, late])


@pytest.mark.parametrize("neuron", [LIF, IF])
def test_the_kernel_takes_the_triangle_and_steps_aside_for_others(neuron, caplog: pytest.LogCaptureFixture) -> None:
    _log_loop.cache_clear()
    caplog.set_level(logging.INFO, "alade_brian")
    assert neuron(3).fused and neuron(3, surrogate=Triangle()).fused and not caplog.messages
    for _ in range(2):
        assert not neuron(3, surrogate=ArcTan()).fused
    (line,) = caplog.messages
    assert line.startswith(f"{neuron.__name__} with ArcTan(alpha=2.0)")


def test_the_straight_gradient_trains_batch_norm_and_neuron_as_the_loop_does() -> None:
    """The kernel that joins batch norm and neuron steps aside as well."""
    gradients = []
    for surrogate in ("triangle", "straight-through"):
        torch.manual_seed(0)
        network = make_backbone("small", (1, 6, 6), channels=(3,), strides=(1,), steps=2, surrogate=surrogate).train()
        network(torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(1))).sum().backward()
        gradients.append(network.stages[0].norm.bias.grad)
    assert not torch.allclose(*gradients)


def test_neither_specification_nor_tensors_hold_it(tmp_path: Path) -> None:
    networks = []
    for surrogate in SURROGATES:
        torch.manual_seed(0)
        networks.append(make_backbone("small", (1, 6, 6), channels=(3,), strides=(1,), surrogate=surrogate).eval())
    files = []
    for network in networks:
        save_spec(convert(nn.Sequential(network, MeanOverSteps(4)), (1, 6, 6)), tmp_path / "spec.npz")
        with np.load(tmp_path / "spec.npz") as file:
            files.append({name: file[name].tobytes() for name in file.files})
        (tmp_path / "spec.npz").unlink()
        assert len(digest(network)) == 32  # so that what a frozen extractor answered is kept
    assert all(found == files[0] for found in files)
    assert all(network.state_dict().keys() == networks[0].state_dict().keys() for network in networks)


def test_names_are_those_of_the_configuration_and_others_are_refused() -> None:
    assert set(sections.SURROGATES) == set(SURROGATES)
    assert [surrogate_of(name) for name in SURROGATES] == [Triangle(), FastSigmoid(), ArcTan(), StraightThrough()]
    with pytest.raises(UserError, match="network.surrogate is 'step'; use one of triangle"):
        NetworkConfig(surrogate="step")
    with pytest.raises(ValueError, match="no surrogate 'step'"):
        surrogate_of("step")
    for wrong in (lambda: FastSigmoid(0.0), lambda: ArcTan(-1.0)):
        with pytest.raises(ValueError, match="use a positive number"):
            wrong()
