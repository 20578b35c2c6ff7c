"""Neurons over all steps in one operation, alone and behind batch norm: the loop over the steps says what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alade_brian.models import IF, LIF, AdaptiveLIF, HoldCurrent
from alade_brian.models.kernels import kernels, multistep
from alade_brian.models.kernels.multistep import normalised_spikes

STEPS, IMAGES = 4, 5
NEURONS: dict[str, Callable[[], Any]] = {
    "to zero": lambda: LIF(STEPS, 0.5),
    "to zero, at the threshold too": lambda: LIF(STEPS, 0.75, comparison=">=", threshold=0.5),
    "input scaled": lambda: LIF(STEPS, 0.6, scale_input=True),
    "subtraction": lambda: LIF(STEPS, 0.9, reset="subtract", v_reset=1.0),
    "subtraction of another amount": lambda: LIF(STEPS, 0.9, reset="subtract", v_reset=0.3),
    "no reset": lambda: LIF(STEPS, 0.4, reset="none"),
    "starts charged": lambda: LIF(STEPS, 0.5, v_initial=0.8),
    "amplitude": lambda: LIF(STEPS, 0.5, amplitude=2.0),
    "without a leak": lambda: IF(STEPS),
}
SHAPES = [(7,), (3, 5, 6)]


@pytest.fixture(params=["kernel", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With the compiled kernel, and where there is none."""
    if request.param == "torch":
        monkeypatch.setattr(multistep, "_library", lambda: None)
    elif multistep._library() is None:
        pytest.skip("needs a C++ compiler")
    yield request.param


