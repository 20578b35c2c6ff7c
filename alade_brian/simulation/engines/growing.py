"""A growing network simulated in parts: one program for all extractors of an architecture, one for the head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from alade_brian.simulation.cache.builds import generator_digest
from alade_brian.simulation.cache.kept_answers import KeptAnswers, Key, digest, keys_of
from alade_brian.simulation.fused.program import StreamedProgram
from alade_brian.simulation.plan import SimulationPlan
from alade_brian.spec import NetworkSpec
from alade_brian.spec.parts import Parts
from alade_brian.spikes.packed import PackedResponses

EVENT_BYTES = 8


class GrowingProgram:
    """The parts of a network as one engine. `compiled` says whether a compiler had to run for any of them.

    plan      of the whole network
    program   gives a part's program, found or built
    """

    own_process = True

    def __init__(self, plan: SimulationPlan, parts: Parts, program: Callable[[NetworkSpec], StreamedProgram]) -> None:
        spec = self.spec = plan.spec
        self.extractors = [Extractor(program(e), plan, _numbers(spec, e)) for e in parts.extractors]
        self.head, self.numbers = program(parts.head), _numbers(spec, parts.head)
        self.feeds = [s.name for s in parts.head.stimuli]
        self.compiled = self.head.compiled or any(e.program.compiled for e in self.extractors)
        self.bytes_per_image = self.head.bytes_per_image + sum(e.program.bytes_per_image for e in self.extractors)

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        """See `Engine`."""
        for block in blocks:
            keys = keys_of(block)
            bits: dict[str, np.ndarray] = {}
            events = np.zeros((len(block), len(self.spec.projections)), np.int64)
            for extractor in self.extractors:
                found, events[:, extractor.numbers] = extractor.answers(block, keys)
                bits |= found
            shown = np.concatenate([bits[name].reshape(len(block), -1) for name in self.feeds], axis=1)
            (answer,) = self.head.stream([shown], record)
            yield self._together(bits, events, answer, record)

    def _together(
        self, bits: dict[str, np.ndarray], events: np.ndarray, answer: PackedResponses, record: bool
    ) -> PackedResponses:
        assert answer.events is not None
        events[:, self.numbers] = answer.events
        found = bits | dict(answer.spikes)
        spikes = {p.name: found[p.name] for p in self.spec.spiking} if record else {}
        shapes = {p.name: p.shape for p in self.spec.spiking}
        return PackedResponses(spikes, shapes, answer.logits, {}, events)


class Extractor:
    """An extractor's program, and what it answered before, where that is kept; `numbers` of its projections within the
    whole network."""

    def __init__(self, program: StreamedProgram, plan: SimulationPlan, numbers: list[int]) -> None:
        self.spec, self.program, self.numbers = program.spec, program, numbers
        self.sizes = {p.name: p.shape for p in self.spec.spiking}
        self.kept = self._kept(plan.cache / "answers") if plan.keep_answers else None

    def answers(self, block: np.ndarray, keys: list[Key]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Packed spikes by population, and synaptic events ``(n, projections of the extractor)``, of images
        ``(n, rows, pixels)`` with these keys."""
        known = {} if self.kept is None else self.kept.load(keys)
        unknown = {key: number for number, key in enumerate(keys) if key not in known}
        if unknown:
            (found,) = self.program.stream([block[list(unknown.values())]])
            fresh = dict(zip(unknown, self._records(found), strict=True))
            if self.kept is not None:
                self.kept.keep(fresh)
            known |= fresh
        else:
            # The program's process ends when nothing is left to ask it: extractors that are known need none.
            self.program.close()
        return self._unfold(np.stack([known[key] for key in keys]))

    def _kept(self, folder: Path) -> KeptAnswers:
        name = digest(self.spec, np.dtype(self.program.dtype).name, f"{self.program.kind} {generator_digest()}")
        return KeptAnswers(folder / name, self.program.recorded_bytes + EVENT_BYTES * len(self.numbers))

    def _records(self, found: PackedResponses) -> np.ndarray:
        assert found.events is not None
        parts = [found.spikes[name].reshape(len(found.events), -1) for name in self.sizes]
        return np.concatenate([*parts, found.events.view(np.uint8)], axis=1)

    def _unfold(self, records: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        bits, start = {}, 0
        for name in self.sizes:
            stop = start + self.spec.steps * self.program.row_bytes(name)
            bits[name] = records[:, start:stop].reshape(len(records), self.spec.steps, -1)
            start = stop
        return bits, np.ascontiguousarray(records[:, start:]).view(np.int64)


def _numbers(spec: NetworkSpec, part: NetworkSpec) -> list[int]:
    """The numbers of a part's projections within the whole network: a part has all that lead to its populations."""
    own = {p.name for p in part.populations}
    return [number for number, p in enumerate(spec.projections) if p.target in own]
