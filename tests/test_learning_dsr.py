"""Differentiation on spike representation: means and gradients by hand and by autograd, memory, learning, refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from networks import assert_same, convert
from test_learning_synthetic import one_thread
from torch import Tensor, nn

from alade_brian.config.run import RunConfig
from alade_brian.config.sections import NetworkConfig, StageConfig
from alade_brian.errors import UserError
from alade_brian.learning import Learner, TaskData
from alade_brian.learning.rules.dsr import Representation, quantal_neurons
from alade_brian.models import LIF, BackboneDescription, HoldCurrent, MeanOverSteps
from alade_brian.models.layers.readouts import LeakyMean
from alade_brian.models.neurons.quantal import QuantalIF, QuantalLIF

STEPS = 4
IMAGE_SHAPE = (1, 4, 4)
IF_NET = NetworkConfig(
    backbone="preact", channels=(4, 6), strides=(1, 2), pool=2, steps=6, neuron="QuantalIF", threshold=2.0,
    neuron_options={"learned": True},
)  # fmt: skip
LIF_NET = dataclasses.replace(
    IF_NET, neuron="QuantalLIF", decay=0.75, threshold=0.5, neuron_options={"learned": True, "fraction": 0.25, "dt": 0.25}
)  # fmt: skip


def config(network: NetworkConfig = IF_NET, **stage: object) -> RunConfig:
    settings = {"epochs": 6, "batch_size": 16, "learning_rate": 0.05, "schedule": "cosine", **stage}
    return RunConfig(method="dsr", network=network, learning=StageConfig(**settings))  # type: ignore[arg-type]


def two_classes(count: int = 48) -> TaskData:
    """A bright pixel in one corner or the other, among noise."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 2
    images = 0.2 * torch.randn(count, *IMAGE_SHAPE, generator=generator)
    images[labels == 0, 0, 0, 0] += 2.0
    images[labels == 1, 0, 3, 3] += 2.0
    return TaskData(1, images, labels, 0, 2, 0, torch.ones(2, dtype=torch.int64))


def test_spikes_carry_the_threshold_that_they_take_away() -> None:
    neuron = QuantalIF(STEPS, threshold=2.0, fraction=0.5)
    # Membranes: 0.75, 1.5 fires and leaves -0.5, 0.25, 1.0 fires at the bound.
    sent = neuron(torch.full((STEPS, 1), 0.75, dtype=torch.float64))
    assert sent[:, 0].tolist() == [0.0, 2.0, 0.0, 2.0]


def test_what_a_leaky_neuron_sends_on_average_is_its_current_over_the_time_constant() -> None:
    tau, dt, steps = 1.0, 0.05, 400
    neuron = QuantalLIF(steps, float(np.exp(-dt / tau)), dt=dt, threshold=0.05)
    current = torch.linspace(0.0, 1.5, 7, dtype=torch.float64)
    sent = neuron.weighted_mean(neuron(current.repeat(steps, 1)))
    wanted = neuron.representation(current[None])
    torch.testing.assert_close(wanted, current.clamp(max=1.0 / neuron.gain)[None] * neuron.gain)
    assert neuron.gain == pytest.approx(1 / tau, rel=dt)
    # The membrane that is left over at the end, at most a threshold, is all that is missing.
    assert (sent - wanted).abs().max() <= neuron.threshold / dt * (1 - neuron.decay)


@pytest.mark.parametrize("steps", [8, 32, 128])
def test_the_error_of_the_representation_falls_with_the_steps(steps: int) -> None:
    neuron = QuantalIF(steps, threshold=1.0)
    current = torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    sent = neuron.weighted_mean(neuron(current.repeat(steps, 1)))
    error = (sent - neuron.representation(current[None])).abs().max().item()
    # The membrane stays within half a threshold of zero where the neuron is neither silent nor saturated.
    assert 0 < error <= 0.5 / steps + 1e-12


