"""The torch door: every layer kind against PyTorch for odd shapes, and everything that is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from networks import assert_same, conv_net, dyadic_, dyadic_images
from torch import Tensor, nn

from alade_brian.conversion.connectivity import matrix, projection_synapses
from alade_brian.conversion.spec import Convolution, Pooling
from alade_brian.conversion.table import RefusedLayers, format_rows, lowering_table, synapse_count
from alade_brian.conversion.torch_lower import convert
from alade_brian.models import IF, LIF, ConvBackbone, ExpandableNetwork, HoldCurrent, MeanOverSteps

STEPS = 4


def two_layers(shape: tuple[int, int, int], *between: nn.Module, outputs: int) -> nn.Module:
    """Image -> neurons -> the layers under test -> neurons -> readout."""
    return dyadic_(
        nn.Sequential(
            HoldCurrent(STEPS), LIF(STEPS), *between, LIF(STEPS), nn.Flatten(), nn.Linear(outputs, 3), MeanOverSteps(STEPS)
        )
    )  # fmt: skip


CONVOLUTIONS = {
    "rectangular image": ((2, 5, 8), nn.Conv2d(2, 3, 3, padding=1), 3 * 5 * 8),
    "one channel": ((1, 6, 6), nn.Conv2d(1, 1, 3), 16),
    "stride 2": ((2, 7, 6), nn.Conv2d(2, 4, 3, stride=2, padding=1), 4 * 4 * 3),
    "unequal strides and paddings": ((3, 6, 7), nn.Conv2d(3, 2, (3, 2), stride=(2, 3), padding=(0, 1)), 2 * 2 * 3),
    "one row": ((2, 1, 9), nn.Conv2d(2, 3, (1, 4), stride=2), 3 * 1 * 3),
    "padding beyond the image": ((1, 2, 2), nn.Conv2d(1, 2, 3, padding=2), 2 * 16),
    "1x1": ((4, 3, 3), nn.Conv2d(4, 2, 1, bias=False), 18),
    "dilation": ((2, 8, 9), nn.Conv2d(2, 3, (3, 2), dilation=(2, 3), padding=(1, 2), stride=(1, 2)), 3 * 6 * 5),
    "same padding": ((2, 5, 6), nn.Conv2d(2, 3, (3, 5), padding="same", dilation=(2, 1)), 90),
    "groups": ((4, 5, 5), nn.Conv2d(4, 6, 3, groups=2, padding=1), 150),
    "depthwise": ((3, 5, 4), nn.Conv2d(3, 3, 3, groups=3, padding=1), 60),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("images", [1, 3])
def test_convolution(case: str, images: int) -> None:
    shape, layer, outputs = CONVOLUTIONS[case]
    assert_same(two_layers(shape, layer, outputs=outputs), dyadic_images(images, *shape))


SEQUENCES = {
    "batch norm behind convolution": ((2, 5, 5), [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)], 36),
    "batch norm on spikes": ((2, 4, 4), [nn.BatchNorm2d(2)], 32),
    "batch norm before a padded convolution": (
        (2, 4, 5), [nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1)], 60,
    ),
    "pooling": ((3, 6, 4), [nn.AvgPool2d(2)], 18),
    "pooling with a remainder": ((2, 7, 5), [nn.AvgPool2d(2)], 12),
    "overlapping pooling": ((2, 6, 6), [nn.AvgPool2d(2, stride=1)], 50),
    "pooling before a padded convolution": ((2, 8, 8), [nn.AvgPool2d(2), nn.Conv2d(2, 3, 3, padding=1)], 48),
    "pooling with a remainder before a padded convolution": (
        (2, 7, 5), [nn.AvgPool2d(2), nn.Conv2d(2, 3, 3, padding=1, stride=2)], 3 * 2 * 1,
    ),
    "skipping pooling before a padded convolution": ((1, 8, 9), [nn.AvgPool2d(2, stride=3), nn.Conv2d(1, 3, 2, padding=1)], 48),
    "overlapping pooling before a convolution": ((2, 7, 7), [nn.AvgPool2d((4, 2), stride=1), nn.Conv2d(2, 3, 2)], 45),
    "pooling before a grouped convolution": ((4, 6, 6), [nn.AvgPool2d(2), nn.Conv2d(4, 4, 2, groups=2)], 16),
    "pooling before a dilated convolution": ((2, 9, 8), [nn.AvgPool2d(2), nn.Conv2d(2, 3, 2, dilation=2, padding=1)], 48),
    "pooling behind a dilated convolution": ((2, 8, 8), [nn.Conv2d(2, 3, 2, dilation=2), nn.AvgPool2d(2)], 27),
    "max pooling of spikes": ((3, 7, 6), [nn.MaxPool2d(2)], 27),
    "padded, overlapping, dilated max pooling": ((2, 7, 8), [nn.MaxPool2d(3, 2, padding=1, dilation=2)], 2 * 3 * 3),
    "convolution behind max pooling": ((2, 8, 8), [nn.MaxPool2d(2), nn.Conv2d(2, 3, 3)], 12),
    "pooling behind a convolution": ((2, 7, 7), [nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.AvgPool2d(2)], 12),
    "convolution, batch norm, pooling": ((2, 6, 6), [nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.AvgPool2d(2)], 27),
    "batch norm behind pooling": ((2, 6, 6), [nn.AvgPool2d(2), nn.BatchNorm2d(2)], 18),
    "global pooling": ((5, 4, 4), [nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(5)], 5),
    "linear behind flatten": ((2, 3, 4), [nn.Flatten(), nn.Linear(24, 10)], 10),
    "linear behind pooling": ((2, 4, 6), [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 10)], 10),
    "linear, batch norm, dropout": ((2, 3, 3), [nn.Flatten(), nn.Linear(18, 8), nn.BatchNorm1d(8), nn.Dropout()], 8),
    "batch norm behind flatten": ((2, 3, 3), [nn.Flatten(), nn.BatchNorm1d(18), nn.Linear(18, 8)], 8),
    "two linear layers": ((2, 3, 3), [nn.Flatten(), nn.Linear(18, 8), nn.Linear(8, 9)], 9),
}  # fmt: skip


@pytest.mark.parametrize("case", SEQUENCES)
def test_sequence(case: str) -> None:
    shape, layers, outputs = SEQUENCES[case]
    assert_same(two_layers(shape, *layers, outputs=outputs), dyadic_images(3, *shape))


class Residual(nn.Module):
    """Two branches into one layer of neurons, one of them one-to-one behind batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.hold, self.first = HoldCurrent(STEPS), LIF(STEPS)
        self.conv, self.norm, self.shortcut = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.second = IF(STEPS, reset="subtract", v_reset=1.0)
        self.flatten, self.head, self.mean = nn.Flatten(), nn.Linear(75, 4), MeanOverSteps(STEPS)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.first(self.hold(x))
        both = self.second(self.norm(self.conv(spikes)) + self.shortcut(spikes))
        return self.mean(self.head(self.flatten(both)))


