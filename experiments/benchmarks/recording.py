"""`benchmark.py recording`: what it costs to record every spike of every layer and to compare it, in throughput.

The answers alone, against the answers with all spikes, packed, each held against the packed spikes of another run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from alade_brian.benchmarks.machine import cores, machine
from alade_brian.benchmarks.network import DESCRIPTION, calibrated, random_images, specification
from alade_brian.benchmarks.reporting import add_options, check_options, progress_shown
from alade_brian.benchmarks.rounds import Competitor, measure, summary, timed
from alade_brian.commands import options
from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.simulation import SimulationSettings, Simulator, open_simulator
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.packed import PackedResponses
from alade_brian.verification.comparison import Comparison

RATES = (0.02, 0.05, 0.18)
IMAGES = 1024


def command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add this command's options; what runs it."""
    add_options(parser, rounds=5)
    options.RATES.add(parser, default=list(RATES))
    options.SECONDS.add(parser, "a turn", default=2.0)
    return main


def main(arguments: argparse.Namespace) -> int:
    """Measure; the exit code."""
    check_options(arguments.json, arguments.rounds)
    images = random_images(IMAGES, arguments.seed)
    result: dict[str, Any] = {"format": 1, "machine": machine(), "network": DESCRIPTION, "rates": {}}
    with progress_shown():
        for rate in arguments.rates:
            spec = specification(calibrated(rate, images, arguments.seed))
            for dtype in ("float64", "float32"):
                for workers in sorted({1, cores()}):
                    found = _measure(spec, images, SimulationSettings(dtype=dtype, workers=workers), arguments)
                    result["rates"].setdefault(f"{rate:g}", {}).setdefault(dtype, {})[str(workers)] = found
                    print(
                        f"rate {rate:g}, {dtype}, {workers} process(es): {found['answers']:,.0f} images/s, "
                        f"{found['recorded']:,.0f} recorded and compared: x {found['ratio']:.2f}",
                        flush=True,
                    )
    if arguments.json:
        write_json(arguments.json, result)
    return 0


def _measure(
    spec: NetworkSpec, images: np.ndarray, settings: SimulationSettings, arguments: argparse.Namespace
) -> dict[str, Any]:
    simulator = open_simulator(spec, settings)
    expected = [found for _, found in simulator.packed_chunks(images)]

    def answer() -> int:
        return len(simulator.answers(images))

    def record() -> int:
        return _compared(spec, simulator, images, expected)

    competitors = [
        Competitor(name, None, lambda seconds, step=step: timed(step, seconds))  # type: ignore[misc]
        for name, step in (("answers", answer), ("recorded", record))
    ]
    speeds = measure(competitors, arguments.rounds, arguments.seconds)
    (answers, _), (recorded, _) = summary(speeds[0]), summary(speeds[1])
    assert answers is not None and recorded is not None
    # Both of a round ran in the same seconds.
    ratio = float(np.median([b / a for a, b in zip(*speeds, strict=True)]))
    return {"answers": answers, "recorded": recorded, "ratio": ratio, "rounds": speeds}


def _compared(spec: NetworkSpec, simulator: Simulator, images: np.ndarray, expected: list[PackedResponses]) -> int:
    """Every spike of another run of the same images, compared; how many images."""
    comparison = Comparison(spec, "another run")
    for (_, found), wanted in zip(simulator.packed_chunks(images), expected, strict=True):
        comparison.add(wanted, found)
    result = comparison.finish()
    if not result.agrees:
        raise UserError(f"two runs of one network do not agree: {result}")
    return len(images)
