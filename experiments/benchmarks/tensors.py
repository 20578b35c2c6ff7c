"""PyTorch on the CPU, eager and compiled, in the best of the ways that it can be asked to run.

The way (images at once, layout in memory, threads) is searched once per type: PyTorch's time does not depend on how
much fires. Its images lie ready in memory in its own type.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alade_brian.benchmarks.network import PlainNetwork, Weights
from alade_brian.benchmarks.rounds import first_line, log, timed

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
EAGER_BATCHES = (16, 64, 128, 256)
COMPILED_BATCHES = (16, 32, 128)
# So long a candidate of the search runs at most.
SEARCH_SECONDS = 0.5


@dataclass(frozen=True)
class Way:
    """How PyTorch is asked to run."""

    dtype: str
    batch: int
    layout: str
    threads: int
    compiled: bool = False


class TorchRunner:
    """The network in PyTorch, ready to run in one way; `show` takes one batch."""

    def __init__(self, way: Way, weights: Weights, images: np.ndarray) -> None:
        self.way = way
        dtype, layout = getattr(torch, way.dtype), LAYOUTS[way.layout]
        repeats = -(-way.batch // len(images))
        shown = torch.from_numpy(np.tile(images, (repeats, 1, 1, 1))).to(dtype)
        whole = len(shown) // way.batch * way.batch
        self.parts = [part.contiguous(memory_format=layout) for part in shown[:whole].split(way.batch)]
        self.network = PlainNetwork(weights).eval().to(dtype)
        self.network.to(memory_format=layout)  # type: ignore[call-overload]
        # As one graph or not at all: otherwise what the compiler does not know runs eagerly, without a word.
        self._forward: Callable[[Tensor], Tensor] = (
            torch.compile(self.network, dynamic=False, fullgraph=True) if way.compiled else self.network
        )
        self._next = itertools.cycle(self.parts)

    def set_weights(self, weights: Weights) -> None:
        """The same network with other numbers: nothing is compiled again."""
        self.network.set_weights(weights)

    def show(self) -> int:
        """One batch; how many images it was."""
        self.answers(next(self._next))
        return self.way.batch

    def answers(self, images: Tensor) -> Tensor:
        """Logits ``(images, classes)`` of one batch in this way's type and layout."""
        # The compiler takes the number of threads as a constant, and other competitors change it.
        if torch.get_num_threads() != self.way.threads:
            torch.set_num_threads(self.way.threads)
        with torch.inference_mode():
            return self._forward(images)

    def run(self, seconds: float) -> float:
        """Images per second."""
        self.show()
        return timed(self.show, seconds)


def eager_ways(dtype: str, cores: int) -> list[Way]:
    """All ways that are tried without the compiler."""
    threads = sorted({1, cores})
    return [Way(dtype, *choice) for choice in itertools.product(EAGER_BATCHES, LAYOUTS, threads)]


def compiled_ways(dtype: str, cores: int) -> list[Way]:
    """Fewer ways, on all cores: each takes the compiler about ten seconds."""
    return [Way(dtype, *choice, cores, True) for choice in itertools.product(COMPILED_BATCHES, LAYOUTS)]


def best(ways: Iterable[Way], weights: Weights, images: np.ndarray, seconds: float) -> tuple[Way, list[dict[str, Any]]]:
    """The fastest way and what was found for all; a way that fails is left out, RuntimeError where all do."""
    found: list[tuple[float, Way]] = []
    for way in ways:
        torch.compiler.reset()
        try:
            speed = TorchRunner(way, weights, images).run(min(seconds, SEARCH_SECONDS))
        except Exception as error:  # the compiler fails in many ways
            log.warning("PyTorch does not run with %s: %s", asdict(way), first_line(error))
            continue
        log.info("PyTorch %s: %.0f images/s", asdict(way), speed)
        found.append((speed, way))
    if not found:
        raise RuntimeError("PyTorch runs in none of the ways tried")
    return max(found, key=lambda pair: pair[0])[1], [asdict(way) | {"images_per_second": s} for s, way in found]
