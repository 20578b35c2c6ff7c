"""The compiled network with shared kernels as a process: images go in on one pipe, packed spikes come out on another.

The program stays alive between runs; memory does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from queue import Queue
from types import MappingProxyType
from typing import Any

import brian2 as b2
import numpy as np

from alade_brian.simulation.cache.builds import (
    Arrays,
    Build,
    find_or_build,
    settable_arrays,
    standalone_project,
    toolchain,
)
from alade_brian.simulation.cache.structure import anonymous, structure_key
from alade_brian.simulation.fused.layer import FusedLayer
from alade_brian.simulation.fused.network import FusedNetwork, build_fused, fused_values, gathered, rows_of
from alade_brian.simulation.fused.process import BLOCKS_AHEAD, Process, answers_to, counted
from alade_brian.simulation.gather import channels_last
from alade_brian.simulation.preferences import float_type
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.packed import PackedResponses, pack, unpack
from alade_brian.spikes.responses import read_out

# What the generated code of a fused network includes.
HEADERS = "shared_kernels.h", "streams.h"


class StreamedProgram:
    """A compiled network that answers to images. `compiled` says whether a compiler had to run for it.

    build     the program's folder, the arrays that it reads, and whether a compiler had to run
    numbers   the network's, which the program reads when it starts
    options   further numbers that it takes
    kind      what of the machine computes, and
    process   how it runs there
    """

    own_process = True
    kind = "processor"
    process: type[Process] = Process

    def __init__(
        self,
        spec: NetworkSpec,
        batch: int,
        dtype: str,
        traces: Sequence[str],
        build: Build,
        numbers: dict[str, np.ndarray],
        options: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.spec, self.batch, self.dtype, self.traces = spec, batch, float_type(dtype), tuple(traces)
        self.folder, notes, self.compiled = build
        self._arrays: Arrays = notes["arrays"]
        self._numbers, self._options = numbers, options
        self._answer = _Answer(spec, batch, self.dtype, self.traces)
        self._process: Process | None = None

    @property
    def bytes_per_image(self) -> int:
        """Size of an image's answer with all spikes."""
        return max(1, self._answer.size(record=True) // self.batch)

    @property
    def recorded_bytes(self) -> int:
        """Size of an image's packed spikes."""
        return self.spec.steps * sum(self._answer.bits.values())

    def row_bytes(self, name: str) -> int:
        """Bytes of a population's spikes in one step."""
        return self._answer.bits[name]

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        """Answers to blocks of images, each ``(n, rows, pixels)``, one for each block, while later ones are simulated.

        Where the stimuli are spikes, a block may also be packed, uint8 ``(n, bytes)``: stimulus by stimulus as in
        packed.py.

        record   whether the spikes are wanted, or the readout's answer alone
        """
        process, counts = self._started(record), Queue[int | BaseException | None](BLOCKS_AHEAD)
        size = self._answer.size(record)
        process.feed(self._presentations(block) for block in counted(blocks, counts))

        def answer(images: int) -> PackedResponses:
            raw = process.read(-(-images // self.batch) * size).reshape(-1, size)
            return self._answer.decode(raw, images, record)

        yield from answers_to(counts, answer, self.close)

    def close(self) -> None:
        """End the process; it is started anew when it is needed."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _started(self, record: bool) -> Process:
        options = {**self._options, "images.record": int(record)}
        if self._process is None or self._process.options != options or not self._process.alive:
            self.close()
            self._process = self.process(self.folder, self._numbers, options, self._arrays)
        return self._process

    def _presentations(self, block: np.ndarray) -> np.ndarray:
        """Whole presentations of `batch` images, in the order and type of the program."""
        whole = block if block.dtype == np.uint8 else self._ordered(block)
        missing = -len(whole) % self.batch
        if missing:
            whole = np.concatenate([whole, np.zeros((missing, *whole.shape[1:]), whole.dtype)])
        return np.ascontiguousarray(whole)

    def _ordered(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels ``(n, rows, pixels)`` with the channel last; of spikes their bits, uint8 ``(n, bytes)``."""
        ends = np.cumsum([s.size for s in self.spec.stimuli])[:-1]
        parts = zip(self.spec.stimuli, np.split(pixels, ends, axis=2), strict=True)
        if self.spec.stimulus.coding == "spikes":
            return np.concatenate([pack(part != 0, s.shape).reshape(len(part), -1) for s, part in parts], axis=1)
        rows = [channels_last(part, s.shape).reshape(part.shape) for s, part in parts]
        return np.concatenate(rows, axis=2).astype(self.dtype, copy=False)


class FusedProgram(StreamedProgram):
    """The program of a network for the processor."""

    def __init__(self, spec: NetworkSpec, batch: int, dtype: str, cache: Path, traces: Sequence[str] = ()) -> None:
        plain, own, names = traced(spec, traces)
        key = structure_key(plain, batch, dtype=dtype, traces=list(names), kind="fused", **toolchain())

        def generate(folder: Path) -> dict[str, Any]:
            return write_project(
                plain, float_type(dtype), folder, HEADERS, lambda: build_fused(plain, batch, names), _loop
            )

        build = find_or_build(cache, key, generate)
        super().__init__(spec, batch, dtype, own, build, fused_values(spec, batch, float_type(dtype)))


def traced(spec: NetworkSpec, traces: Sequence[str]) -> tuple[NetworkSpec, tuple[str, ...], tuple[str, ...]]:
    """The specification with names that tell places only, and the populations of `traces` by their names in both."""
    plain, renamed = anonymous(spec)
    own = tuple(p.name for p in spec.populations if p.name in traces)
    return plain, own, tuple(renamed[name] for name in own)


class _Answer:
    """How a presentation's answer is laid out: spikes, membranes, events."""

    def __init__(self, spec: NetworkSpec, batch: int, dtype: type, traces: Sequence[str]) -> None:
        self.spec, self.batch, self.dtype, self.traces = spec, batch, np.dtype(dtype), traces
        self.bits = {p.name: rows_of(p, batch).pixels * rows_of(p, batch).row_bytes for p in spec.spiking}
        # By population that counts events: the numbers of the projections that they came through, in its order.
        came = {p.name: [number for number, _ in gathered(spec, p.name)] for p in spec.populations}
        self.events = {name: numbers for name, numbers in came.items() if numbers}

    def _parts(self, record: bool) -> list[tuple[str, str, np.dtype[Any], int]]:
        """Kind, population, type and numbers per image of every part."""
        spec, answering = self.spec, self.spec.readout.population
        shown = [n for n in self.bits if record or (spec.answers_in_spikes and n == answering)]
        parts: list[tuple[str, str, np.dtype[Any], int]]
        parts = [("bits", name, np.dtype(np.uint8), spec.steps * self.bits[name]) for name in shown]
        if not spec.answers_in_spikes:
            parts.append(("answers", answering, self.dtype, spec.steps * prod(spec.shape(answering))))
        parts += [("trace", name, self.dtype, spec.steps * prod(spec.shape(name))) for name in self.traces]
        return [*parts, *(("events", name, np.dtype(np.int64), len(came)) for name, came in self.events.items())]

    def size(self, record: bool) -> int:
        """Bytes of one presentation."""
        return sum(dtype.itemsize * numbers for _, _, dtype, numbers in self._parts(record)) * self.batch

    def decode(self, raw: np.ndarray, images: int, record: bool) -> PackedResponses:
        """Answers from the bytes of whole presentations, uint8 ``(presentations, bytes)``."""
        spec, found, start = self.spec, {}, 0
        for kind, name, dtype, numbers in self._parts(record):
            stop = start + dtype.itemsize * numbers * self.batch
            part = np.ascontiguousarray(raw[:, start:stop]).view(dtype)
            found[kind, name] = part.reshape(-1, numbers)[:images]
            start = stop
        bits = {n: v.reshape(images, spec.steps, -1) for (kind, n), v in found.items() if kind == "bits"}
        traces = {name: self._membranes(found["trace", name], name) for name in self.traces}
        events = np.zeros((images, len(spec.projections)), np.int64)
        for name, came in self.events.items():
            events[:, came] = found["events", name]
        logits = read_out(spec.readout, self._values(found, bits))
        shapes = {name: spec.shape(name) for name in bits}
        if not record:
            bits = {}
        return PackedResponses(bits, shapes, logits, traces, events)

    def _values(self, found: dict[tuple[str, str], np.ndarray], bits: dict[str, np.ndarray]) -> np.ndarray:
        """What the readout reads: membranes, or spikes times their amplitude."""
        name = self.spec.readout.population
        if not self.spec.answers_in_spikes:
            return self._membranes(found["answers", name], name)
        return unpack(bits[name], self.spec.shape(name)) * self.spec.population(name).amplitude.ravel()

    def _membranes(self, values: np.ndarray, name: str) -> np.ndarray:
        """Values in the order of the specification, float64 ``(images, steps, neurons)``."""
        shape = self.spec.shape(name)
        rows = values.reshape(len(values), self.spec.steps, -1, shape[0])
        return rows.swapaxes(-1, -2).reshape(len(values), self.spec.steps, -1).astype(np.float64)


def write_project(
    spec: NetworkSpec,
    dtype: type,
    folder: Path,
    headers: Sequence[str],
    build: Callable[[], FusedNetwork],
    loop: Callable[[NetworkSpec, FusedNetwork], tuple[str, str]],
) -> dict[str, Any]:
    """Let Brian2 write the C++ project of a network; returns notes about it.

    build   makes the network
    loop    C++ before and behind a presentation's run
    """
    with standalone_project(folder, dtype, headers):
        built = build()
        before, after = loop(spec, built)
        # Numbers are read once, not with every presentation.
        b2.device.apply_run_args()
        b2.device.insert_code("before_network_run", before)
        b2.device.insert_code("after_network_run", f"{WHOLE_RUN}\n{after}")
        built.network.run(spec.steps * spec.dt * b2.second, namespace={})
        b2.device.build(directory=str(folder), compile=False, run=False)
        return {"arrays": settable_arrays()}


def answered(spec: NetworkSpec, built: FusedNetwork) -> list[tuple[FusedLayer, str, str]]:
    """The arrays of an answer in the order of `_Answer`: owner, variable, and a C++ condition, empty for always."""
    layers, recorded = built.layers, f"if (*{pointer(built.images, 'record')}) "
    answering = [spec.readout.population] * spec.answers_in_spikes
    parts = [(layers[p.name], "_bits", "" if p.name in answering else recorded) for p in spec.spiking]
    parts += [(layers[built.answers], "_answers", "")] if built.answers is not None else []
    parts += [(layers[name], "_trace", "") for name in built.traces]
    return parts + [(layer, "_events", "") for layer in eventful(built)]


def eventful(built: FusedNetwork) -> list[FusedLayer]:
    """The layers that spikes arrive at."""
    return [layer for layer in built.layers.values() if layer.template_kwds["inputs"]]


def pointer(owner: Any, variable: str) -> str:
    """The C++ name of an array."""
    return str(b2.device.get_array_name(owner.variables[variable], access_data=False))


def size_of(owner: Any, variable: str) -> str:
    """C++ for the bytes of an array."""
    return f"{owner.variables[variable].size} * sizeof(*{pointer(owner, variable)})"


def _loop(spec: NetworkSpec, built: FusedNetwork) -> tuple[str, str]:
    """Present until there are no more images."""
    images = built.images
    start = [f"while (shared::read_all({pointer(images, 'values')}, {size_of(images, 'values')})) {{"]
    start += [f"{built.network.name}.t = 0;"]
    start += [f"std::memset({pointer(o, '_events')}, 0, {size_of(o, '_events')});" for o in eventful(built)]
    end = [
        f"{condition}shared::write_all({pointer(owner, name)}, {size_of(owner, name)});"
        for owner, name, condition in answered(spec, built)
    ]
    return "\n".join(start), "\n".join([*end, *ENDED])


# A presentation that ended early has no answer.
WHOLE_RUN = """if (Network::_last_run_completed_fraction < 1.0) {
    std::fputs("the run ended before all of its steps were done", stderr);
    std::_Exit(1);
}"""
# Brian2 would now write every array of the network to a file.
ENDED = ("}", "std::fflush(stdout);", "std::_Exit(0);")
