"""`benchmark.py build`: from a network to its first answer, when its structure is new and when only its weights are.

Against the network with a list of synapses, compiled by Brian2 in separate passes. The cache is empty at each first
build.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.conversion.spec import NetworkSpec
from alade_brian.files import write_json
from alade_brian.simulation import SimulationSettings, open_simulator
from benchmarks.machine import machine
from benchmarks.network import DESCRIPTION, calibrated, random_images, specification
from benchmarks.reporting import add_options, check_options

WAYS = {
    "shared, fused": {"connectivity": "shared", "passes": "fused"},
    "shared, separate": {"connectivity": "shared", "passes": "separate"},
    "explicit": {"connectivity": "explicit"},
}


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
            with tempfile.TemporaryDirectory(prefix="alade_brian_") as cache:
                settings = SimulationSettings(cache=Path(cache), **chosen)
                rounds[way].append([_first_answer(spec, settings, images[:1]) for spec in (old, new)])
    found = {
        way: {"first": statistics.median(r[0] for r in both), "new weights": statistics.median(r[1] for r in both)}
        for way, both in rounds.items()
    }
    first = [a[0] / b[0] for a, b in zip(rounds["shared, fused"], rounds["explicit"], strict=True)]
    result: dict[str, Any] = {
        "format": 1, "machine": machine(), "network": DESCRIPTION, "seconds": found, "rounds": rounds,
        "ratio_first_fused_to_explicit": statistics.median(first),
    }  # fmt: skip
    for way, seconds in found.items():
        print(f"{way:<18} first build {seconds['first']:6.2f} s   new weights {seconds['new weights']:6.2f} s")
    print(f"first build, fused against explicit: x {result['ratio_first_fused_to_explicit']:.2f}")
    if arguments.json:
        write_json(arguments.json, result)
    return 0


def _first_answer(spec: NetworkSpec, settings: SimulationSettings, images: np.ndarray) -> float:
    began = time.perf_counter()
    open_simulator(spec, settings).answers(images)
    return time.perf_counter() - began