def test_gradients_by_hand() -> None:
    """Mean currents below, between and above: none, the weight's, the threshold's."""
    net = nn.Sequential(HoldCurrent(STEPS), nn.Linear(1, 3), QuantalIF(STEPS, threshold=2.0, learned=True))
    net.append(MeanOverSteps(STEPS))
    with torch.no_grad():
        net[1].weight[:, 0] = torch.tensor([-1.0, 1.0, 5.0])
        net[1].bias.zero_()
    output = Representation(net.train())(torch.ones(1, 1))
    # 1 in every step and a threshold of 2: fires in the first and third step (membranes 1, 0, 1, 0).
    assert output[0].tolist() == [0.0, 1.0, 2.0]
    (output * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert net[1].weight.grad is not None and net[1].weight.grad[:, 0].tolist() == [0.0, 10.0, 0.0]
    assert net[2].threshold.grad is not None and net[2].threshold.grad.item() == 100.0


def test_gradients_are_those_of_a_network_of_clamps() -> None:
    """Autograd of the ideal responses, evaluated at the means that were measured."""
    torch.manual_seed(0)
    first, second = QuantalIF(64, threshold=1.5), QuantalIF(64, threshold=1.5)
    net = nn.Sequential(HoldCurrent(64), nn.Linear(5, 7), first, nn.Linear(7, 3), second, MeanOverSteps(64)).double()
    images = torch.randn(6, 5, dtype=torch.float64)
    Representation(net)(images).square().sum().backward()
    found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    with torch.no_grad():
        spikes = first(net[1](images).repeat(64, 1))
        measured, answers = first.weighted_mean(spikes), second.weighted_mean(second(net[3](spikes)))
    hidden = net[1](images).clamp(0, 1.5)
    hidden = hidden + (measured - hidden).detach()
    output = net[3](hidden).clamp(0, 1.5)
    (output + (answers - output).detach()).square().sum().backward()
    expected = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(found) == len(expected) == 4
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("network", [IF_NET, LIF_NET], ids=["IF", "LIF"])
def test_outputs_and_statistics_are_those_of_the_network(network: NetworkConfig) -> None:
    images = two_classes(8).images
    learner, twin = (Learner(config(network), IMAGE_SHAPE) for _ in range(2))
    for each in (learner, twin):
        torch.manual_seed(3)
        each.method.begin_task(two_classes(8))
        each.network.double().train()
    with torch.no_grad():
        features = torch.cat([e(images.double()) for e in twin.network.extractors], 1)
        expected = twin.network.decision(twin.network.classifier(features))
    torch.testing.assert_close(Representation(learner.network)(images.double()), expected)
    assert all(m.training for m in learner.network.modules())
    for name, value in twin.network.state_dict().items():
        torch.testing.assert_close(learner.network.state_dict()[name], value)


@pytest.mark.parametrize("network", [IF_NET, LIF_NET], ids=["IF", "LIF"])
def test_it_learns_and_its_spikes_are_brian2s(network: NetworkConfig) -> None:
    data = two_classes()
    with one_thread():
        learner = Learner(config(network), IMAGE_SHAPE)
        history = learner.learn(data)
    assert history.epochs[-1]["training_accuracy"] >= 0.9
    learned = history.facts["thresholds"]
    assert len(learned) == len(quantal_neurons(learner.network)) == 5
    assert any(abs(value - network.threshold) > 1e-3 for value in learned.values())
    spec = convert(learner.network, IMAGE_SHAPE)
    assert_same(learner.network, data.images[:6].numpy(), spec=spec)


def test_it_learns_values() -> None:
    data = two_classes()
    targets = torch.stack([1.0 - data.labels, 0.5 * data.labels], 1)
    with one_thread():
        learner = Learner(config(epochs=10), IMAGE_SHAPE)
        epochs = learner.learn(dataclasses.replace(data, targets=targets)).epochs
    assert epochs[-1]["loss"] < 0.25 * epochs[0]["loss"]


def test_nothing_is_kept_over_time() -> None:
    """What autograd saves for the backward pass is as much for three times the steps."""
    saved = {}
    for steps in (6, 18):
        learner = Learner(config(dataclasses.replace(IF_NET, steps=steps)), IMAGE_SHAPE)
        learner.method.begin_task(two_classes(8))
        kept: list[int] = []

        def pack(tensor: Tensor, kept: list[int] = kept) -> Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            Representation(learner.network.train())(two_classes(8).images)
        saved[steps] = sum(kept)
    assert saved[6] == saved[18] > 0


def test_a_neuron_without_a_representation_is_refused() -> None:
    with pytest.raises(UserError, match="network.neuron is 'LIF', but the method 'dsr' needs a neuron"):
        Learner(config(dataclasses.replace(IF_NET, neuron="LIF", neuron_options={})), IMAGE_SHAPE)
    with pytest.raises(UserError, match="layer 1 is LIF, which has no representation"):
        Representation(nn.Sequential(nn.Linear(2, 2), LIF(2)))


def test_a_threshold_that_falls_to_its_bound_is_refused() -> None:
    with one_thread(), pytest.raises(UserError, match=r"fell to its bound 0.01; use a lower learning.learning_rate"):
        Learner(config(dataclasses.replace(IF_NET, threshold=0.02), learning_rate=0.5), IMAGE_SHAPE).learn(
            two_classes()
        )


def test_a_leaky_mean_weighs_late_steps_more() -> None:
    values = torch.tensor([1.0, 0.0, 0.0, 2.0], dtype=torch.float64)[:, None]
    weights = 0.5 ** np.arange(3, -1, -1)
    assert LeakyMean(4, 0.5)(values).item() == pytest.approx((weights[0] + 2 * weights[3]) / weights.sum())


@pytest.mark.parametrize(("options", "decay"), [({}, 0.5), ({"decay": 0.75}, 0.75)])
def test_the_mean_decays_as_the_neurons_do(options: dict[str, float], decay: float) -> None:
    of = BackboneDescription((1, 8, 8), neuron="QuantalLIF", decay=0.5, neuron_options=options)
    decision, neuron = of.make_decision(), of.make_neuron()
    assert isinstance(decision, LeakyMean) and isinstance(neuron, QuantalLIF)
    assert decision.decay == neuron.decay == decay
