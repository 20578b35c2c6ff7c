"""Learning by spike times: the closed form by hand, by steps and by finite differences; networks that learn; refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import call
from networks import NUMPY, assert_same, convert
from test_learning_synthetic import one_thread
from torch import Tensor

from alade_brian.config.run import RunConfig
from alade_brian.config.sections import NetworkConfig, StageConfig
from alade_brian.data import make_dataset
from alade_brian.errors import UserError
from alade_brian.learning import Learner, TaskData
from alade_brian.learning.rules.relpsp import (
    LEAST_SLOPE,
    first_spike_times,
    horizon_of,
    latency_net,
    spike_times,
    sum_cost,
    timed_layers,
)
from alade_brian.models.neurons.latency import NEVER, LatencyEncoder, RelPspIF
from alade_brian.runs.setup import make_learner
from alade_brian.simulation import simulate

NETWORK = NetworkConfig(
    backbone="latency", channels=(12,), strides=(1,), steps=50, neuron="RelPspIF", neuron_options={"window": 20}
)
STAGE = StageConfig(
    epochs=8, batch_size=16, optimiser="adam", learning_rate=0.02, weight_decay=0.0, schedule="cosine", temperature=0.1
)


def config(**changes: Any) -> RunConfig:
    return RunConfig(**{"method": "relpsp", "network": NETWORK, "learning": STAGE, **changes})


def two_classes(count: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Intensities ``(n, 1, 4, 4)``: a bright pixel in one corner or the other, among noise and dark pixels."""
    draw, labels = np.random.default_rng(1), np.arange(count) % 2
    images = draw.random((count, 1, 4, 4)).astype(np.float32) * 0.6
    images[draw.random(images.shape) < 0.3] = 0
    images[labels == 0, 0, 0, 0] = images[labels == 1, 0, 3, 3] = 1.0
    return images, labels


def double(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def one_neuron(times: Tensor, weight: Tensor, horizon: float = 9.0) -> tuple[float, Tensor, Tensor]:
    """When it fires at threshold 1, and the derivatives for times and weights."""
    times, weight = times.clone().requires_grad_(), weight.clone().requires_grad_()
    found = first_spike_times(times, weight, 1.0, horizon)
    found.sum().backward()
    assert times.grad is not None and weight.grad is not None
    return found.item(), times.grad[0], weight.grad[0]


def test_a_spike_time_and_its_derivatives_by_hand() -> None:
    # 0.25 at time 0.5, and from there 0.75 more with the slope 2. The third input comes too late to count.
    fired, to_times, to_weight = one_neuron(double(0.5, 0.0, 1.0), double(1.5, 0.5, -7.0))
    assert fired == 0.875
    assert to_weight.tolist() == [(0.5 - 0.875) / 2, -0.875 / 2, 0.0]
    assert to_times.tolist() == [1.5 / 2, 0.5 / 2, 0.0]


def test_an_inhibitory_spike_delays_and_one_that_never_came_does_nothing() -> None:
    # 0.5 at time 0.25, then the slope 2 - 1.5 = 0.5.
    fired, to_times, to_weight = one_neuron(double(0.0, 0.25, NEVER), double(2.0, -1.5, 5.0))
    assert fired == 1.25
    assert to_weight.tolist() == [-1.25 / 0.5, (0.25 - 1.25) / 0.5, 0.0]
    assert to_times.tolist() == [2 / 0.5, -1.5 / 0.5, 0.0]


@pytest.mark.parametrize(
    ("times", "weight", "horizon"),
    [((0.0, 0.5), (1.0, -1.5), 9.0), ((0.0, 1.0), (0.5, 0.25), 1.6), ((NEVER, NEVER), (3.0, 3.0), 9.0)],
    ids=["the slope turns", "too late", "no input"],
)
def test_a_neuron_that_does_not_fire_has_no_gradient(
    times: tuple[float, ...], weight: tuple[float, ...], horizon: float
) -> None:
    fired, to_times, to_weight = one_neuron(double(*times), double(*weight), horizon)
    assert fired == NEVER and not to_times.any() and not to_weight.any()


def test_a_flat_crossing_has_the_gradient_of_the_least_slope() -> None:
    fired, _, to_weight = one_neuron(double(0.0), double(LEAST_SLOPE / 2), horizon=100.0)
    assert fired == pytest.approx(2 / LEAST_SLOPE)
    assert to_weight.item() == pytest.approx(-fired / LEAST_SLOPE)


def random_layer(inputs: int = 9, outputs: int = 7, images: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    times = torch.rand(images, inputs, dtype=torch.float64, generator=generator)
    weight = torch.randn(outputs, inputs, dtype=torch.float64, generator=generator) + 0.4
    return torch.where(times > 0.8, NEVER, times), weight


def test_derivatives_are_finite_differences() -> None:
    times, weight = random_layer()
    fired = first_spike_times(times, weight, 1.0, 5.0) < NEVER
    assert 0 < fired.sum() < fired.numel()
    inputs = times.clone().requires_grad_(), weight.clone().requires_grad_()
    # Those that never fire stand at a constant, so that both their differences and gradients are 0.
    assert torch.autograd.gradcheck(lambda t, w: first_spike_times(t, w, 1.0, 5.0), inputs, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("window", [4, 32, 256])
def test_a_neuron_fires_in_the_first_step_at_or_after_its_time(window: int) -> None:
    times, weight = random_layer()
    times = torch.where(times < NEVER, (times * window).ceil() / window, times)
    steps = 3 * window
    at = torch.arange(steps, dtype=torch.float64)[:, None, None] / window
    spikes = RelPspIF(steps, window)(((times == at).double() @ weight.t()).flatten(0, 1)).unflatten(0, (steps, -1))
    assert spikes.sum(0).max() == 1
    closed = first_spike_times(times, weight, 1.0, (steps - 1) / window)
    assert torch.equal(spikes.any(0), closed < NEVER)
    late = (spikes.argmax(0) / window - closed)[closed < NEVER] * window
    assert late.min() > -1e-9 and 0.5 < late.max() < 1 + 1e-9


def test_an_intensity_fires_once_and_bright_ones_first() -> None:
    intensities = torch.tensor([1.0, 0.75, 0.7, 0.25, 1e-9, -0.1], dtype=torch.float64)
    spikes = LatencyEncoder(12, 8)(intensities.repeat(12, 1))
    assert spikes.sum(0).tolist() == [1, 1, 1, 1, 0, 0]
    assert spikes[:, :4].argmax(0).tolist() == [0, 2, 3, 6]


def test_sums_of_weights_that_are_too_small_cost() -> None:
    layer = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -1.0], [3.0, 0.0]]))
    # The first lacks 2 * 1.5 + 0.5, the second nothing.
    assert sum_cost([(layer, RelPspIF(4, threshold=1.5))]).item() == pytest.approx(3.5 / 2)


