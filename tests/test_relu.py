"""Networks with ReLU units that become spiking ones: thresholds, the gap, foreign networks, refusals, the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command_line import call
from networks import assert_same
from torch import Tensor, nn

from alade_brian import convert_relu
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.errors import UserError
from alade_brian.models.neurons.quantal import QuantalIF

STEPS = 16


def images(count: int = 30, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, *(shape or (1, 8, 8))))


class HandMade(nn.Module):
    """One ReLU at two places, one as a function, a residual sum, max pooling of spikes, a softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.pool = nn.Conv2d(6, 6, 3, padding=1), nn.MaxPool2d(2)
        self.act, self.hidden, self.last = nn.ReLU(inplace=True), nn.Linear(96, 20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x)))
        x = self.pool(F.relu(self.second(x) + x))
        x = self.act(self.hidden(x.view(x.size(0), -1)))
        return F.softmax(self.last(x), 1)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def one_unit(weight: float = 1.0) -> nn.Sequential:
    """A unit whose activation is its image's one pixel, if that is above 0, and two answers."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        net[0].weight.fill_(weight)
        net[2].weight.copy_(torch.tensor([[1.0], [0.0]]))
        net[2].bias.copy_(torch.tensor([0.0, 0.4]))
    return net.double()


def test_the_gap_of_one_unit_by_hand() -> None:
    """Threshold 2, four steps: pixels 0.7, 1, 2 and 3 are counted as 0.5, 1, 2 and 2."""
    made = convert_relu(one_unit(), np.array([[2.0], [-1.0]]), steps=4, percentile=100)
    gap = made.measure(np.array([[0.7], [1.0], [2.0], [3.0]]), np.array([0, 0, 0, 1]))
    (layer,) = gap.layers
    assert layer.threshold == (2.0, 2.0) and layer.scale == 3.0 and layer.clipped == 0.25
    assert layer.error == pytest.approx((0.2 + 0 + 0 + 1) / 4) and layer.relative_error == pytest.approx(0.1)
    # The first pixel's spike comes in the third step: sums of 0, 0, 2 and 2 against 0.4 in each.
    assert gap.steps == (1, 2, 4) and gap.agreement == (0.5, 0.75, 1.0)
    assert gap.accuracy == (0.25, 0.5, 0.75) and gap.accuracy_relu == 0.75
    assert "approximate: spiking neurons in the place of ReLU units, 4 steps, 4 images" in str(gap)
    assert "accuracy of the ReLU network 0.7500" in str(gap)


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_thresholds_are_percentiles_of_activations(per: str) -> None:
    net, shown = seeded(HandMade), images()
    made = convert_relu(net, shown, steps=STEPS, percentile=95, per=per)
    x = torch.from_numpy(shown).float()
    first = torch.relu(net.norm(net.first(x))).detach().numpy()  # type: ignore[operator]
    whole, each = np.percentile(first, 95), np.percentile(first, 95, axis=(0, 2, 3))
    # A channel that is silent in more than 95 of 100 places has its layer's threshold.
    assert (each == 0).any() and (each > 0).any()
    wanted = np.where(each > 0, each, whole) if per == "channel" else whole
    neurons = {name: m for name, m in made.network.named_modules() if isinstance(m, QuantalIF)}
    assert list(neurons) == ["act", "relu", "act_1"]
    found = neurons["act"].threshold
    assert found.shape == ((6, 1, 1) if per == "channel" else ())
    np.testing.assert_allclose(found.numpy().ravel(), np.ravel(wanted), rtol=1e-6)


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_the_spiking_network_is_exact_and_its_gap_falls_with_the_steps(per: str) -> None:
    net, shown = seeded(HandMade), images()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    errors = {}
    for steps in (STEPS, 8 * STEPS):
        made = convert_relu(net, shown, steps=steps, per=per, fraction=0.5)
        errors[steps] = [layer.relative_error for layer in made.gap.layers]
        if steps == STEPS:
            assert_same(made.network, shown[:4], spec=made.spec)
    few, many = errors.values()
    assert all(b < 0.2 * a for a, b in zip(few[:2], many[:2], strict=True)), errors
    # What fires first in a window is not what fires most: behind max pooling of spikes a gap stays.
    assert many[2] > 0.5 * few[2] > 0.01
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items()) and not net.training


def test_a_network_that_spikingjelly_made() -> None:
    """Its thresholds are its own, and the spikes those of its own neurons."""
    ann2snn = pytest.importorskip("spikingjelly.activation_based.ann2snn")
    units = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))
    shown = images()
    loader = [(torch.from_numpy(shown).float(), torch.zeros(len(shown)))]
    foreign = ann2snn.Converter(ann2snn.RateCodingRecipe(dataloader=loader, mode="max")).convert(units)
    made = convert_relu(foreign, shown, steps=STEPS)
    with torch.no_grad():
        steps = [foreign(torch.from_numpy(shown).float()) for _ in range(STEPS)]
    found = made.network(torch.from_numpy(shown).float())
    torch.testing.assert_close(found, torch.stack(steps).mean(0), atol=1e-5, rtol=1e-5)
    (layer,) = made.gap.layers
    assert layer.threshold == (1.0, 1.0) and 0 < layer.relative_error < 1 / STEPS
    assert_same(made.network, shown[:4], spec=made.spec)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x) if x.sum() > 0 else x


class Several(nn.Linear):
    """Looks at nothing."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return x, x


