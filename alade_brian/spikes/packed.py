"""Packed spikes, one bit each, as the compiled simulation writes them; they are compared and stored without unpacking.

A packed raster is uint8 ``(images, steps, pixels * bytes of a row)``: for every pixel of the population a row of its
channels, the first channel in the lowest bit, filled up to whole bytes with zeros. A population without spatial axes is
one pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from alade_brian.spec import Shape
from alade_brian.spikes.responses import Responses


def pack(raster: np.ndarray, shape: Shape) -> np.ndarray:
    """Pack a raster, bool ``(images, steps, neurons)``, of a population of the given shape."""
    rows = raster.reshape(*raster.shape[:2], shape[0], prod(shape[1:])).swapaxes(-1, -2)
    bits = np.packbits(rows, axis=-1, bitorder="little")
    return bits.reshape(*raster.shape[:2], -1)


def unpack(bits: np.ndarray, shape: Shape) -> np.ndarray:
    """Unpack spikes to a raster, bool ``(images, steps, neurons)``."""
    rows = bits.reshape(*bits.shape[:2], prod(shape[1:]), -1)
    found = np.unpackbits(rows, axis=-1, count=shape[0], bitorder="little")
    return found.view(bool).swapaxes(-1, -2).reshape(*bits.shape[:2], -1)


def words(bits: np.ndarray) -> np.ndarray:
    """View packed spikes as a flat array, of 64-bit words if the size allows: an eighth of the values to process."""
    flat = np.ascontiguousarray(bits).reshape(-1)
    return flat if flat.size % 8 else flat.view(np.uint64)


def count(bits: np.ndarray) -> int:
    """Number of spikes in a packed raster."""
    return int(np.bitwise_count(words(bits)).sum(dtype=np.int64))


@dataclass(frozen=True, eq=False)
class PackedResponses:
    """Responses of a network (see `Responses`) with packed `spikes`, which are empty if nothing was recorded.

    shapes   of the populations that spike
    events   int64 ``(images, projections)``: synapses that carried a spike, in the order of the specification's
             projections (0 where one sends a current); None where they were not counted
    """

    spikes: Mapping[str, np.ndarray]
    shapes: Mapping[str, Shape]
    logits: np.ndarray
    traces: Mapping[str, np.ndarray] = field(default_factory=dict)
    events: np.ndarray | None = None

    def unpacked(self) -> Responses:
        """Convert packed responses to `Responses`, with a bool for each spike."""
        spikes = {name: unpack(bits, self.shapes[name]) for name, bits in self.spikes.items()}
        return Responses(spikes, self.logits, self.traces)


def packed(responses: Responses, shapes: Mapping[str, Shape], events: np.ndarray | None = None) -> PackedResponses:
    """Convert responses to packed responses, with synaptic events if they were counted."""
    spikes = {name: pack(raster, shapes[name]) for name, raster in responses.spikes.items()}
    return PackedResponses(spikes, {name: shapes[name] for name in spikes}, responses.logits, responses.traces, events)
