"""The torch front end: every layer kind against PyTorch for odd shapes, and everything that is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import assert_same, check, conv_net, dyadic_, dyadic_images
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.lowering import AffineInput, Behind, SpecBuilder, add, apply_operator, scale, source_value
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.models import (
    IF,
    LI,
    LIF,
    AdaptiveLIF,
    CubaLI,
    CubaLIF,
    EveryStep,
    ExpandableNetwork,
    FirstSpike,
    HoldCurrent,
    I,
    LastStep,
    MaxOverSteps,
    MeanOverSteps,
    PopulationVote,
    Recurrent,
    Scale,
    SumOverSteps,
    SumPool1d,
    SumPool2d,
    make_backbone,
)
from alade_brian.spec import DECODINGS, Convolution, Operator, Pooling, Shape, Sparse, Stimulus, memoryless
from alade_brian.spec.cost_table import format_rows, lowering_table
from alade_brian.spec.operator_algebra import compose
from alade_brian.spec.synapses import projection_synapses

STEPS = 4


def two_layers(shape: tuple[int, int, int], *between: nn.Module, outputs: int) -> nn.Module:
    """Image -> neurons -> the layers under test -> neurons -> readout."""
    return dyadic_(
        nn.Sequential(
            HoldCurrent(STEPS), LIF(STEPS), *between, LIF(STEPS, threshold=0.25), nn.Flatten(), nn.Linear(outputs, 3), MeanOverSteps(STEPS)
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
    "uneven same padding": ((2, 5, 6), nn.Conv2d(2, 3, 2, padding="same"), 90),
    "uneven same padding along one axis, dilated": (
        (2, 5, 6),
        nn.Conv2d(2, 3, (3, 4), padding="same", dilation=(1, 3)),
        90,
    ),
    "uneven same padding, grouped": ((4, 4, 4), nn.Conv2d(4, 4, (4, 2), padding="same", groups=2), 64),
    "valid padding": ((2, 5, 6), nn.Conv2d(2, 3, 2, padding="valid"), 60),
    "one axis": ((2, 9), nn.Conv1d(2, 3, 3, stride=2, padding=1), 15),
    "one axis, dilated and grouped": ((4, 9), nn.Conv1d(4, 2, 3, dilation=2, groups=2, bias=False), 10),
    "one axis, uneven same padding": ((2, 7), nn.Conv1d(2, 3, 4, padding="same"), 21),
    "transposed": ((2, 4, 3), nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1), 3 * 8 * 6),
    "transposed, rectangular": ((3, 3, 4), nn.ConvTranspose2d(3, 2, (2, 3), stride=(1, 2), padding=(0, 1)), 2 * 4 * 7),
    "transposed, grouped and dilated": (
        (4, 3, 3),
        nn.ConvTranspose2d(4, 6, 2, groups=2, dilation=2, bias=False),
        6 * 25,
    ),
    "transposed along one axis": ((2, 5), nn.ConvTranspose1d(2, 3, 3, stride=3, output_padding=2), 3 * 17),
    "groups": ((4, 5, 5), nn.Conv2d(4, 6, 3, groups=2, padding=1), 150),
    "depthwise": ((3, 5, 4), nn.Conv2d(3, 3, 3, groups=3, padding=1), 60),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("images", [1, 3])
def test_convolution(case: str, images: int) -> None:
    shape, layer, outputs = CONVOLUTIONS[case]
    assert_same(two_layers(shape, layer, outputs=outputs), dyadic_images(images, *shape))


def shifted() -> nn.BatchNorm2d:
    """A batch norm with a shift."""
    norm = nn.BatchNorm2d(1)
    norm.bias.data += 0.5
    return norm


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
    "uneven same padding behind pooling": ((2, 8, 8), [nn.AvgPool2d(2), nn.Conv2d(2, 3, 2, padding="same")], 48),
    "two convolutions": ((1, 6, 6), [nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)], 72),
    "two convolutions with batch norm between": (
        (2, 6, 5), [nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 2)], 2 * 2 * 2,
    ),
    "padding behind overlapping pooling": ((1, 6, 6), [nn.AvgPool2d(3, 1), nn.Conv2d(1, 2, 3, padding=1)], 32),
    "pooling of pooling": ((2, 8, 8), [nn.AvgPool2d(2, 1), nn.AvgPool2d(3, 2)], 18),
    "padded pooling": ((2, 5, 4), [nn.AvgPool2d(2, padding=1)], 2 * 3 * 3),
    "padded pooling before a convolution": ((2, 5, 4), [nn.AvgPool2d(3, 2, padding=1), nn.Conv2d(2, 2, 2)], 4),
    "pooling with another divisor": ((2, 6, 4), [nn.AvgPool2d((3, 2), divisor_override=4)], 2 * 2 * 2),
    "pooling with ceil mode that cuts nothing": ((2, 6, 4), [nn.AvgPool2d(2, ceil_mode=True)], 12),
    "sum pooling": ((2, 6, 4), [SumPool2d(2, 1, padding=1)], 2 * 7 * 5),
    "rectangular pooling": ((2, 6, 4), [nn.AvgPool2d((2, 1), (1, 2))], 2 * 5 * 2),
    "adaptive pooling": ((2, 6, 4), [nn.AdaptiveAvgPool2d((3, None))], 24),
    "batch norm behind overlapping pooling and before a convolution": (
        (2, 6, 6), [nn.AvgPool2d(2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 2, padding=1)], 3 * 6 * 6,
    ),
    "batch norm behind transposed convolution": ((2, 3, 3), [nn.ConvTranspose2d(2, 4, 2, 2, groups=2), nn.BatchNorm2d(4)], 144),
    "batch norm before transposed convolution": ((2, 3, 3), [nn.BatchNorm2d(2), nn.ConvTranspose2d(2, 3, 2, 2)], 108),
    "one axis: pooling and batch norm": ((2, 9), [nn.AvgPool1d(2), nn.BatchNorm1d(2), nn.Conv1d(2, 3, 2)], 9),
    "one axis: max pooling": ((2, 9), [nn.MaxPool1d(3, 2, padding=1), nn.Conv1d(2, 2, 2)], 8),
    "one axis: sum pooling": ((2, 9), [SumPool1d(3, 2)], 8),
    "one axis: adaptive pooling": ((2, 9), [nn.AdaptiveAvgPool1d(3)], 6),
    "max pooling with ceil mode that cuts nothing": ((2, 6, 4), [nn.MaxPool2d(2, ceil_mode=True)], 12),
    "unflatten": ((2, 3, 3), [nn.Flatten(), nn.Linear(18, 16), nn.Unflatten(1, (4, 2, -1)), nn.Conv2d(4, 2, 2)], 2),
    "flatten of the image's axes": ((2, 3, 4), [nn.Flatten(2), nn.Conv1d(2, 3, 4, stride=2)], 15),
    "batch norm on flattened pooling": ((2, 4, 4), [nn.AvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 9)], 9),
    "gain": ((2, 3, 3), [Scale(1.5), nn.Conv2d(2, 3, 2), Scale(-0.5)], 12),
    "gain per channel": ((2, 3, 3), [Scale(torch.tensor([0.5, -2.0]).reshape(2, 1, 1)), nn.Conv2d(2, 3, 2)], 12),
    "gain per neuron": ((2, 2, 2), [Scale(torch.arange(-4, 4).reshape(2, 2, 2) / 2), nn.Conv2d(2, 3, 2, padding=1)], 27),
    "learned gain behind a convolution": ((2, 3, 3), [nn.Conv2d(2, 3, 2), Scale(nn.Parameter(torch.ones(3, 1, 1) / 2))], 12),
    "neurons that never spike": ((2, 3, 3), [nn.Conv2d(2, 3, 2), LI(STEPS), nn.Conv2d(3, 4, 2, padding=1), I(STEPS)], 36),
    "recurrence, one to one": ((2, 3, 3), [nn.Conv2d(2, 3, 2), Recurrent(LIF(STEPS), Scale(0.75))], 12),
    "recurrence, one to one, per neuron": (
        (2, 2, 2), [Recurrent(CubaLIF(STEPS), Scale(torch.arange(-4, 4).reshape(2, 2, 2) / 2))], 8,
    ),
    "recurrence, all to all": ((2, 2, 2), [nn.Flatten(), nn.Linear(8, 6), Recurrent(LIF(STEPS), nn.Linear(6, 6))], 6),
    "recurrence, convolution": (
        (2, 3, 3), [Recurrent(AdaptiveLIF(STEPS, amplitude=0.5), nn.Conv2d(2, 2, 3, padding=1)), nn.MaxPool2d(2)], 2,
    ),
    "recurrence of several layers": (
        (2, 3, 3), [Recurrent(IF(STEPS, threshold=0.5), nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)))], 18,
    ),
    "recurrence without spikes": ((2, 3, 3), [Recurrent(LI(STEPS), Scale(0.5))], 18),
    "max pooling of larger spikes": ((2, 4, 4), [LIF(STEPS, amplitude=1.5), nn.MaxPool2d(2), nn.Conv2d(2, 2, 2)], 2),
    "max pooling of larger spikes, per channel": (
        (2, 4, 4), [LIF(STEPS, amplitude=torch.tensor([2.0, 0.5]).reshape(2, 1, 1)), Scale(3.0), nn.MaxPool2d(3, 1, padding=1)], 32,
    ),
    "max pooling of currents": ((2, 7, 6), [nn.Conv2d(2, 3, 3), nn.MaxPool2d(2)], 12),
    "max pooling behind batch norm, with windows that are cut": (
        (2, 7, 6), [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.MaxPool2d(2, ceil_mode=True)], 18,
    ),
    "padded, overlapping, dilated max pooling of currents": (
        (2, 8, 8), [nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(3, 2, padding=1, dilation=2), nn.Conv2d(3, 2, 2)], 8,
    ),
    "max pooling of an average": ((1, 8, 8), [nn.AvgPool2d(2), nn.MaxPool2d(2)], 4),
    "average of a maximum of currents": ((1, 8, 8), [nn.Conv2d(1, 2, 3), nn.MaxPool2d(3, 1), nn.AvgPool2d(2)], 8),
    "the same max pooling twice": ((1, 9, 9), [nn.Conv2d(1, 2, 2), *[nn.MaxPool2d(2)] * 2], 8),
    "adaptive max pooling of currents": ((2, 8, 6), [nn.Conv2d(2, 3, 3, padding=1), nn.AdaptiveMaxPool2d((4, 1))], 12),
    "adaptive max pooling of spikes": ((2, 4, 6), [nn.AdaptiveMaxPool2d((None, 2))], 16),
    "one axis: max pooling of currents": ((2, 9), [nn.Conv1d(2, 3, 2), nn.MaxPool1d(3, 2, ceil_mode=True)], 12),
    "one axis: adaptive max pooling of currents": ((2, 9), [nn.Conv1d(2, 3, 2), nn.AdaptiveMaxPool1d(2)], 6),
    "max pooling of spikes with windows that are cut": ((1, 8, 8), [nn.MaxPool2d(3, ceil_mode=True)], 9),
    "max pooling of spikes that count differently within a channel": (
        (1, 6, 6), [LIF(STEPS, amplitude=torch.arange(1.0, 37).reshape(1, 6, 6) / 8), nn.MaxPool2d(2)], 9,
    ),
    "max pooling of negative spikes": ((1, 6, 6), [LIF(STEPS, amplitude=-1.0), nn.MaxPool2d(2), nn.Conv2d(1, 2, 2)], 8),
    "max pooling of shifted spikes": ((1, 6, 6), [shifted(), nn.MaxPool2d(2)], 9),
    "max pooling of membranes": ((1, 6, 6), [LI(STEPS), nn.MaxPool2d(2)], 9),
    "two linear layers": ((2, 3, 3), [nn.Flatten(), nn.Linear(18, 8), nn.Linear(8, 9)], 9),
}  # fmt: skip


READOUTS = {
    "mean logits": ([nn.Linear(18, 4), MeanOverSteps(STEPS)], "mean_input"),
    "mean membranes": ([nn.Linear(18, 4), LI(STEPS), MeanOverSteps(STEPS)], "mean_membrane"),
    "spike rates": ([nn.Linear(18, 4), LIF(STEPS), MeanOverSteps(STEPS)], "spike_rate"),
    "rates of larger spikes": ([nn.Linear(18, 4), LIF(STEPS, amplitude=-1.5), MeanOverSteps(STEPS)], "spike_rate"),
    "summed logits": ([nn.Linear(18, 4), SumOverSteps(STEPS)], "last_membrane"),
    "summed membranes": ([nn.Linear(18, 4), LI(STEPS), SumOverSteps(STEPS)], "last_membrane"),
    "spike counts": ([nn.Linear(18, 4), LIF(STEPS), SumOverSteps(STEPS)], "spike_count"),
    "counts of a flattened layer": ([nn.Linear(18, 12), nn.Unflatten(1, (3, 2, 2)), LIF(STEPS), nn.Flatten(), SumOverSteps(STEPS)], "spike_count"),
    "last logits": ([nn.Linear(18, 4), LastStep(STEPS)], "last_membrane"),
    "last membranes": ([nn.Linear(18, 4), CubaLI(STEPS), LastStep(STEPS)], "last_membrane"),
    "last spikes": ([nn.Linear(18, 4), LIF(STEPS), LastStep(STEPS)], "last_membrane"),
    "largest logits": ([nn.Linear(18, 4), MaxOverSteps(STEPS)], "max_membrane"),
    "largest membranes": ([nn.Linear(18, 4), LI(STEPS, v_initial=0.5), MaxOverSteps(STEPS)], "max_membrane"),
    "first spikes": ([nn.Linear(18, 4), LIF(STEPS, comparison=">="), FirstSpike(STEPS)], "first_spike"),
    "first larger spikes": ([nn.Linear(18, 4), LIF(STEPS, amplitude=-2.0), FirstSpike(STEPS)], "first_spike"),
    "logits of every step": ([nn.Linear(18, 4), EveryStep(STEPS)], "every_step"),
    "membranes of every step": ([nn.Linear(18, 4), LI(STEPS), EveryStep(STEPS)], "every_step"),
    "spikes of every step": ([nn.Linear(18, 4), LIF(STEPS), EveryStep(STEPS)], "every_step"),
    "votes": ([nn.Linear(18, 6), LIF(STEPS), SumOverSteps(STEPS), PopulationVote(3)], "spike_count"),
    "mean votes": ([nn.Linear(18, 6), LIF(STEPS), MeanOverSteps(STEPS), PopulationVote(3, average=True)], "spike_rate"),
    "mean logits of groups": ([nn.Linear(18, 6), MeanOverSteps(STEPS), PopulationVote(2, average=True)], "mean_input"),
    "first spikes of groups": ([nn.Linear(18, 6), LIF(STEPS), FirstSpike(STEPS), PopulationVote(2, average=True)], "first_spike"),
    "regression": ([nn.Linear(18, 4), LI(STEPS), MeanOverSteps(STEPS, decision="value")], "mean_membrane"),
}  # fmt: skip


@pytest.mark.parametrize("case", READOUTS)
def test_readout(case: str) -> None:
    layers, decoding = READOUTS[case]
    net = dyadic_(nn.Sequential(HoldCurrent(STEPS), IF(STEPS), nn.Flatten(), *layers))
    spec = convert(net, (2, 3, 3))
    assert (spec.readout.decoding, spec.readout.decision) == (decoding, "value" if case == "regression" else "class")
    found = assert_same(net, dyadic_images(5, 2, 3, 3))
    assert len(np.unique(found.logits_reference)) > 1


def test_a_network_that_never_spikes_gives_the_same_logits() -> None:
    net = dyadic_(nn.Sequential(HoldCurrent(STEPS), nn.Linear(5, 4), LI(STEPS), nn.Linear(4, 3), MeanOverSteps(STEPS)))
    found = check(net, dyadic_images(4, 5))
    assert not found.layers and np.any(found.logits_reference)
    np.testing.assert_array_equal(found.logits_reference, found.logits_brian2)


def test_every_decoding_has_its_torch_face() -> None:
    assert {decoding for _, decoding in READOUTS.values()} == set(DECODINGS)


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


class Arithmetic(nn.Module):
    """Constants, other names for axes, a residual sum of pooled and normed branches, features straight into neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.hold, self.first, self.second, self.third = (
            HoldCurrent(STEPS),
            LIF(STEPS),
            LIF(STEPS, threshold=0.25),
            IF(STEPS),
        )
        self.conv, self.pool, self.norm = nn.Conv2d(2, 2, 2, stride=2), nn.AvgPool2d(2), nn.BatchNorm2d(2)
        self.gain = nn.Parameter(torch.ones(2, 1, 1))
        self.head, self.mean = nn.Linear(40, 3), MeanOverSteps(STEPS)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.first(self.hold(2 * x - 0.5))
        joined = (self.norm(self.pool(spikes)) - self.conv(spikes) * 0.5 + 0.25) / 0.5 * self.gain
        second = nn.functional.dropout(self.second(-joined), 0.5, self.training)
        features = torch.cat([spikes.view(spikes.shape[0], -1), second.reshape(second.size(0), -1)], 1)
        return self.mean(self.head(self.third(features.mul(1.5)).contiguous().view(-1, 40)))


