"""Detectors must detect: every convention, flipped in the specification, is found and the right layer is named first."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from networks import check, conv_net, convert, dyadic_, dyadic_images
from torch import nn

from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.spec import Dense, NetworkSpec, constant

IMAGES = dyadic_images(8, 2, 7, 6)
# Names of the two spiking layers of `conv_net`, and of its readout.
FIRST, SECOND, READOUT = "3", "6", "10"


def replace_projection(spec: NetworkSpec, target: str, **changes: object) -> NetworkSpec:
    changed = tuple(
        dataclasses.replace(p, **changes) if p.target == target else p
        for p in spec.projections  # type: ignore[arg-type]
    )
    return dataclasses.replace(spec, projections=changed)


def first_wrong_layer(net: nn.Module, spec: NetworkSpec, images: np.ndarray = IMAGES) -> str:
    found = check(net, images, spec)
    assert found.mismatched_spikes > 0, str(found)
    assert not found.agrees
    divergence = found.first_divergence
    assert divergence is not None
    # The entry named is a mismatch, and the one whose membranes are given.
    layer = next(a for a in found.layers if a.name == divergence.layer)
    assert [divergence.image, divergence.step, divergence.neuron] in layer.mismatched().tolist()
    return divergence.layer


def test_the_unchanged_specification_agrees() -> None:
    found = check(conv_net(), IMAGES)
    assert found.agrees and found.first_divergence is None


@pytest.mark.parametrize("layer", [FIRST, SECOND])
def test_comparison(layer: str) -> None:
    # Dyadic sums put membranes exactly on the threshold: the two signs differ there and only there.
    net = conv_net()
    net[1], net[5] = nn.Identity(), nn.Identity()
    spec = convert(net, IMAGES.shape[1:])
    found = check(net, dyadic_images(60, 2, 7, 6), spec.replace_neuron(layer, comparison=">="))
    assert found.first_divergence is not None and found.first_divergence.layer == layer
    assert found.first_divergence.distance_to_threshold == 0
    assert found.first_divergence.membrane_reference == found.first_divergence.membrane_brian2 == 1


@pytest.mark.parametrize("layer", [FIRST, SECOND])
def test_reset_to_zero_against_subtraction(layer: str) -> None:
    net = conv_net()
    spec = convert(net, IMAGES.shape[1:])
    neuron = spec.population(layer).neuron
    parameters = {**neuron.parameters, "v_reset": constant(1.0)}
    assert first_wrong_layer(net, spec.replace_neuron(layer, reset="subtract", parameters=parameters)) == layer


@pytest.mark.parametrize("leak", ["after_reset", "before_reset"])
def test_leak_before_or_after_reset(leak: str) -> None:
    neuron = LIF(4, reset="subtract", v_reset=1.0, leak=leak)
    other = {"after_reset": "before_reset", "before_reset": "after_reset"}[leak]
    net = conv_net(neuron)
    assert check(net, IMAGES).agrees
    spec = convert(net, IMAGES.shape[1:])
    assert first_wrong_layer(net, spec.replace_neuron(FIRST, leak=other)) == FIRST


def test_one_step_of_delay_too_much() -> None:
    net = conv_net()
    spec = convert(net, IMAGES.shape[1:])
    assert first_wrong_layer(net, replace_projection(spec, SECOND, delay=1)) == SECOND


def test_channel_order_behind_flatten() -> None:
    net = dyadic_(
        nn.Sequential(
            nn.Conv2d(2, 3, 3), HoldCurrent(4), LIF(4), nn.Flatten(), nn.Linear(60, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4)
        )
    )  # fmt: skip
    spec = convert(net, IMAGES.shape[1:])
    operator = spec.inputs("5")[0].operator
    assert isinstance(operator, Dense)
    channels_last = operator.weight.reshape(8, 3, 5, 4).transpose(0, 2, 3, 1).reshape(8, 60)
    assert first_wrong_layer(net, replace_projection(spec, "5", operator=Dense(channels_last))) == "5"


@pytest.mark.parametrize("layer", [FIRST, SECOND])
def test_bias_forgotten(layer: str) -> None:
    net = conv_net()
    spec = convert(net, IMAGES.shape[1:])
    assert first_wrong_layer(net, spec.replace_population(layer, bias=None)) == layer


@pytest.mark.parametrize(("norm", "layer"), [(1, FIRST), (5, SECOND)])
def test_epsilon_of_batch_norm(norm: int, layer: str) -> None:
    net = conv_net()
    # Small variances, where the epsilon counts.
    net[norm].running_var.fill_(2.0**-16)  # type: ignore[union-attr, operator]
    net[norm].weight.data.fill_(2.0**-8)  # type: ignore[union-attr]
    without = copy.deepcopy(net)
    without[norm].eps = 0.0  # type: ignore[assignment]
    assert check(net, IMAGES).agrees
    assert first_wrong_layer(net, convert(without, IMAGES.shape[1:])) == layer


def test_decay() -> None:
    net = conv_net()
    spec = convert(net, IMAGES.shape[1:])
    parameters = {**spec.population(SECOND).neuron.parameters, "tau": constant(2.0, "step")}
    assert first_wrong_layer(net, spec.replace_neuron(SECOND, parameters=parameters)) == SECOND


def test_threshold() -> None:
    net = conv_net()
    spec = convert(net, IMAGES.shape[1:])
    parameters = {**spec.population(FIRST).neuron.parameters, "v_threshold": constant(1.0625)}
    assert first_wrong_layer(net, spec.replace_neuron(FIRST, parameters=parameters)) == FIRST


def test_a_wrong_readout_shows_in_the_logits_only() -> None:
    net = conv_net()
    spec = convert(net, IMAGES.shape[1:])
    operator = spec.inputs(READOUT)[0].operator
    assert isinstance(operator, Dense)
    found = check(net, IMAGES, replace_projection(spec, READOUT, operator=Dense(operator.weight[::-1])))
    assert found.mismatched_spikes == 0
    assert found.logit_max_abs_difference > 0 and not found.agrees


def test_first_divergence_is_the_earliest_of_the_first_layer() -> None:
    net = conv_net()
    found = check(net, IMAGES, convert(net, IMAGES.shape[1:]).replace_population(FIRST, bias=None))
    entries = found.layers[0].mismatched()
    first = found.first_divergence
    assert first is not None
    assert first.step == entries[:, 1].min()
    assert first.image == entries[entries[:, 1] == first.step, 0].min()
    assert first.distance_to_threshold == first.membrane_reference - 1
    assert (first.membrane_reference > 1) != (first.membrane_brian2 > 1)
