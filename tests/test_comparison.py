"""Answers of two networks added up block by block: in memory, on disk, and where single spikes differ."""

from __future__ import annotations

import numpy as np
import pytest
from networks import conv_net, convert, dyadic_images

from alade_brian.spikes.packed import PackedResponses, packed
from alade_brian.spikes.responses import Responses
from alade_brian.verification import comparison
from alade_brian.verification.comparison import Comparison, Verification
from alade_brian.verification.torch_reference import record

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
