"""Backbones: their size as published, what they refuse, and the same spikes in both networks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from networks import NUMPY
from torch import nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.learning.incremental.task_data import time_first
from alade_brian.models import BackboneDescription, ExpandableNetwork, SpikingNeuron, described, make_backbone
from alade_brian.verification.verify import verify

STEPS = 3


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_resnet_19_has_as_many_parameters_as_published() -> None:
    net = make_backbone("resnet19", (3, 32, 32))
    assert parameters(net) == 12_496_960
    assert net.width == 512


def test_resnet_18_by_hand() -> None:
    """Stem, and per stage four 3x3 convolutions with their norms, and a 1x1 one where the shape changes."""
    expected = 3 * 64 * 9 + 2 * 64
    for before, after in ((64, 64), (64, 128), (128, 256), (256, 512)):
        expected += 9 * after * (before + 3 * after) + 8 * after
        expected += (before * after + 2 * after) if before != after else 0
    assert parameters(make_backbone("resnet18", (3, 32, 32))) == expected
    assert parameters(make_backbone("resnet18-imagenet", (3, 64, 64))) == expected + 3 * 64 * (49 - 9)


def test_a_sew_resnet_has_the_parameters_of_the_resnet() -> None:
    one, other = (make_backbone(name, (3, 64, 64)) for name in ("sew-resnet18-imagenet", "resnet18-imagenet"))
    assert parameters(one) == parameters(other) and one.width == other.width


def test_spikes_that_are_added_are_sent_by_both() -> None:
    """A block whose shortcut is what came in: the next layer receives 0, 1 or 2 spikes in a step."""
    torch.manual_seed(0)
    net = ExpandableNetwork(
        lambda: make_backbone(
            "sew", (2, 6, 6), channels=(3, 3, 4), strides=(1, 1, 2), pool=1, steps=STEPS, neuron="IF", threshold=0.3
        ),
        STEPS,
    )
    net.add_extractor()
    net.set_classifier(3)
    images = np.random.default_rng(0).normal(0, 2, (4, 2, 6, 6))
    net.train()(torch.from_numpy(images).float())
    sent: list[torch.Tensor] = []
    net.extractors[0].blocks[0].register_forward_hook(lambda module, inputs, output: sent.append(output))
    net.double().eval()(torch.from_numpy(images))
    assert sent[0].unique().tolist() == [0.0, 1.0, 2.0]
    spec = convert(net, (2, 6, 6))
    into = [p.source for p in spec.projections if p.target == "extractors.0.blocks.1.neuron1"]
    assert into == ["extractors.0.blocks.0.neuron2", "extractors.0.stem.lif"]
    found = verify(net, images, spec, NUMPY)
    assert found.mismatched_spikes == 0 and all(layer.spikes_reference for layer in found.layers)


def test_width_multiplies_every_layer() -> None:
    net = make_backbone("resnet18", (3, 16, 16), width=0.25)
    assert net.width == 128
    assert next(m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)) == 16


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet18", (1, 28, 28)), ("resnet19", (3, 9, 7)), ("small", (1, 9, 8)), ("sew", (1, 9, 8))]
)
def test_features_are_as_wide_as_said(name: str, shape: tuple[int, int, int]) -> None:
    net = make_backbone(name, shape, width=0.05, steps=STEPS)
    assert net(torch.rand(2, *shape)).shape == (STEPS * 2, net.width)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(
        UserError, match="unknown backbone 'vgg'; use one of small, preact, sew, tandem, latency, resnet18"
    ):
        make_backbone("vgg", (3, 32, 32))
    with pytest.raises(ValueError, match="too small for a stem with pooling"):
        make_backbone("resnet18-imagenet", (3, 2, 2))


@pytest.mark.parametrize("name", ["small", "preact", "sew"])
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"channels": (4, 5), "strides": (1, 2, 1)}, "2 channel numbers and 3 strides: give one of each per stage"),
        ({"channels": (4, 5, 6), "strides": (1, 2)}, "3 channel numbers and 2 strides"),
        ({"channels": (), "strides": ()}, "0 channel numbers and 0 strides"),
        ({"strides": (1, 2, 2), "pool": 3}, "pooling window of 3 does not fit into the last stage's 3x2 image"),
    ],
)
def test_stages_that_do_not_fit_are_refused(name: str, numbers: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_backbone(name, (1, 9, 8), **numbers)


@pytest.mark.parametrize("name", ["small", "sew", "resnet18", "resnet18-imagenet", "resnet19"])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("sequence", [False, True])
def test_both_networks_spike_alike(name: str, norm: str, sequence: bool) -> None:
    torch.manual_seed(0)

    def extractor() -> nn.Module:
        # A low threshold, so that spikes come as far as the last of many layers.
        return make_backbone(
            name, (3, 16, 16), width=0.05, channels=(4, 5), strides=(1, 2), steps=STEPS, threshold=0.15, norm=norm,
            sequence=sequence,
        )  # fmt: skip

    net = ExpandableNetwork(extractor, STEPS)
    net.add_extractor()
    net.set_classifier(4)
    images = np.random.default_rng(0).normal(0, 2, (3, STEPS, 3, 16, 16) if sequence else (3, 3, 16, 16))
    net.train()(time_first(torch.from_numpy(images).float()))
    coding = {"steps": STEPS, "sequence": True} if sequence else {}
    found = verify(net, images, convert(net.eval(), (3, 16, 16), **coding), NUMPY)
    assert found.mismatched_spikes == 0 and found.logit_max_abs_difference < 1e-12
    assert all(layer.spikes_reference for layer in found.layers)


@pytest.mark.parametrize(
    ("neuron", "options"),
    [
        ("IF", {"reset": "subtract", "v_reset": 0.15}),
        ("AdaptiveLIF", {"jump": 0.05, "adaptation_decay": 0.75}),
        ("CubaLIF", {"syn_decay": 0.5}),
        ("Alpha", {"alpha": 0.75}),
    ],
)
@pytest.mark.parametrize("backbone", ["small", "resnet19"])
def test_a_backbone_of_other_neurons_spikes_alike_in_both(neuron: str, options: dict, backbone: str) -> None:
    torch.manual_seed(0)

    def extractor() -> nn.Module:
        return make_backbone(
            backbone, (3, 8, 8), width=0.05, channels=(4, 5), strides=(1, 2), steps=STEPS, threshold=0.15,
            neuron=neuron, neuron_options=options,
        )  # fmt: skip

    net = ExpandableNetwork(extractor, STEPS)
    net.add_extractor()
    net.set_classifier(4)
    neurons = [module for module in net.modules() if isinstance(module, SpikingNeuron)]
    assert {type(each).__name__ for each in neurons} == {neuron}
    assert all(each.threshold == 0.15 for each in neurons)
    images = np.random.default_rng(0).normal(0, 2, (3, 3, 8, 8))
    net.train()(torch.from_numpy(images).float())
    found = verify(net, images, convert(net.eval(), (3, 8, 8)), NUMPY)
    assert found.mismatched_spikes == 0 and found.logit_max_abs_difference < 1e-12
    assert found.layers[0].spikes_reference


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"neuron": "Izhikevich"}, "no spiking neuron 'Izhikevich'; use one of .*AdaptiveLIF.*LIF"),
        ({"neuron": "LI"}, "no spiking neuron 'LI'"),
        ({"neuron": "CubaLIF", "neuron_options": {"tau": 3}}, "CubaLIF takes no 'tau'; it takes decay, syn_decay"),
    ],
)
def test_a_neuron_that_cannot_be_made_is_refused(numbers: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_backbone("small", (1, 8, 8), **numbers)


def test_a_description_comes_back_from_json() -> None:
    description = BackboneDescription((3, 8, 8), "resnet19", channels=(4, 5), neuron_options={"reset": "none"})
    assert described(json.loads(json.dumps(description.record()))) == description