FLAT = images(20, 4)


@pytest.mark.parametrize(
    ("make", "shown", "options", "sentence"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), FLAT, {}, "layer 1 is tanh, which spiking"),
        (
            lambda: nn.Sequential(nn.ReLU(), nn.Softmax(1), nn.Linear(4, 2)), FLAT, {},
            "layer 1 is softmax, which spiking neurons do not stand for; train the network with ReLU",
        ),
        (lambda: nn.Sequential(nn.ReLU(), nn.LeakyReLU(), nn.Linear(4, 2)), FLAT, {}, "layer 1 is leakyrelu"),
        (lambda: nn.Linear(4, 2), FLAT, {}, "the network has no ReLU"),
        (Branches, FLAT, {}, "the forward cannot be followed .*; write it without branches on values"),
        (lambda: nn.Sequential(nn.ReLU(), Several(4, 4)), FLAT, {}, "the forward returns tuple"),
        (lambda: one_unit(), FLAT, {}, r"the model does not take images of \(4,\)"),
        (lambda: one_unit(-1.0), images(5, 1), {}, "activations of layer 1 is 0.0, which is no threshold"),
        (lambda: one_unit(), images(5, 1)[:0], {}, "there are no images to balance thresholds on"),
        (lambda: one_unit(), images(5, 1), {"steps": 0}, "steps is 0; use at least 1"),
        (lambda: one_unit(), images(5, 1), {"percentile": 101}, "percentile is 101; use a number above 0"),
        (lambda: one_unit(), images(5, 1), {"per": "neuron"}, "per is 'neuron'; use one of layer, channel"),
        (lambda: one_unit(), images(5, 1), {"fraction": 0}, "fraction is 0; use a number above 0"),
    ],
)  # fmt: skip
def test_what_has_no_spiking_counterpart_is_refused(
    make: Callable[[], nn.Module], shown: np.ndarray, options: dict, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        convert_relu(seeded(make), shown, **{"steps": 4, **options})


def test_other_layers_are_refused_as_anywhere() -> None:
    with pytest.raises(RefusedLayers, match="LayerNorm"):
        convert_relu(seeded(lambda: nn.Sequential(nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2))), FLAT, steps=4)
    with pytest.raises(UserError, match="give one per image"):
        convert_relu(one_unit(), images(5, 1), steps=4).measure(images(5, 1), np.zeros(4, dtype=int))


NETWORK = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 3))
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, Path, Path]:
    (tmp_path / "own.py").write_text(NETWORK)
    np.save(tmp_path / "images.npy", images())
    np.save(tmp_path / "labels.npy", np.arange(30) % 3)
    return f"{tmp_path / 'own.py'}:network", tmp_path / "images.npy", tmp_path / "labels.npy"


def test_the_command_prints_the_gap_and_compares(
    files: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    network, shown, labels = files
    options = ["--steps", 8, "--per", "channel", "--labels", labels, "--first", 20, "--backend", "numpy"]
    assert call("verify", network, shown, "--relu", *options) == 0
    printed = capsys.readouterr().out
    assert "approximate: spiking neurons in the place of ReLU units, 8 steps, 20 images" in printed
    assert "accuracy of the ReLU network" in printed and "0 mismatched" in printed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--relu"], "--relu needs the number of time steps; add --steps N"),
        (["--relu", "--steps", "0"], "--steps 0: use at least 1"),
        (["--relu", "--steps", "4", "--sequence"], "--sequence is not for --relu; leave out one of the two"),
        (["--steps", "4", "--per", "channel"], "--per is for --relu; leave out one of the two"),
        (["--relu", "--steps", "4", "--labels", "IMAGES"], "it needs whole numbers, one per image"),
    ],
)
def test_wrong_use_of_the_command_is_one_sentence(
    options: list[str], sentence: str, files: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    network, shown, _ = files
    assert call("verify", network, shown, *[str(shown) if o == "IMAGES" else o for o in options]) == 2
    assert sentence in capsys.readouterr().err