@pytest.mark.parametrize(
    ("model", "shape"), [(Residual, (3, 5, 5)), (Concatenation, (1, 6, 6)), (Arithmetic, (2, 4, 4))]
)
def test_branches(model: type[nn.Module], shape: tuple[int, ...]) -> None:
    assert_same(dyadic_(model()), dyadic_images(3, *shape))


def test_expandable_network() -> None:
    net = ExpandableNetwork(lambda: make_backbone("small", (1, 8, 6), channels=(4, 6), strides=(1, 2)), 4)
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


def test_the_table_counts_what_is_there() -> None:
    spec = convert(conv_net(), (2, 7, 6))
    for row in lowering_table(spec):
        listed = sum(len(projection_synapses(spec, p)) for p in spec.inputs(row.layer))
        assert (row.synapses, row.neurons) == (listed, spec.population(row.layer).size)
    text = format_rows(lowering_table(spec))
    assert "total" in text and "faithful" in text


def test_all_refusals_come_at_once_with_layer_value_and_remedy() -> None:
    net = nn.Sequential(
        nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Conv2d(1, 4, 1), HoldCurrent(STEPS), LIF(STEPS), nn.LPPool2d(2, 2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), LIF(STEPS), nn.Flatten(), nn.Linear(100, 3), MeanOverSteps(STEPS),
    )  # fmt: skip
    with pytest.raises(RefusedLayers) as caught:
        convert(net, (1, 10, 10))
    assert [r.argument for r in caught.value.refusals] == ["count_include_pad", "class", "padding_mode"]
    text = str(caught.value)
    assert "0 (AvgPool2d)" in text and "False" in text and "LPPool2d" in text and "'zeros'" in text
    # The table of what could be lowered stands below.
    assert "neurons" in text and "total" in text


