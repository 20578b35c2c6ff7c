"""Property: random networks over the whole grammar, with dyadic weights, spike alike in PyTorch and Brian2."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import NUMPY, dyadic_, dyadic_images
from torch import Tensor, nn

from alade_brian.conversion.verify import verify
from alade_brian.models import IF, LIF, HoldCurrent, MeanOverSteps

# ALADE_BRIAN_EXAMPLES=3000 python -m pytest tests/test_random_networks.py for the long run.
EXAMPLES = int(os.environ.get("ALADE_BRIAN_EXAMPLES", "100"))
STEPS = 5


class Block(nn.Module):
    """Linear layers into neurons; with `residual` the input is added where the shape allows it, with `wide` it is
    concatenated to the output."""

    def __init__(self, layers: list[nn.Module], neuron: nn.Module, merge: str) -> None:
        super().__init__()
        self.layers, self.neuron, self.merge = nn.Sequential(*layers), neuron, merge

    def forward(self, x: Tensor) -> Tensor:
        if self.merge == "residual":
            return self.neuron(self.layers(x) + x)
        if self.merge == "wide":
            return torch.cat([self.neuron(self.layers(x)), x], 1)
        return self.neuron(self.layers(x))


@st.composite
def neurons(draw: st.DrawFn) -> nn.Module:
    conventions = {
        "threshold": draw(st.sampled_from([0.5, 1.0, 1.25])),
        "comparison": draw(st.sampled_from([">", ">="])),
        "leak": draw(st.sampled_from(["after_reset", "before_reset"])),
    }
    conventions["reset"], conventions["v_reset"] = draw(
        st.sampled_from([("value", 0.0), ("value", -0.25), ("subtract", 1.0), ("subtract", 0.75), ("none", 0.0)])
    )
    decay = draw(st.sampled_from([0.5, 0.25, None]))
    return IF(STEPS, **conventions) if decay is None else LIF(STEPS, decay, **conventions)


@st.composite
def blocks(draw: st.DrawFn, shape: tuple[int, int, int]) -> tuple[Block, tuple[int, int, int]]:
    """A block and the shape it makes of a shape."""
    channels, merge = shape[0], draw(st.sampled_from(["plain", "plain", "residual", "wide"]))
    layers: list[nn.Module] = []
    if merge == "plain" and min(shape[1:]) >= 4 and draw(st.booleans()):
        layers.append(draw(st.sampled_from([nn.AvgPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2, 1)])))
    if draw(st.booleans()):
        layers.append(nn.BatchNorm2d(channels) if not layers or isinstance(layers[0], nn.MaxPool2d) else nn.Identity())
    outputs = channels if merge == "residual" else draw(st.integers(1, 4))
    same = merge != "plain"
    kernel = draw(st.sampled_from([1, 3] if same else [1, 2, 3]))
    groups = draw(st.sampled_from([1, channels])) if outputs % channels == 0 else 1
    padding = (kernel // 2) if same else draw(st.integers(0, 1))
    stride = 1 if same else draw(st.sampled_from([1, 2]))
    layers.append(nn.Conv2d(channels, outputs, kernel, stride, padding, groups=groups, bias=draw(st.booleans())))
    if draw(st.booleans()):
        layers.append(nn.BatchNorm2d(outputs))
    block = Block(layers, draw(neurons()), merge)
    made = nn.Sequential(*layers)(torch.zeros(2, *shape)).shape[1:]
    return block, (made[0] + (channels if merge == "wide" else 0), made[1], made[2])


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    image = (draw(st.integers(1, 3)), draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    shape, parts = image, [HoldCurrent(STEPS), draw(neurons())]
    for _ in range(draw(st.integers(1, 4))):
        if min(shape[1:]) < 3:
            break
        block, shape = draw(blocks(shape))
        parts.append(block)
    parts += [
        nn.Flatten(),
        nn.Linear(shape[0] * shape[1] * shape[2], 3, bias=draw(st.booleans())),
        MeanOverSteps(STEPS),
    ]
    return dyadic_(nn.Sequential(*parts), seed=draw(st.integers(0, 2**16))), image


@pytest.mark.slow
def test_random_networks_spike_alike() -> None:
    """Batch norm's epsilon is set to zero, so that every sum is exact and equality holds at the threshold itself."""
    seen: dict[str, int] = {"layers": 0, "silent": 0}

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(networks())
    def check(drawn: tuple[nn.Module, tuple[int, ...]]) -> None:
        net, image = drawn
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
        found = verify(net, dyadic_images(2, *image), settings=NUMPY)
        assert found.mismatched_spikes == 0, f"{net}\n{found}"
        assert found.logit_max_abs_difference < 1e-9
        seen["layers"] += len(found.layers)
        seen["silent"] += sum(layer.spikes_torch == 0 for layer in found.layers)

    check()
    # Equality of silence would prove nothing.
    assert seen["silent"] < 0.2 * seen["layers"], seen
