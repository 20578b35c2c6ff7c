"""Answers of two networks added up block by block: in memory, on disk, and where single spikes differ."""

from __future__ import annotations

import numpy as np
import pytest
from networks import NUMPY, conv_net, convert, dyadic_, dyadic_images
from torch import nn

from alade_brian.errors import UserError
from alade_brian.models import LI, HoldCurrent, LastStep
from alade_brian.spikes.packed import PackedResponses, packed
from alade_brian.spikes.responses import Responses
from alade_brian.verification import comparison
from alade_brian.verification.comparison import NO_SPIKES, Comparison, Verification
from alade_brian.verification.torch_reference import record
from alade_brian.verification.verify import verify

SPEC = convert(conv_net(), (2, 7, 6))
SHAPES = {p.name: p.shape for p in SPEC.spiking}
IMAGES = 37
FOUND = record(conv_net(), dyadic_images(IMAGES, 2, 7, 6), SPEC)


def flipped(*entries: tuple[int, int, int]) -> Responses:
    """The answers with single spikes of the first layer turned over."""
    name = next(iter(SHAPES))
    raster = FOUND.spikes[name].copy()
    for entry in entries:
        raster[entry] ^= True
    return Responses({**FOUND.spikes, name: raster}, FOUND.logits)


def block(responses: Responses, part: slice) -> PackedResponses:
    return packed(responses.select(part), SHAPES)


def compared(ours: Responses, size: int = 5) -> Verification:
    found = Comparison(SPEC)
    for start in range(0, IMAGES, size):
        part = slice(start, start + size)
        found.add(block(FOUND, part), block(ours, part))
    return found.finish()


@pytest.mark.parametrize("memory", [2**28, 3000, 0])
def test_spikes_are_the_same_in_memory_and_on_disk(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "BYTES_IN_MEMORY", memory)
    found = compared(FOUND)
    assert found.mismatched_spikes == 0
    for layer in found.layers:
        wanted = FOUND.spikes[layer.name]
        assert layer.spikes_reference == layer.spikes_brian2 == wanted.sum() > 0
        assert np.array_equal(
            np.unpackbits(found.packed(layer), axis=-1, count=wanted[0].size), wanted.reshape(IMAGES, -1)
        )


@pytest.mark.parametrize("size", [1, 5, IMAGES])
def test_every_spike_that_differs_is_found(size: int) -> None:
    """One more, one less, at both ends of a block."""
    entries = [(0, 0, 0), (4, 3, 209), (5, 1, 17), (36, 2, 100)]
    found = compared(flipped(*entries), size)
    first, *others = found.layers
    assert first.mismatched().tolist() == [list(entry) for entry in entries]
    assert not any(layer.mismatched_spikes for layer in others)
    assert first.spikes_reference == FOUND.spikes[first.name].sum()
    assert first.spikes_brian2 == flipped(*entries).spikes[first.name].sum()
    torch_side, ours = found.responses(np.arange(IMAGES))
    assert np.array_equal(torch_side.spikes[first.name], FOUND.spikes[first.name])
    assert np.array_equal(ours.spikes[first.name], flipped(*entries).spikes[first.name])


def muted(*layers: str) -> Responses:
    """The answers without the spikes of these layers."""
    return Responses({n: r & (n not in layers) for n, r in FOUND.spikes.items()}, FOUND.logits)


def both(responses: Responses) -> Verification:
    found = Comparison(SPEC)
    found.add(block(responses, slice(0, IMAGES)), block(responses, slice(0, IMAGES)))
    return found.finish()


def test_networks_of_which_nothing_fires_prove_nothing() -> None:
    found = both(muted(*SHAPES))
    assert found.mismatched_spikes == 0 and found.prediction_agreement == 1.0 and found.silent and not found.agrees
    assert NO_SPIKES in str(found) and "proves nothing about spikes" in NO_SPIKES


def test_a_silent_layer_behind_one_that_fires_is_named_and_agrees() -> None:
    *_, last = SHAPES
    found = both(muted(last))
    assert found.agrees and not found.silent and f"without a spike in either network: {last}" in str(found)
    assert both(FOUND).agrees and both(FOUND).remarks == []


def test_a_spike_in_one_network_alone_is_a_difference_not_silence() -> None:
    first, *_ = SHAPES
    one = muted(*SHAPES).spikes[first].copy()
    one[0, 0, 0] = True
    found = Comparison(SPEC)
    ours = Responses({**muted(*SHAPES).spikes, first: one}, FOUND.logits)
    found.add(block(muted(*SHAPES), slice(0, IMAGES)), block(ours, slice(0, IMAGES)))
    result = found.finish()
    assert result.mismatched_spikes == 1 and not result.silent and not result.agrees


def test_nothing_compared_is_no_agreement() -> None:
    with pytest.raises(ValueError, match="nothing was compared"):
        Comparison(SPEC).finish()
    empty = Verification()
    assert not empty.agrees and np.isnan(empty.prediction_agreement) and "nothing was compared" in str(empty)
    with pytest.raises(UserError, match="n at least 1"):
        verify(conv_net(), dyadic_images(0, 2, 7, 6), SPEC, NUMPY)


def test_a_network_without_spiking_layers_agrees_by_its_logits_and_says_so() -> None:
    net = dyadic_(nn.Sequential(HoldCurrent(3), nn.Linear(4, 2), LI(3), LastStep(3)))
    found = verify(net, dyadic_images(2, 4), settings=NUMPY)
    assert found.layers == [] and found.agrees and "the logits alone were compared" in str(found)
    found.logits_brian2 = found.logits_brian2 + 1
    assert not found.agrees


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_logits_that_are_not_finite_never_agree(value: float) -> None:
    found = both(FOUND)
    found.logits_reference = found.logits_reference.copy()
    found.logits_reference[0, found.logits_reference[0].argmax()] = value
    assert not found.agrees


def test_logits_of_other_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="logits of"):
        Comparison(SPEC).add(
            block(FOUND, slice(0, 5)), block(Responses(FOUND.spikes, FOUND.logits[:, :1]), slice(0, 5))
        )
