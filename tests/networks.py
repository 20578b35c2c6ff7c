"""Small networks for tests. With weights k/64 every sum is exact, so equality of spikes is exact too."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps, Neuron, Scale, SpikingNeuron
from alade_brian.simulation import SimulationSettings
from alade_brian.spec import NetworkSpec
from alade_brian.verification.verify import Verification, verify

NUMPY = SimulationSettings(backend="numpy")
CPP = SimulationSettings(backend="cpp")


def dyadic_(model: nn.Module, seed: int = 0, spread: int = 48) -> nn.Module:
    """Give all weights and biases random values k/64, |k| <= spread; batch norm's statistics too, as powers of two.
    Constants of neurons and gains stay as they are."""
    draw = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, Neuron | Scale):
            continue
        for parameter in module.parameters(recurse=False):
            values = draw.integers(-spread, spread + 1, tuple(parameter.shape)) / 64
            parameter.data = torch.from_numpy(values).to(parameter.dtype)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean = torch.from_numpy(draw.integers(-8, 9, module.num_features) / 64).float()
            module.running_var = torch.from_numpy(draw.choice([0.25, 1.0, 4.0], module.num_features)).float()
            module.weight.data = torch.from_numpy(draw.integers(16, 97, module.num_features) / 64).float()
    return model.eval()


def dyadic_images(count: int, *shape: int, seed: int = 1) -> np.ndarray:
    """Images with values k/16 between -2 and 2."""
    return np.random.default_rng(seed).integers(-32, 33, (count, *shape)) / 16


def conv_net(neuron: SpikingNeuron | None = None, steps: int = 4, seed: int = 0) -> nn.Sequential:
    """Two convolutional spiking layers with batch norm, pooling and a readout, for images (2, 7, 6)."""
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        HoldCurrent(steps),
        neuron or LIF(steps),
        nn.Conv2d(5, 6, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(6),
        LIF(steps),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 2 * 1, 3),
        MeanOverSteps(steps),
    )
    return dyadic_(net, seed)  # type: ignore[return-value]


def check(model: nn.Module, images: np.ndarray, spec: NetworkSpec | None = None) -> Verification:
    """Both networks on the numpy target, which needs no compiler."""
    return verify(model, images, spec, NUMPY)


def assert_same(
    model: nn.Module, images: np.ndarray, settings: SimulationSettings = NUMPY, spec: NetworkSpec | None = None
) -> Verification:
    """No mismatched spike, equal logits, and a spike in every layer, so that the equality says something."""
    found = verify(model, images, spec, settings)
    assert found.mismatched_spikes == 0, str(found)
    assert all(layer.spikes_reference > 0 for layer in found.layers), str(found)
    assert found.logit_max_abs_difference < 1e-12
    return found


__all__ = ["CPP", "NUMPY", "assert_same", "check", "conv_net", "convert", "dyadic_", "dyadic_images"]