def grown() -> LIF:
    """A neuron whose decay was learned beyond 1."""
    neuron = LIF(STEPS, nn.Parameter(torch.tensor(0.5)))
    neuron.decay.data += 1
    return neuron


REFUSED = {
    "adaptive max pooling that does not divide": ([LIF(STEPS), nn.AdaptiveMaxPool2d(3)], "does not divide"),
    "padded pooling without its padding": (
        [LIF(STEPS), nn.AvgPool2d(3, 2, 1, count_include_pad=False)],
        "count_include_pad",
    ),
    "adaptive pooling that does not divide": ([LIF(STEPS), nn.AdaptiveAvgPool2d(3)], "does not divide"),
    "norm pooling": ([LIF(STEPS), nn.LPPool2d(2, 2)], "no lowering"),
    "another number of axes": ([LIF(STEPS), nn.AvgPool1d(2)], r"is not \(channels, length\)"),
    "padding mode": ([LIF(STEPS), nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")], "'zeros'"),
    "activation": ([LIF(STEPS), nn.Conv2d(1, 1, 3), nn.ReLU()], "no lowering"),
    "recurrence through an activation": (
        [Recurrent(LIF(STEPS), nn.Sequential(Scale(2.0), nn.ReLU()))],
        "no linear layer",
    ),
    "decay learned beyond its range": ([grown()], "between 0 and 1"),
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
    elif case in ("another number of steps", "another number of axes"):
        net[-2] = nn.Linear(64, 3)
    else:
        net(torch.zeros(1, 1, 8, 8))
    with pytest.raises(RefusedLayers, match=words):
        convert(net, (1, 8, 8))


def test_a_network_without_readout_or_with_a_shared_neuron_is_refused() -> None:
    with pytest.raises(RefusedLayers, match="MeanOverSteps"):
        convert(nn.Sequential(HoldCurrent(2), LIF(2)), (3,))
    neuron = LIF(2)
    with pytest.raises(RefusedLayers, match="called twice"):
        convert(nn.Sequential(HoldCurrent(2), neuron, nn.Linear(3, 3), neuron, nn.Linear(3, 2), MeanOverSteps(2)), (3,))


AT_THE_END = {
    "layers behind the readout": ([nn.Linear(18, 4), MeanOverSteps(STEPS), nn.Linear(4, 2)], "end of the network"),
    "gain behind the readout": ([nn.Linear(18, 4), MeanOverSteps(STEPS), Scale(2.0)], "end of the network"),
    "two readouts": ([nn.Linear(18, 4), MeanOverSteps(STEPS), SumOverSteps(STEPS)], "second readout"),
    "first spike of logits": ([nn.Linear(18, 4), FirstSpike(STEPS)], "right behind a spiking neuron"),
    "votes without a readout": (
        [nn.Linear(18, 4), PopulationVote(2), MeanOverSteps(STEPS)],
        "stands before the readout",
    ),
    "mean of counted votes": ([LIF(STEPS), SumOverSteps(STEPS), PopulationVote(2, average=True)], "average=False"),
    "sum of mean logits": ([nn.Linear(18, 4), MeanOverSteps(STEPS), PopulationVote(2)], "average=True"),
    "uneven groups": ([nn.Linear(18, 4), LIF(STEPS), SumOverSteps(STEPS), PopulationVote(3)], "does not divide"),
}


@pytest.mark.parametrize("case", AT_THE_END)
def test_refused_at_the_end(case: str) -> None:
    layers, words = AT_THE_END[case]
    with pytest.raises(RefusedLayers, match=words):
        convert(nn.Sequential(HoldCurrent(STEPS), LIF(STEPS), nn.Flatten(), *layers), (2, 3, 3))


def test_logits_that_are_images_are_refused() -> None:
    with pytest.raises(RefusedLayers, match=r"nn\.Flatten before the readout"):
        convert(nn.Sequential(HoldCurrent(2), LIF(2), MeanOverSteps(2)), (1, 3, 3))


@pytest.mark.parametrize("name", ["BatchNormTT2d", "TemporalEffectiveBatchNorm2d", "NeuNorm"])
def test_norms_that_differ_from_step_to_step_are_refused_with_the_reason(name: str) -> None:
    pytest.importorskip("snntorch")

    def network(module: str) -> nn.Module:
        norm = type(name, (nn.Module,), {"forward": lambda self, x: x, "__module__": module})()
        return nn.Sequential(HoldCurrent(2), norm, LIF(2), nn.Flatten(), MeanOverSteps(2))

    with pytest.raises(RefusedLayers, match="from step to step"):
        convert(network("snntorch.norms"), (1, 3, 3))
    # A user's own class of that name is judged by what it does.
    assert len(convert(network("network"), (1, 3, 3)).populations) == 1


FUNCTIONS = {
    "x * y of no spikes": (lambda a, b: a * (b + 1), "multiply spikes, 1 minus spikes, or constants"),
    "2 / x": (lambda a, b: 2 / a, "constants only"),
    "part": (lambda a, b: a[:, [0]], "takes a part by a list"),
    "reshape of the batch": (lambda a, b: a.view(-1, 3), "the first axis"),
    "flatten of the batch": (lambda a, b: a.flatten(), "start_dim=1"),
    "cat of images": (lambda a, b: torch.cat([a, b]), "dim=1"),
    "constant of another shape": (lambda a, b: a * torch.ones(5), "does not fit"),
    "sum of unequal shapes": (lambda a, b: a + torch.cat([a, b], 1), "same shape"),
    "dropout in eval mode": (lambda a, b: nn.functional.dropout(a), "self.training"),
    "method": (lambda a, b: a.abs(), "abs"),
    "function": (lambda a, b: torch.relu(a), "relu"),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_refused_function(case: str) -> None:
    function, words = FUNCTIONS[case]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hold, self.left, self.right, self.last, self.mean = (
                HoldCurrent(2),
                LIF(2),
                IF(2),
                LIF(2),
                MeanOverSteps(2),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.mean(self.last(function(self.left(self.hold(x)), self.right(self.hold(x)))))

    with pytest.raises(RefusedLayers, match=words):
        convert(Net(), (4,))


def test_control_flow_on_tensors_is_refused_with_a_sentence() -> None:
    class Undecided(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(RefusedLayers, match="control flow"):
        convert(Undecided(), (3,))


def test_equal_values_are_held_once() -> None:
    """The order of the terms, and whether a list of connections has been made, make no difference; numbers do."""
    lowering = SpecBuilder([Stimulus((2, 4, 4))])
    for name in ("a", "b"):
        lowering.add_population(name, source_value("image", (2, 4, 4)), memoryless())
    pooled = Pooling((3, 3), (1, 1), padding=(1, 1), average=False)

    def value(gain: float, *names: str) -> AffineInput:
        weights = Convolution(gain * np.ones((1, 2, 2, 2)), padding=(1, 1))
        parts = [apply_operator(lowering, pooled, source_value(name, (2, 4, 4))) for name in names]
        return add(*(apply_operator(lowering, weights, part) for part in parts))

    assert isinstance(value(1.0, "a", "b").terms[0].operator, Behind)
    first = lowering.hold("held", value(1.0, "a", "b"))
    assert lowering.hold("held", value(1.0, "b", "a")) == first
    assert lowering.hold("held", value(2.0, "a", "b")) != first
    assert lowering.hold("held", value(1.0, "a", "a")) != first


def test_users_own_lowering_wins() -> None:
    class TimesItsPower(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.exp2(x)

    net = nn.Sequential(HoldCurrent(2), TimesItsPower(), LIF(2), nn.Linear(3, 2), MeanOverSteps(2))
    with pytest.raises(RefusedLayers, match="exp2"):
        convert(net, (3,))

    def twice(lowering: SpecBuilder, name: str, module: TimesItsPower, value: AffineInput) -> AffineInput:
        return scale(lowering, value, np.full(3, 2.0))

    spec = convert(net, (3,), extra={TimesItsPower: twice})
    assert spec.projections[0].operator.gain.tolist() == [2, 2, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("steps", [2, 5])
def test_currents_that_pass_several_blocks_are_composed_once_for_all_steps(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A held image's current is added to spikes of every step: the sum's lists of connections are made once."""
    snn = pytest.importorskip("snntorch")
    made: list[Operator] = []

    def composing(inner: Operator, source: Shape, outer: Operator) -> Operator:
        made.append(compose(inner, source, outer))
        return made[-1]

    monkeypatch.setattr("alade_brian.conversion.lowering.compose", composing)

    class Carried(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3, padding=1)
            self.down = nn.Conv2d(2, 3, 3, stride=2)
            self.lif1, self.lif2 = (snn.Leaky(0.9, init_hidden=True) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            seen = []
            for _ in range(steps):
                current = self.stem(x)
                current = current + self.conv(self.lif1(current))
                seen.append(self.lif2(self.down(current)).flatten(1))
            return torch.stack(seen)

    spec = convert(Carried(), (1, 8, 8))
    # Both terms of the sum, image and spikes, pass the last kernel behind another.
    assert len(made) == 2 == sum(isinstance(p.operator, Sparse) for p in spec.projections)