@pytest.fixture(scope="module")
def learnt() -> tuple[Learner, np.ndarray, np.ndarray, list[dict[str, Any]]]:
    images, labels = two_classes()
    dataset = make_dataset("corners", (images, labels), (images, labels), ("first", "last"))
    learner = make_learner(config(), dataset)
    data = TaskData(
        1, torch.from_numpy(dataset.train_images), torch.from_numpy(labels), 0, 2, 0, torch.ones(2, dtype=torch.int64)
    )
    with one_thread():
        history = learner.learn(data)
    return learner, dataset.test_images, labels, history.epochs


def test_two_classes_are_learnt_and_every_spike_is_brian2s(learnt: Any) -> None:
    learner, images, labels, epochs = learnt
    assert epochs[-1]["training_accuracy"] == 1.0 and epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    shown = images[:12].astype(np.float64)
    spec = convert(learner.network, (1, 4, 4))
    assert_same(learner.network, shown, spec=spec)
    responses = simulate(spec, shown, NUMPY)
    assert np.array_equal(responses.predictions, labels[:12])
    assert max(spikes.sum(1).max() for spikes in responses.spikes.values()) == 1


def test_the_times_of_a_network_are_those_of_its_steps(learnt: Any) -> None:
    learner, images, _, _ = learnt
    network, shown = learner.network, torch.from_numpy(images)
    # The pixels as they were before they were normalised.
    assert latency_net(network).intensity(shown).flatten(1) == pytest.approx(two_classes()[0].reshape(48, -1), abs=1e-6)
    closed = spike_times(network, shown)
    assert [tuple(t.shape) for t in closed] == [(48, 16), (48, 12), (48, 2)] and len(timed_layers(network)) == 2
    first = -network(shown).max(1).values / 20
    ideal = closed[-1].min(1).values
    assert horizon_of(network) == 49 / 20 and bool((ideal < 2).all())
    # Two layers and the pixels round up by at most a step each, were all weights positive.
    assert (first - ideal).abs().max() < 4 / 20


def bad(**network: Any) -> dict[str, Any]:
    return {"network": dataclasses.replace(NETWORK, **network)}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (bad(neuron_options={"window": 2.5}), "a window of 2.5 steps: use a whole number"),
        (bad(neuron_options={"window": 0}), "a window of 0 steps: use a whole number"),
        (bad(steps=20), "20 steps with a window of 20: the pixels fire in all of them"),
        (bad(strides=(2,)), "strides of [2] in a fully connected network"),
        (bad(neuron="LIF", neuron_options={}), "needs neurons with rectified linear postsynaptic potentials"),
        (bad(backbone="small", pool=1), "use the backbone 'latency'"),
        ({"method": "plain"}, "which fires once, but the method 'plain' learns means over the steps"),
    ],
)
def test_what_cannot_be_learnt_is_refused(changes: dict[str, Any], sentence: str) -> None:
    images, labels = two_classes(4)
    dataset = make_dataset("corners", (images, labels), (images, labels), ("first", "last"))
    with pytest.raises(UserError) as error:
        make_learner(config(**changes), dataset)
    assert sentence in str(error.value)


def test_intensities_outside_of_their_range_and_sequences_are_refused() -> None:
    images, labels = two_classes(4)
    bright = make_dataset("bright", (images, labels), (images * 255, labels), ("first", "last"))
    with pytest.raises(UserError, match=r"the images of 'bright' have values from .* to 255, .* scale them"):
        make_learner(config(), bright)
    moving = np.repeat(images[:, None], NETWORK.steps, axis=1)
    with pytest.raises(UserError, match="latency coding shows still images"):
        make_learner(config(), make_dataset("moving", (moving, labels), (moving, labels), ("first", "last")))


def test_a_presentation_without_steps_is_refused_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({"method": "relpsp", "network": {"backbone": "latency", "steps": 0}}))
    assert call("train", file, "--out", tmp_path / "run") == 2
    assert "network.steps is 0; use at least 1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
