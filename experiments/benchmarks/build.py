"""`benchmark.py build`: from a network to its first answer, when its structure is new and when only its weights are.

Against the network with a list of synapses in Brian2's own passes, compiled as one file as everything here is, and as
Brian2 compiles it: its forty files by its makefile, as many at once as there are cores. The cache is empty at each
first build.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.benchmarks.machine import cores, machine
from alade_brian.benchmarks.network import DESCRIPTION, calibrated, random_images, specification
from alade_brian.benchmarks.reporting import add_options, check_options
from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.machine import compiler
from alade_brian.simulation import SimulationSettings, open_simulator
from alade_brian.simulation.cache import builds
from alade_brian.spec import NetworkSpec

WAYS: dict[str, dict[str, Any]] = {
    "shared, fused": {"connectivity": "shared", "passes": "fused"},
    "shared, separate": {"connectivity": "shared", "passes": "separate"},
    "explicit": {"connectivity": "explicit"},
    "explicit, makefile": {"connectivity": "explicit"},
}
FUSED, EXPLICIT, BRIAN2 = "shared, fused", "explicit", "explicit, makefile"


def command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add this command's options; what runs it."""
    add_options(parser, rounds=3)
    return main


def main(arguments: argparse.Namespace) -> int:
    """Measure; the exit code."""
    check_options(arguments.json, arguments.rounds)
    images = random_images(16, arguments.seed)
    old, new = (specification(calibrated(0.1, images, arguments.seed + k)) for k in (0, 1))
    rounds: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way, chosen in WAYS.items():
            with tempfile.TemporaryDirectory(prefix="alade_brian_") as cache, _compiling(way == BRIAN2):
                settings = SimulationSettings(cache=Path(cache), **chosen)
                rounds[way].append([_first_answer(spec, settings, images[:1]) for spec in (old, new)])
    found = {
        way: {"first": statistics.median(r[0] for r in both), "new weights": statistics.median(r[1] for r in both)}
        for way, both in rounds.items()
    }
    ratios = {other: _ratio(rounds[FUSED], rounds[other]) for other in (EXPLICIT, BRIAN2)}
    result: dict[str, Any] = {
        "format": 1, "machine": machine(), "network": DESCRIPTION, "seconds": found, "rounds": rounds,
        "ratio_first_fused_to_explicit": ratios[EXPLICIT], "ratio_first_fused_to_brian2": ratios[BRIAN2],
    }  # fmt: skip
    for way, seconds in found.items():
        print(f"{way:<18} first build {seconds['first']:6.2f} s   new weights {seconds['new weights']:6.2f} s")
    for other, ratio in ratios.items():
        print(f"first build, fused against {other}: x {ratio:.2f}")
    if arguments.json:
        write_json(arguments.json, result)
    return 0


def _ratio(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """Of first builds; both of a round ran in the same minute."""
    return statistics.median(a[0] / b[0] for a, b in zip(ours, theirs, strict=True))


@contextmanager
def _compiling(by_makefile: bool) -> Iterator[None]:
    """Meanwhile projects are compiled as Brian2 does it, or as always."""
    usual = builds.compile_program
    builds.compile_program = _make if by_makefile else usual
    try:
        yield
    finally:
        builds.compile_program = usual


def _make(folder: Path, flags: Sequence[str] = ()) -> None:
    if not shutil.which("make"):
        raise UserError("Brian2's own way of compiling needs make, and it was not found; install it")
    command = ["make", f"-j{cores()}", f"CXX={compiler()}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"make failed on Brian2's project: {done.stderr.strip()[-300:]}")


def _first_answer(spec: NetworkSpec, settings: SimulationSettings, images: np.ndarray) -> float:
    began = time.perf_counter()
    open_simulator(spec, settings).answers(images)
    return time.perf_counter() - began
