"""Units by hand: what they read when they grow, by what rule they are pruned, what is held still."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from alade_brian.learning.incremental.units import Guard, UnitLayer, Units
from alade_brian.models import make_backbone


def layer_of(sizes: list[float], fixed: list[bool], own: list[bool], credit: float) -> UnitLayer:
    conv = nn.Conv2d(2, len(sizes), 1, bias=False)
    with torch.no_grad():
        half = torch.tensor(sizes) / 2
        conv.weight.copy_(torch.stack([half, -half], 1)[:, :, None, None])
    layer = UnitLayer("hand", conv, None, torch.tensor(fixed))
    layer.own, layer.credit = torch.tensor(own), torch.full((len(sizes),), credit, dtype=torch.float64)
    return layer


def test_pruning_by_hand() -> None:
    # Units 0 and 4 are of earlier tasks, 1 to 3 of this one, 5 is free. Scores of 1 to 3: 0, 1/3 and 2/3, as unit 0
    # has 1; that unit 4 is weaker than they are does not count.
    fixed, own = [True, False, False, False, True, False], [False, True, True, True, False, False]
    layer = layer_of([4, 1, 2, 3, 0.5, 0], fixed, own, 1.5)
    layer.prune(0, 0.8)
    assert layer.credit.tolist() == [1.5] * 6
    layer.prune(1, 0.8)
    one, two, three = 1.4985 - 0.8, 1.4985 + 2 / 3 - 0.8, 1.4985 + 4 / 3 - 0.8 + 3
    assert layer.credit.tolist() == pytest.approx([1.5, one, two, three, 1.5, 1.5])
    assert layer.own.tolist() == own
    layer.prune(2, 0.8)
    two, three = 0.999 * two + 2 / 3 - 0.8, 0.999 * three + 4 / 3 - 0.8 + 3
    assert layer.credit[1] == pytest.approx(0.999 * one - 0.8) and layer.credit[1] < 0
    assert layer.own.tolist() == [False, False, True, True, False, False]
    assert layer.used.tolist() == [True, False, True, True, True, False]
    # Now unit 2 is the weakest, and unit 3 half way up; from epoch 14 on everything counts for less by e.
    for epoch, fading in ((13, 1.0), (14, math.exp(-1))):
        layer.credit = torch.full_like(layer.credit, 2.0)
        layer.prune(epoch, 0.8)
        assert layer.credit[2:4].tolist() == pytest.approx([1.998 - 0.8 * fading, 1.998 + 3.2 * fading])


def test_equal_units_score_a_half() -> None:
    layer = layer_of([2, 2], [False, False], [True, True], 1.0)
    layer.prune(1, 0.5)
    assert layer.credit.tolist() == pytest.approx([0.999 + 0.5 + 3] * 2)


def test_units_without_batch_norm_and_with_biases() -> None:
    extractor = make_backbone("small", (1, 6, 6), channels=(4,), strides=(1,))
    stage = extractor.stages[0]
    stage.conv, stage.norm = nn.Conv2d(1, 4, 3, padding=1), nn.Identity()
    units = Units(extractor, empty=True)
    assert not stage.conv.weight.any() and not stage.conv.bias.any()
    assert units.layers[0].grow(3, units.read(0), 5.0) == 3
    assert units.features().tolist() == [True] * 27 + [False] * 9


def test_a_guard_puts_back_all_but_the_numbers_of_own_units() -> None:
    torch.manual_seed(0)
    extractor, classifier = (
        make_backbone("small", (1, 4, 4), channels=(4, 4), strides=(1, 1), pool=4),
        nn.Linear(4, 3, bias=False),
    )
    units = Units(extractor, empty=True)
    # Units 0 and 1 are of an earlier task, unit 2 is the task's own, unit 3 stays free.
    for number, layer in enumerate(units.layers):
        layer.grow(2, units.read(number), 5.0)
        layer.fixed, layer.own = layer.own, layer.fixed
        layer.grow(1, units.read(number), 5.0)
    before = copy.deepcopy(extractor.state_dict())
    rows = classifier.weight.detach()[:2].clone()
    guard = Guard(units, classifier, first_row=2)
    with torch.no_grad():
        for tensor in (*extractor.state_dict().values(), classifier.weight):
            tensor.fill_(7)
    guard.restore()
    for name, tensor in extractor.state_dict().items():
        if "lif" in name or "num_batches" in name:
            continue
        moved = tensor == 7
        assert torch.equal(tensor[~moved], before[name][~moved])
        inputs = [True] * 3 + [False] if name == "stages.1.conv.weight" else [True]
        expected = torch.tensor([False, False, True, False]).reshape(4, *[1] * (tensor.ndim - 1)).expand_as(tensor)
        if tensor.ndim > 1:
            expected = expected & torch.tensor(inputs)[:, None, None]
        assert torch.equal(moved, expected), name
    assert torch.equal(classifier.weight[:2], rows)
    assert classifier.weight[2].tolist() == [7, 7, 7, 0]