class Concatenation(nn.Module):
    """Two layers side by side, read by a convolution, a pooled neuron layer and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.hold = nn.Conv2d(1, 3, 3, padding=1), HoldCurrent(STEPS)
        self.left, self.right, self.joint, self.both = LIF(STEPS), LIF(STEPS, comparison=">="), LIF(STEPS), LIF(STEPS)
        self.conv, self.pool, self.head = nn.Conv2d(4, 5, 3), nn.AvgPool2d(2), nn.Linear(4 * 9 + 5 * 16, 3)
        self.norm, self.mean = nn.BatchNorm2d(4), MeanOverSteps(STEPS)

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.cat([self.left(self.hold(self.stem(x))), self.right(self.hold(x))], 1)
        features = [torch.flatten(self.both(self.pool(self.norm(wide))), 1), self.joint(self.conv(wide)).flatten(1)]
        return self.mean(self.head(torch.cat(features, 1)))


@pytest.mark.parametrize(("model", "shape"), [(Residual, (3, 5, 5)), (Concatenation, (1, 6, 6))])
def test_branches(model: type[nn.Module], shape: tuple[int, ...]) -> None:
    assert_same(dyadic_(model()), dyadic_images(3, *shape))


def test_expandable_network() -> None:
    net = ExpandableNetwork(lambda: ConvBackbone((1, 8, 6), (4, 6), (1, 2), 2), 4)
    for _ in range(3):
        net.add_extractor(inherit=False)
    net.set_classifier(5)
    found = assert_same(dyadic_(net), dyadic_images(4, 1, 8, 6))
    assert len(found.layers) == 6


def test_random_float_weights_agree_in_float64() -> None:
    torch.manual_seed(3)
    net = conv_net()
    for parameter in net.parameters():
        parameter.data = torch.randn_like(parameter) * 0.6
    found = assert_same(net, np.random.default_rng(0).normal(size=(10, 2, 7, 6)))
    assert found.prediction_agreement == 1.0


def spec_of(layer: nn.Conv2d) -> Convolution:
    padding = layer.padding if isinstance(layer.padding, tuple) else (2, 2)  # of the one case with "same"
    weight = layer.weight.detach().double().numpy()
    return Convolution(weight, layer.stride, padding, layer.groups, dilation=layer.dilation)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_matrix_is_torchs_convolution(case: str) -> None:
    shape, layer, _ = CONVOLUTIONS[case]
    operator = spec_of(layer)
    image = np.random.default_rng(5).normal(size=shape)
    with torch.no_grad():
        expected = nn.functional.conv2d(
            torch.from_numpy(image)[None],
            layer.weight.double(),
            None,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )
    np.testing.assert_allclose(matrix(operator, shape) @ image.ravel(), expected.numpy().ravel(), atol=1e-13)


def test_pooling_matrix_is_torchs_pooling() -> None:
    image = np.random.default_rng(6).normal(size=(3, 7, 5))
    expected = nn.functional.avg_pool2d(torch.from_numpy(image)[None], (3, 2), (2, 2)).numpy()
    np.testing.assert_allclose(
        matrix(Pooling((3, 2), (2, 2)), image.shape) @ image.ravel(), expected.ravel(), atol=1e-14
    )


def test_the_table_counts_what_is_there() -> None:
    spec = convert(conv_net(), (2, 7, 6))
    for row in lowering_table(spec):
        listed = sum(len(projection_synapses(spec, p)) for p in spec.inputs(row.layer))
        assert (row.synapses, row.neurons) == (listed, spec.population(row.layer).size)
    text = format_rows(lowering_table(spec))
    assert "total" in text and "faithful" in text


def test_counting_synapses_equals_listing_them() -> None:
    for shape, layer, _ in CONVOLUTIONS.values():
        operator = dataclasses.replace(spec_of(layer), weight=np.ones(layer.weight.shape))
        assert synapse_count(operator, shape) == matrix(operator, shape).nnz


def test_all_refusals_come_at_once_with_layer_value_and_remedy() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 2, padding="same"), HoldCurrent(STEPS), LIF(STEPS), nn.LPPool2d(2, 2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), LIF(STEPS), nn.Flatten(), nn.Linear(100, 3), MeanOverSteps(STEPS),
    )  # fmt: skip
    with pytest.raises(RefusedLayers) as caught:
        convert(net, (1, 10, 10))
    assert [r.argument for r in caught.value.refusals] == ["padding", "class", "padding_mode"]
    text = str(caught.value)
    assert "0 (Conv2d)" in text and "same" in text and "LPPool2d" in text and "'zeros'" in text
    # The table of what could be lowered stands below.
    assert "neurons" in text and "total" in text


REFUSED = {
    "no neuron between": ([nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)], "no neuron between"),
    "padding behind overlapping pooling": (
        [LIF(STEPS), nn.AvgPool2d(3, 1), nn.Conv2d(1, 2, 3, padding=1)],
        "overlapping",
    ),
    "max pooling of currents": ([nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)], "right behind a neuron"),
    "max pooling of an average": ([LIF(STEPS), nn.AvgPool2d(2), nn.MaxPool2d(2)], "right behind a neuron"),
    "max pooling with ceil mode": ([LIF(STEPS), nn.MaxPool2d(3, ceil_mode=True)], "ceil_mode"),
    "padded pooling": ([LIF(STEPS), nn.AvgPool2d(2, padding=1)], "without padding"),
    "ceil mode": ([LIF(STEPS), nn.AvgPool2d(3, ceil_mode=True)], "ceil_mode"),
    "batch norm without statistics": (
        [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)],
        "running stat",
    ),
    "linear on images": ([LIF(STEPS), nn.Linear(8, 3)], "nn.Flatten"),
    "another number of steps": ([LIF(STEPS + 1)], "same number of steps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    layers, words = REFUSED[case]
    net = nn.Sequential(HoldCurrent(STEPS), *layers, LIF(STEPS), nn.Flatten(), nn.LazyLinear(3), MeanOverSteps(STEPS))
    if case == "linear on images":
        net[-2] = nn.Linear(24, 3)
    else:
        net(torch.zeros(1, 1, 8, 8)) if case != "another number of steps" else None
    if case == "another number of steps":
        net[-2] = nn.Linear(64, 3)
    with pytest.raises(RefusedLayers, match=words):
        convert(net, (1, 8, 8))


def test_a_network_without_readout_or_with_a_shared_neuron_is_refused() -> None:
    with pytest.raises(RefusedLayers, match="MeanOverSteps"):
        convert(nn.Sequential(HoldCurrent(2), LIF(2)), (3,))
    neuron = LIF(2)
    with pytest.raises(RefusedLayers, match="called twice"):
        convert(nn.Sequential(HoldCurrent(2), neuron, nn.Linear(3, 3), neuron, nn.Linear(3, 2), MeanOverSteps(2)), (3,))


def test_control_flow_on_tensors_is_refused_with_a_sentence() -> None:
    class Undecided(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(RefusedLayers, match="control flow"):
        convert(Undecided(), (3,))


def test_users_own_lowering_wins() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    net = nn.Sequential(HoldCurrent(2), Twice(), LIF(2), nn.Linear(3, 2), MeanOverSteps(2))
    with pytest.raises(RefusedLayers, match="mul"):
        convert(net, (3,))
    from alade_brian.conversion.compose import scale_outputs
    from alade_brian.conversion.torch_lower import Value, replace

    def twice(lowering, name, module, value):  # type: ignore[no-untyped-def]
        terms = tuple(replace(t, operator=scale_outputs(t.operator, np.full(3, 2.0))) for t in value.terms)
        return Value(value.shape, terms, 2 * value.bias)

    spec = convert(net, (3,), extra={Twice: twice})
    assert spec.projections[0].operator.gain.tolist() == [2, 2, 2]  # type: ignore[union-attr]
