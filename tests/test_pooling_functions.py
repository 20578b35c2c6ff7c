"""Pooling and dropout as torch functions in a forward, behind neurons and before them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import assert_same, dyadic_, dyadic_images
from torch import Tensor, nn
from torch.nn import functional as F

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.models import IF, LIF, HoldCurrent, MeanOverSteps

STEPS = 4

# By torch function: what an image (2, 6, 6) passes, and how many features are left of it.
FUNCTIONS = {
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True), 32),
    "torch's max_pool2d": (lambda x: torch.max_pool2d(x, 2), 18),
    "max_pool2d of an average": (lambda x: F.max_pool2d(F.avg_pool2d(x, 2, 1), (2, 3), dilation=(2, 1)), 4),
    "max_pool1d": (lambda x: F.max_pool1d(torch.flatten(x, 2), 4, 3), 22),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, (3, None)), 36),
    "adaptive_max_pool1d": (lambda x: F.adaptive_max_pool1d(x.flatten(2), 9), 18),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, (2, 3), None, (1, 0)), 16),
    "avg_pool2d with a divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=8), 18),
    "avg_pool1d": (lambda x: F.avg_pool1d(torch.flatten(x, 2), 6), 12),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), 12),
    "adaptive_avg_pool1d": (lambda x: F.adaptive_avg_pool1d(x.flatten(2), 4), 8),
    "dropout": (lambda x: F.dropout2d(F.dropout(F.alpha_dropout(x), training=False), 0.3, False), 72),
}


class Functional(nn.Module):
    """torch functions behind neurons, and on currents before them."""

    def __init__(self, function: Callable[[Tensor], Tensor], features: int, spikes: bool) -> None:
        super().__init__()
        self.hold, self.first, self.second = HoldCurrent(STEPS), LIF(STEPS, threshold=0.25), IF(STEPS, threshold=0.25)
        self.conv = nn.Identity() if spikes else nn.Conv2d(2, 2, 3, padding=1)
        self.function, self.head, self.mean = function, nn.Linear(features, 3), MeanOverSteps(STEPS)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.second(self.function(self.conv(self.first(self.hold(x)))))
        return self.mean(self.head(torch.flatten(spikes, 1)))


@pytest.mark.parametrize("spikes", [True, False])
@pytest.mark.parametrize("case", FUNCTIONS)
def test_pooling_functions(case: str, spikes: bool) -> None:
    assert_same(dyadic_(Functional(*FUNCTIONS[case], spikes)), dyadic_images(3, 2, 6, 6))


def test_pooling_functions_are_refused_like_their_layers() -> None:
    refused = {
        "max_pool2d_with_indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        "ceil_mode": lambda x: F.avg_pool2d(x, 4, ceil_mode=True),
        "does not divide": lambda x: F.adaptive_max_pool2d(x, 4),
        "drops in eval mode too": lambda x: F.dropout(x),
    }
    for words, function in refused.items():
        with pytest.raises(RefusedLayers, match=words):
            convert(Functional(function, 72, True), (2, 6, 6))
