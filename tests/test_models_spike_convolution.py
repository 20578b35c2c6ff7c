"""Convolutions of spikes that pass over zeros, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alade_brian.models.kernels import kernels, spike_convolution
from alade_brian.models.kernels.spike_convolution import convolve

pytestmark = pytest.mark.skipif(kernels.kernel("spike_convolution") is None, reason="needs a C++ compiler")

GEOMETRIES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((5, 16, 3), {"padding": 1}),
    "stride": ((17, 32, 3), {"padding": 1, "stride": 2}),
    "rectangular": ((4, 48, (2, 5)), {"stride": (1, 3), "padding": (0, 2)}),
    "1x1": ((33, 16, 1), {"stride": 2}),
    "wide": ((3, 80, 3), {"bias": False}),
    "wide padding": ((2, 16, 2), {"padding": 3}),
}


def spikes(*shape: int, rate: float = 0.2, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return (torch.rand(*shape, generator=generator) < rate).to(dtype)


def layer(name: str, dtype: torch.dtype) -> nn.Conv2d:
    torch.manual_seed(2)
    arguments, options = GEOMETRIES[name]
    return nn.Conv2d(*arguments, **options, dtype=dtype)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that were called."""
    found: list[str] = []
    run = kernels.run

    def noted(library: Any, name: str, *others: Any) -> None:
        found.append(name)
        run(library, name, *others)

    monkeypatch.setattr(kernels, "run", noted)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_values_and_gradients_are_those_of_torch(name: str, dtype: torch.dtype, asked: list[str]) -> None:
    conv = layer(name, dtype)
    x = (spikes(6, conv.in_channels, 9, 11, dtype=dtype) * 1.5).requires_grad_()
    found, expected = convolve(conv, x), conv(x)
    tolerance = {"rtol": 1e-11, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found, expected, **tolerance)
    weights = torch.randn_like(expected)
    inputs = [x, *conv.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), inputs), torch.autograd.grad((expected * weights).sum(), inputs),
        **tolerance,
    )  # fmt: skip
    assert asked == ["forward", "backward"]


def test_sums_without_rounding_are_the_same_to_the_last_bit(asked: list[str]) -> None:
    conv = nn.Conv2d(7, 16, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.randint(-8, 8, conv.weight.shape) / 8)
    x = spikes(4, 7, 10, 10, dtype=torch.float32)
    assert torch.equal(convolve(conv, x), conv(x)) and asked == ["forward"]


def test_the_number_of_threads_changes_nothing_but_the_order_of_sums() -> None:
    x, conv = spikes(9, 16, 8, 8, dtype=torch.float32), nn.Conv2d(16, 16, 3, padding=1)
    found = []
    for threads in (1, 2, 3, 2):
        torch.set_num_threads(threads)
        out = convolve(conv, x)
        found.append((out, *torch.autograd.grad(out.square().sum(), [conv.weight])))
    assert all(torch.equal(found[0][0], out) for out, _ in found)
    torch.testing.assert_close([g for _, g in found], [found[0][1]] * 4, rtol=1e-4, atol=1e-3)
    assert torch.equal(found[1][1], found[3][1])


def busy(conv: nn.Conv2d) -> Tensor:
    return spikes(6, conv.in_channels, 9, 11, rate=0.8, dtype=torch.float32)


def test_an_image_with_few_zeros_goes_to_torch(asked: list[str]) -> None:
    conv = layer("3x3", torch.float32)
    assert torch.equal(convolve(conv, busy(conv)), conv(busy(conv))) and asked == []


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 16, 3, groups=2),
        nn.Conv2d(4, 16, 3, dilation=2),
        nn.Conv2d(4, 16, 3, padding="same"),
        nn.Conv2d(4, 16, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 16, 3).eval(),
    ],
    ids=["groups", "dilation", "same", "reflect", "few channels", "eval"],
)
def test_other_layers_are_torchs_own(conv: nn.Conv2d, asked: list[str]) -> None:
    x = spikes(3, 4, 9, 9, dtype=torch.float32)
    assert torch.equal(convolve(conv, x), conv(x)) and asked == []


def test_whoever_listens_at_the_layer_hears_it(asked: list[str]) -> None:
    conv, heard = layer("3x3", torch.float32), []
    conv.register_forward_hook(lambda *_: heard.append(1))
    convolve(conv, spikes(3, 5, 9, 9, dtype=torch.float32))
    assert heard == [1] and asked == []


def test_the_share_that_is_not_zero_decides(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    conv = layer("3x3", torch.float32)
    monkeypatch.setattr(spike_convolution, "MOST_ACTIVE", 0.9)
    torch.testing.assert_close(convolve(conv, busy(conv)), conv(busy(conv)), rtol=1e-4, atol=1e-4)
    assert asked == ["forward"]
