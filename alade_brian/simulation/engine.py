"""What every backend offers: an engine that answers to blocks of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from alade_brian.simulation.synaptic_events import EventCounter
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.packed import PackedResponses, packed
from alade_brian.spikes.responses import Responses

# What a running program is given at a time: so many images, or fewer where their answers take more bytes. Fewer cost
# more than they are worth in handing over; with more, one of several programs waits longer for the others at the end.
IMAGES_PER_BLOCK = 128
BYTES_PER_BLOCK = 2**23


class Engine(Protocol):
    """A network that is ready to run: what a backend must offer.

    compiled      whether a compiler had to run for it
    own_process   whether it runs outside of this process, so that several may run at once
    """

    compiled: bool
    own_process: bool

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        """Answers to blocks of images, each ``(n, rows, pixels)``; `record` says whether the spikes are wanted."""
        ...


@dataclass
class BlockEngine:
    """An engine that answers to one block of images at a time, unpacked."""

    spec: NetworkSpec
    run: Callable[[np.ndarray], Responses]
    compiled: bool
    own_process: bool = False

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        """See `Engine`."""
        shapes, counter = {p.name: p.shape for p in self.spec.spiking}, EventCounter(self.spec)
        for block in blocks:
            responses = self.run(block)
            yield packed(responses, shapes, counter.count(responses, block))


def images_per_block(bytes_per_image: int, batch: int) -> int:
    """How many images a program is given at a time, whose answer to one takes so many bytes: whole presentations."""
    return max(1, min(IMAGES_PER_BLOCK, BYTES_PER_BLOCK // bytes_per_image) // batch) * batch
