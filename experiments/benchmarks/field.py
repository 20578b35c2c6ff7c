"""Who competes in `benchmark.py engine`, made ready for one firing rate after the other, and checked: the speed of a
program that answers something else is no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.benchmarks import limit, tensors
from alade_brian.benchmarks.network import Weights, reference, specification
from alade_brian.benchmarks.rounds import Competitor, first_line, log
from alade_brian.benchmarks.simulators import FIRST_IMAGES, SimulatorRunner, settings

TORCH = ("torch_eager", "torch_compile", "torch_eager_float64", "torch_compile_float64")
LIMITS = ("limit_float32", "limit_float64")
SHARED = ("shared_float32", "shared_float64")
EXPLICIT = ("explicit", "explicit_float32")
NAMES = (*TORCH, *LIMITS, *SHARED, *EXPLICIT)

Run = Callable[[float], float]


def dtype_of(name: str) -> str:
    """A competitor's type: what its name says; without a word, float32 for PyTorch and float64 for `explicit`."""
    said = name.rpartition("_")[2]
    return said if said.startswith("float") else "float64" if name == "explicit" else "float32"


def process_counts(name: str, cores: int) -> tuple[int | None, ...]:
    """The numbers of processes with which a competitor is measured; None where that is no question."""
    return tuple(sorted({1, 2, cores})) if name in SHARED else (None,)


class Competitors:
    """Everything that lasts from one firing rate to the next.

    images    float64 ``(n, 1, 28, 28)``
    scratch   a folder for the limit program and its numbers
    seconds   of one competitor in one round; the search for PyTorch's best way takes as long or less per way
    searches  what was found for PyTorch, by competitor
    """

    def __init__(self, images: np.ndarray, scratch: Path, cores: int, seconds: float) -> None:
        self.images, self.scratch, self.cores, self.seconds = images, scratch, cores, seconds
        self.searches: dict[str, Any] = {}
        self._runners: dict[str, tensors.TorchRunner | None] = {}
        self._program: Path | None = None

    def ready(self, names: tuple[str, ...], weights: Weights) -> tuple[list[Competitor], dict[str, Any]]:
        """The competitors that run this network and answer right, and what their check found."""
        spikes, logits = reference(weights, self.images)
        competitors, checks = [], {}
        for name in names:
            for processes in process_counts(name, self.cores):
                label = Competitor(name, processes, _nothing).label
                log.info("preparing %s", label)
                try:
                    run, checks[label] = self._one(name, processes, weights, spikes, logits)
                except Exception as error:  # one that cannot run must not cost the others' results
                    log.warning("%s is left out: %s", label, first_line(error))
                    continue
                competitors.append(Competitor(name, processes, run))
        return competitors, checks

    def _one(
        self, name: str, processes: int | None, weights: Weights, spikes: list[int], logits: np.ndarray
    ) -> tuple[Run, dict[str, Any]]:
        dtype = dtype_of(name)
        if name in LIMITS:
            self._program = self._program or limit.compile_limit(self.scratch)
            program = limit.prepare(self._program, weights, self.images, dtype, self.scratch)
            return lambda seconds: program.run(seconds)["images_per_second"], limit.check(program, spikes)
        if name in TORCH:
            runner = self._torch(name, weights)
            return runner.run, agreement(runner.answers(runner.parts[0]).numpy(), logits, dtype)
        connectivity = "shared" if name in SHARED else "explicit"
        simulator = SimulatorRunner(specification(weights), settings(connectivity, dtype, processes or 1), self.images)
        return simulator.run, agreement(simulator.logits, logits, dtype)

    def _torch(self, name: str, weights: Weights) -> tensors.TorchRunner:
        """PyTorch in its best way, which is searched when it is first asked for."""
        if name not in self._runners:
            self._runners[name] = None
            way, tried = tensors.best(self._ways(name), weights, self.images, self.seconds)
            self.searches[name] = {"best": asdict(way), "tried": tried}
            self._runners[name] = tensors.TorchRunner(way, weights, self.images)
        runner = self._runners[name]
        if runner is None:
            raise RuntimeError("PyTorch ran in none of the ways tried")
        runner.set_weights(weights)
        return runner

    def _ways(self, name: str) -> Iterator[tensors.Way]:
        dtype = dtype_of(name)
        if "compile" not in name:
            yield from tensors.eager_ways(dtype, self.cores)
        elif dtype == "float64" and "torch_compile" in self.searches:
            # Compiling takes long: float64 is compiled in the way that was best in float32.
            yield tensors.Way(**{**self.searches["torch_compile"]["best"], "dtype": dtype})
        else:
            yield from tensors.compiled_ways(dtype, self.cores)


def _nothing(seconds: float) -> float:
    return 0.0


def agreement(found: np.ndarray, expected: np.ndarray, dtype: str) -> dict[str, Any]:
    """How far the answers to the first images lie from PyTorch's in float64; RuntimeError where it is another network.

    In float32 single spikes differ now and then, and with them an image's logits; most images agree closely.
    """
    count = min(len(found), FIRST_IMAGES)
    apart = np.abs(found[:count] - expected[:count]).max(1)
    if (dtype == "float64" and apart.max() > 1e-9) or np.median(apart) > 1e-3:
        raise RuntimeError(f"its logits in {dtype} differ from PyTorch's by up to {apart.max():.3g}")
    return {"images": count, "logit_max_abs_difference": float(apart.max())}
