"""Progressive tandem learning: counts and gradients by hand, folding, rounding, learning, resuming, refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from networks import assert_same, convert
from test_learning_dsr import IMAGE_SHAPE, two_classes
from test_learning_resume import stored
from test_learning_synthetic import one_thread, same, weights
from torch import Tensor, nn

from alade_brian.config.run import RunConfig, config_from, read_mapping, to_mapping
from alade_brian.config.sections import NetworkConfig, StageConfig, TandemConfig
from alade_brian.config.shipped import find_file
from alade_brian.data import make_dataset
from alade_brian.errors import UserError
from alade_brian.learning import Learner
from alade_brian.learning.architectures import backbone_description
from alade_brian.learning.rules.tandem import Tandem, quantised
from alade_brian.models import HoldCurrent, Impulse, MeanOverSteps, build_backbone, make_backbone
from alade_brian.models.networks.tandem import TandemLayer, TandemNet
from alade_brian.models.neurons.equation_face import run_equations
from alade_brian.models.neurons.quantal import QuantalIF
from alade_brian.runs.setup import make_learner

NET = NetworkConfig(
    backbone="tandem", channels=(4, 6), strides=(1, 2), pool=1, hidden=(8,), steps=8, neuron="QuantalIF",
    neuron_options={"fraction": 1.0},
)  # fmt: skip
SETTINGS = {"batch_size": 16, "optimiser": "adam", "learning_rate": 0.02, "schedule": "constant", "weight_decay": 0.0}


def config(network: NetworkConfig = NET, turn: int = 1, **tandem: Any) -> RunConfig:
    learning, finetuning = StageConfig(epochs=4, **SETTINGS), StageConfig(epochs=turn, **SETTINGS)  # type: ignore[arg-type]
    return RunConfig(
        method="tandem", network=network, learning=learning, finetuning=finetuning, tandem=TandemConfig(**tandem)
    )


def begun(settings: RunConfig, image_shape: tuple[int, int, int] = IMAGE_SHAPE) -> Tandem:
    """The method with its analogue network, float64, before it has learnt."""
    learner = Learner(settings, image_shape)
    torch.manual_seed(3)
    learner.method.begin_task(two_classes(8))
    learner.network.double()
    assert isinstance(learner.method, Tandem)
    return learner.method


def test_an_impulse_is_all_current_in_the_first_step() -> None:
    current = torch.tensor([[0.5, -1.25], [2.0, 0.0]], dtype=torch.float64)
    sent = Impulse(4)(current)
    assert sent.tolist() == [[2.0, -5.0], [8.0, 0.0], *[[0.0, 0.0]] * 6]
    assert torch.equal(MeanOverSteps(4)(sent), current)
    held = HoldCurrent(4)(current).reshape(4, 2, 2)
    assert torch.equal(run_equations(Impulse(4).equations(), held).sent.flatten(0, 1), sent)


@pytest.mark.parametrize("when", ["impulse", "held"])
def test_counts_are_activations_rounded_down(when: str) -> None:
    """Of one threshold over the steps; below zero none, above the threshold a spike in every step."""
    steps, threshold = 8, 2.0
    activations = torch.arange(-2.0, 3.0, 0.0625, dtype=torch.float64)[None]
    current = (Impulse(steps) if when == "impulse" else HoldCurrent(steps))(activations)
    neuron = QuantalIF(steps, threshold=torch.tensor(threshold), fraction=1.0)
    unit = threshold / steps
    wanted = torch.floor(activations.clamp(0, threshold) / unit) * unit
    assert torch.equal(neuron.weighted_mean(neuron(current)), wanted)


def one_weight() -> Tandem:
    """One pixel, one weight 0.75 with bias 0.25, one neuron with threshold 2 that is the hybrid layer, four steps, a
    readout of 1 and -1; no norm."""
    method = begun(config(dataclasses.replace(NET, channels=(1,), strides=(1,), hidden=(), steps=4)), (1, 1, 1))
    (layer,) = method.layers()
    layer.norm, method.converted = nn.Identity(), 1
    with torch.no_grad():
        layer.linear.weight.zero_()[0, 0, 1, 1] = 0.75
        layer.linear.bias.fill_(0.25)  # type: ignore[union-attr]
        layer.neuron.threshold.fill_(2.0)
        assert method.network.classifier is not None
        method.network.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    return method


def test_the_update_by_hand() -> None:
    """Pixels 2 and -1. The first: an activation of 1.75, so membranes 6.25, 4.5, 2.75, 1.0: three spikes of 2, a mean of
    1.5. The second: an activation of 0 (-0.5 before ReLU) and no spike."""
    method = one_weight()
    answers = method.respond(torch.tensor([2.0, -1.0], dtype=torch.float64).reshape(2, 1, 1, 1))
    assert answers.tolist() == [[1.5, -1.5], [0.0, 0.0]]
    # The first class is right for the first, the second for the second: of the answers, 10 and 100 times.
    (answers * torch.tensor([[10.0, 0.0], [0.0, 100.0]], dtype=torch.float64)).sum().backward()
    (layer,) = method.layers()
    assert layer.linear.weight.grad is not None and layer.linear.bias is not None and layer.linear.bias.grad is not None
    # Straight through the count: the twin's gradient, 1 where it is above 0, times the pixel and what reads it.
    assert layer.linear.weight.grad[0, 0, 1, 1].item() == 10 * 1.0 * 2.0
    assert layer.linear.bias.grad.item() == 10.0
    # The readout sees the count.
    classifier = method.network.classifier
    assert classifier is not None and classifier.weight.grad is not None
    assert classifier.weight.grad.ravel().tolist() == [10 * 1.5, 0.0]


def test_the_gradient_is_that_of_twins_at_the_counts() -> None:
    """Autograd of ReLU(norm(conv(...))) of the hybrid layer and of those above it, with the counts for values."""
    method = begun(config())
    images = two_classes(8).images.double()
    method.convert_next(images)
    first = method.layers()[0]
    method.layers()[0].fold(*method.weights(first))
    method.convert_next(images)
    method.respond(images).square().sum().backward()
    found = {name: p.grad.clone() for name, p in method.network.named_parameters() if p.grad is not None}
    method.network.zero_grad()
    _, second, third = method.layers()
    # Running statistics as they were before the first pass, which the counts are made with.
    twin = begun(config())
    twin.convert_next(images)
    twin.layers()[0].fold(*twin.weights(twin.layers()[0]))
    twin.convert_next(images)
    below = twin.layers()[0](twin.extractor.impulse(images))
    with torch.no_grad():
        counted = twin.layers()[1].neuron.weighted_mean(twin.layers()[1].eval()(below))
    hidden = torch.relu(second.norm(second.linear(first.neuron.weighted_mean(below))))
    hidden = hidden + (counted - hidden).detach()
    features = torch.relu(third.norm(third.linear(hidden.flatten(1))))
    assert method.network.classifier is not None
    method.network.classifier(features).square().sum().backward()
    expected = {name: p.grad for name, p in method.network.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys() and not any("layers.0." in name for name in found)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name])


def test_a_folded_layer_is_the_layer_with_its_norm() -> None:
    method = begun(config())
    for layer in method.layers():
        assert isinstance(layer.norm, nn.BatchNorm1d | nn.BatchNorm2d)
        nn.init.uniform_(layer.norm.weight, 0.5, 2.0)
        nn.init.normal_(layer.norm.bias)
    images = two_classes(8).images.double()
    method.respond(images)  # moves the running statistics
    method.network.eval()
    before = method.extractor(images)
    for layer in method.layers():
        layer.fold(*layer.folded())
    assert torch.equal(method.extractor(images), before) and bool(before.any())
    assert not any(p.requires_grad for p in method.extractor.parameters())


def test_weights_are_rounded_to_equal_steps() -> None:
    weight = torch.tensor([0.75, -0.74, 0.3, -0.13, 0.12, 0.0])
    torch.testing.assert_close(quantised(weight, 3), torch.tensor([0.75, -0.75, 0.25, -0.25, 0.0, 0.0]))
    torch.testing.assert_close(quantised(weight, 2), torch.tensor([0.75, -0.75, 0.0, 0.0, 0.0, 0.0]))
    assert torch.equal(quantised(torch.zeros(3), 4), torch.zeros(3))


@pytest.mark.parametrize("bits", [None, 4])
def test_it_learns_layer_by_layer_and_its_spikes_are_brian2s(bits: int | None) -> None:
    data = two_classes()
    with one_thread():
        learner = Learner(config(weight_bits=bits), IMAGE_SHAPE)
        history = learner.learn(data)
    assert [record["stage"] for record in history.epochs] == [1, 1, 1, 1, 2, 3, 4, 5]
    assert history.epochs[-1]["training_accuracy"] >= 0.9
    method = learner.method
    assert isinstance(method, Tandem) and len(method.stages_kept) == 4
    thresholds = history.facts["thresholds"]
    assert len(thresholds) == 3 and all(threshold not in (0.0, NET.threshold) for threshold in thresholds)
    # What was frozen did not change, what was not learnt on.
    final = learner.network.state_dict()
    after_first, after_second = method.stages_kept[1:3]
    assert torch.equal(after_first["extractors.0.layers.0.linear.weight"], final["extractors.0.layers.0.linear.weight"])
    assert not torch.equal(after_first["classifier.weight"], after_second["classifier.weight"])
    for layer in method.layers():
        assert bits is None or len(layer.linear.weight.detach().unique()) <= 2**bits - 1
    assert_same(learner.network, data.images[:6].numpy(), spec=convert(learner.network, IMAGE_SHAPE))


def test_primitive_conversion_takes_analogue_percentiles_and_folds() -> None:
    images = two_classes(8).images.double()
    method, twin = begun(config(percentile=90.0)), begun(config(percentile=90.0))
    for each in (method, twin):
        # A bias comes step by step, the rest of the first layer's current at once: spikes may then be too many.
        nn.init.zeros_(each.layers()[0].linear.bias)  # type: ignore[arg-type]
    method.network.eval()
    x, activations = images, []
    for layer in method.layers():
        x = layer.activation(x).detach()
        activations.append(x)
    thresholds = [np.percentile(a.numpy(), 90.0) for a in activations]
    unit = thresholds[0] / NET.steps
    rounded = torch.floor(activations[0].clamp(max=thresholds[0]) / unit) * unit
    for layer in method.layers()[1:]:
        rounded = layer.activation(rounded)
    assert method.network.classifier is not None
    expected = method.network.classifier(rounded)
    method.convert_at_once(images, 1)
    torch.testing.assert_close(method.respond(images), expected)
    twin.convert_at_once(images, 3)
    assert [float(layer.neuron.threshold) for layer in twin.layers()] == thresholds
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in twin.network.modules())


def test_every_epoch_can_be_the_last_before_a_stop() -> None:
    data = two_classes()
    with one_thread():
        whole, kept = Learner(config(), IMAGE_SHAPE), []
        history = whole.learn(data, keep=lambda state: kept.append(stored(state())))
        assert len(kept) == len(history.epochs) == 8
        for state in kept:
            again = Learner(config(), IMAGE_SHAPE)
            assert again.learn(data, state=state) == history
            assert same(weights(again), weights(whole))
            found, wanted = again.method.state()["stages"], whole.method.state()["stages"]
            assert len(found) == len(wanted) and all(same(a, b) for a, b in zip(found, wanted, strict=True))


def test_augmented_images_are_shown_to_the_readout_too() -> None:
    shown: list[int] = []

    def noise(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        shown.append(images.ndim)
        return images

    with one_thread():
        Learner(config(), IMAGE_SHAPE, noise).learn(two_classes())
    # 48 images in batches of 16, in each of eight epochs.
    assert shown == [4] * 24


def test_sections_that_are_not_used_are_not_recorded() -> None:
    assert "tandem" not in to_mapping(RunConfig()) and "hidden" not in to_mapping(RunConfig())["network"]
    mapping = to_mapping(config(weight_bits=4))
    assert mapping["tandem"] == {"percentile": 99.9, "weight_bits": 4} and mapping["network"]["hidden"] == [8]
    assert config_from(mapping, "here") == config(weight_bits=4)


def silent(method: Tandem) -> None:
    with torch.no_grad():
        method.layers()[0].norm.bias.fill_(-9.0)  # type: ignore[union-attr]
    method.convert_next(two_classes(8).images.double())


def dataset() -> Any:
    images = np.zeros((20, *IMAGE_SHAPE)), np.arange(20) % 2
    return make_dataset("zeros", images, images, ("a", "b"))


def learner_of(**changes: Any) -> Callable[[], Any]:
    return lambda: make_learner(config(dataclasses.replace(NET, **changes)), dataset())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (learner_of(backbone="small", hidden=()), "backbone is 'small', but the method 'tandem' converts layer by layer"),
        (learner_of(neuron="LIF", neuron_options={}), "with neurons LIF .*use QuantalIF, not learned"),
        (learner_of(neuron_options={"learned": True}), "use QuantalIF, not learned"),
        (learner_of(norm="none"), "its analogue twin has batch norm"),
        (learner_of(pool=3), "window of 3 does not fit into the last stage's 2x2 image"),
        (lambda: learner_of(steps=0)(), "network.steps is 0; use at least 1"),
        (lambda: config(weight_bits=1), "tandem.weight_bits is 1; use 2 to 16"),
        (lambda: config(percentile=0.0), "tandem.percentile is 0.0; use a number above 0"),
        (lambda: dataclasses.replace(NET, hidden=(0,)), "network.hidden is .0.; use positive numbers"),
        (lambda: silent(begun(config())), "99.9th percentile of the activations of layer 1 is 0.0"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make()


def test_other_backbones_have_no_hidden_layers() -> None:
    with pytest.raises(ValueError, match="the backbone 'small' has none; use 'tandem'"):
        make_backbone("small", (1, 8, 8), hidden=(4,))


def test_pooled_features_are_read_without_hidden_layers() -> None:
    net = make_backbone("tandem", (1, 4, 4), channels=(2,), strides=(1,), pool=2, steps=3, neuron="QuantalIF")
    images: Tensor = torch.rand(5, 1, 4, 4)
    assert net(images).shape == (15, 8) and net.width == 8


def test_the_published_network_is_that_of_its_authors() -> None:
    """Five convolutions, 4x4 pixels of 256 channels into 2,048 units, 16 steps."""
    found = config_from(read_mapping(find_file("tandem-paper", "configs")), "tandem-paper").network
    net = build_backbone(backbone_description(found, (3, 32, 32), sequence=False))
    assert isinstance(net, TandemNet) and len(net.layers) == 6 and net.impulse.steps == 16 and net.width == 2048
    last = net.layers[-1]
    assert isinstance(last, TandemLayer) and last.linear.weight.shape == (2048, 4 * 4 * 256)