def currents(*shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()


def gradient(spikes: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a sum in which every spike has a weight of its own."""
    weights = torch.linspace(-1, 1, spikes.numel(), dtype=spikes.dtype).reshape(spikes.shape)
    return torch.autograd.grad((spikes * weights).sum(), of, allow_unused=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NEURONS)
def test_spikes_and_gradient_are_those_of_the_loop(
    way: str, name: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    neuron = NEURONS[name]()
    assert neuron.fusable() is not None
    current = currents(STEPS * IMAGES, *shape, dtype=dtype)
    spikes = neuron(current)
    looped = neuron.output(neuron.trace(current)[0])
    assert 0 < int(spikes.count_nonzero()) < spikes.numel()
    assert torch.equal(spikes, looped)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(gradient(spikes, current), gradient(looped, current), rtol=tolerance, atol=tolerance)


def test_layout_in_memory_does_not_matter(way: str) -> None:
    neuron, current = LIF(STEPS, 0.5), currents(STEPS * IMAGES, 3, 5, 6)
    spikes = neuron(current.contiguous(memory_format=torch.channels_last))
    assert torch.equal(spikes, neuron(current))
    torch.testing.assert_close(gradient(spikes, current), gradient(neuron(current), current))


def test_what_only_the_loop_knows_is_left_to_it() -> None:
    per_neuron = torch.tensor([0.5, 0.6, 0.7])
    others = [
        LIF(STEPS, 0.5, threshold=per_neuron),
        LIF(STEPS, 0.5, v_reset=0.2),
        LIF(STEPS, 0.5, reset="subtract", v_reset=1.0, leak="before_reset"),
        AdaptiveLIF(STEPS, 0.5, 0.9, 0.2),
    ]
    for neuron in others:
        assert neuron.fusable() is None
        current = currents(STEPS * 2, 3, dtype=torch.float32)
        assert torch.equal(neuron(current), neuron.output(neuron.trace(current)[0]))


def test_a_reference_is_never_computed_by_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 and without a gradient the loop answers, which is what a simulation is compared with."""

    def refused(*_: object) -> Tensor:
        raise AssertionError("the kernel was asked")

    monkeypatch.setattr("alade_brian.models.neurons.neuron.spikes_of", refused)
    neuron = LIF(STEPS, 0.5)
    with torch.no_grad():
        assert neuron(currents(STEPS, 3)).any()
        with pytest.raises(AssertionError, match="asked"):
            neuron(currents(STEPS, 3, dtype=torch.float32))


def batch_norm(channels: int, flat: bool, dtype: torch.dtype = torch.float64) -> nn.Module:
    norm = nn.BatchNorm1d(channels, dtype=dtype) if flat else nn.BatchNorm2d(channels, dtype=dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, channels))
        norm.bias.copy_(torch.linspace(-0.3, 0.8, channels))
    return norm


CASES = {"plain": {}, "held": {"hold": True}, "added": {"added": True}}


@pytest.mark.parametrize("size", [(4, 4, 5), (70, 9, 8)], ids=["few", "many blocks"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("flat", [False, True], ids=["images", "flat"])
def test_batch_norm_and_neurons_together_are_both_one_after_the_other(
    way: str, flat: bool, case: str, size: tuple[int, int, int]
) -> None:
    """In float64, where no sum's rounding reaches a threshold: spikes, gradients, running statistics."""
    hold = HoldCurrent(STEPS) if case == "held" else None
    channels = size[0]
    shape = ((1 if hold else STEPS) * 6, channels, *([] if flat else size[1:]))
    x = currents(*shape, scale=3)
    added = currents(*shape).detach().requires_grad_() if case == "added" else None
    neuron, norm, other = LIF(STEPS, 0.5), batch_norm(channels, flat), batch_norm(channels, flat)
    found = normalised_spikes(x, norm, neuron, hold=hold, added=added)
    current = other(x)
    current = hold(current) if hold else current
    expected = neuron.trace(current if added is None else current + added)[0]
    assert torch.equal(found, expected)
    inputs = [x, *([] if added is None else [added])]
    torch.testing.assert_close(
        gradient(found, *inputs, *norm.parameters()), gradient(expected, *inputs, *other.parameters()),
        rtol=1e-9, atol=1e-10,
    )  # fmt: skip
    torch.testing.assert_close(dict(norm.named_buffers()), dict(other.named_buffers()), rtol=1e-12, atol=1e-12)


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    if multistep._library() is None:
        pytest.skip("needs a C++ compiler")
    x, found = currents(STEPS * 12, 24, 11, 13, dtype=torch.float32), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        norm = batch_norm(24, False, torch.float32)
        spikes = normalised_spikes(x, norm, LIF(STEPS, 0.5))
        found.append((spikes, *gradient(spikes, x, *norm.parameters()), norm.running_mean, norm.running_var))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_a_channel_far_from_zero_keeps_its_variance() -> None:
    """Sums of squares would lose it in float32."""
    if multistep._library() is None:
        pytest.skip("needs a C++ compiler")
    x = (currents(STEPS * 8, 16, 6, 6) + 1000).detach().float().requires_grad_()
    norm = batch_norm(16, False, torch.float32)
    normalised_spikes(x, norm, LIF(STEPS, 0.5))
    assert norm.running_var is not None
    expected = 0.9 + 0.1 * x.double().transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(norm.running_var.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", ["norm", "lif"])
def test_whoever_listens_at_a_layer_hears_it(part: str) -> None:
    norm, neuron, heard = batch_norm(3, False), LIF(STEPS, 0.5), []
    (norm if part == "norm" else neuron).register_forward_hook(lambda *_: heard.append(1))
    normalised_spikes(currents(STEPS * 2, 3, 4, 4), norm, neuron)
    assert heard == [1]


def test_lower_precision_trains_by_torchs_operations() -> None:
    norm, neuron = batch_norm(3, False, torch.float32), LIF(STEPS, 0.5)
    conv = nn.Conv2d(3, 3, 3)
    x = currents(STEPS * 2, 3, 6, 6, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert not kernels.usable(x)
        spikes = normalised_spikes(conv(x), norm, neuron)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    gradients = gradient(spikes, x, *conv.parameters(), *norm.parameters())
    assert all(bool(g.isfinite().all()) and bool(g.any()) for g in gradients[:2])
