"""`benchmark.py engine`: the event-driven engine against PyTorch, against synapse by synapse, and against the limit.

All run the same calibrated network on the same images. PyTorch and the engine begin with the image, the limit program
with the current of the first layer; reading images from memory counts, building and compiling do not.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.benchmarks.field import EXPLICIT, LIMITS, NAMES, SHARED, Competitors, process_counts
from alade_brian.benchmarks.figure import write_figure
from alade_brian.benchmarks.machine import cores, machine
from alade_brian.benchmarks.network import (
    CALIBRATION_IMAGES,
    DESCRIPTION,
    HIGHEST_RATE,
    SIZE,
    calibrated,
    random_images,
)
from alade_brian.benchmarks.ratios import crossings, ratios
from alade_brian.benchmarks.reporting import add_options, check_folder, progress_shown
from alade_brian.benchmarks.rounds import Competitor, log, measure, summary
from alade_brian.commands import options
from alade_brian.commands.options import DATA_ROOT, DATASET, FIGURE, IMAGES, SECONDS
from alade_brian.data import load_dataset
from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.outputs import check_new_file

RATES = (0.02, 0.05, 0.10, 0.18)


def command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add this command's options; what runs it."""
    add_options(parser, rounds=5)
    FIGURE.add(parser, "and FILE.svg beside it")
    options.RATES.add(parser, default=list(RATES))
    parser.add_argument(
        "--explicit-rates",
        type=options.rate,
        nargs="*",
        metavar="R",
        help="rates at which 'explicit', which is slow, is measured too (default: the highest)",
    )
    SECONDS.add(parser, "a turn", default=2.0)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=NAMES,
        default=list(NAMES),
        metavar="NAME",
        help=f"some of the competitors: {', '.join(NAMES)}",
    )
    IMAGES.add(parser, "all different", default=256)
    DATASET.add(
        parser, "random: normally distributed pixels", choices=("random", "fashion-mnist"), default="random",
    )  # fmt: skip
    DATA_ROOT.add(parser)
    return main


def main(arguments: argparse.Namespace) -> int:
    """Measure, rate by rate; the file is renewed after each, so that a stopped run keeps what it has."""
    _check(arguments)
    images = _images(arguments)
    result: dict[str, Any] = {"format": 1, "machine": machine(), "network": DESCRIPTION, **_settings(arguments)}
    with progress_shown() as warnings, tempfile.TemporaryDirectory(prefix="alade_brian_") as scratch:
        field = Competitors(images, Path(scratch), cores(), arguments.seconds)
        result |= {"rates": {}, "crossings": {}, "torch": field.searches, "warnings": warnings}
        for rate in sorted(set(arguments.rates)):
            key = rate_key(rate)
            result["rates"][key] = row = _measure(field, rate, arguments)
            result["crossings"] = crossings(result["rates"], field.cores)
            print(_table(key, row), flush=True)
            if arguments.json:
                write_json(arguments.json, result)
    if arguments.figure:
        write_figure(result, arguments.figure)
    for name, rate in result["crossings"].items():
        if rate is not None:
            print(f"events beat {name} below a firing rate of {rate:.3f}")
    return 0


def _measure(field: Competitors, rate: float, arguments: argparse.Namespace) -> dict[str, Any]:
    log.info("firing rate %g", rate)
    explicit = [max(arguments.rates)] if arguments.explicit_rates is None else arguments.explicit_rates
    names = tuple(name for name in arguments.only if name not in EXPLICIT or rate in explicit)
    weights = calibrated(rate, field.images, arguments.seed)
    competitors, checks = field.ready(names, weights)
    competitors += [twice(c) for c in competitors if c.name in LIMITS]
    speeds = measure(competitors, arguments.rounds, arguments.seconds)
    found = table_row(competitors, speeds, field.cores)
    return {
        **found, **ratios(found["images_per_second"], field.cores), **doubled(competitors, speeds),
        "layer_rates": weights.rates, "checks": checks,
    }  # fmt: skip


def twice(competitor: Competitor) -> Competitor:
    """Two of a competitor that is one process, at the same time: what a machine makes of a second core."""

    def run(seconds: float) -> float:
        with ThreadPoolExecutor(2) as both:
            return sum(both.map(competitor.run, [seconds] * 2))

    return Competitor(competitor.name, 2, run)


def doubled(competitors: Sequence[Competitor], speeds: Sequence[Sequence[float]]) -> dict[str, float | None]:
    """By limit program, how much faster two of them at once are than one: no simulation can gain more."""
    found = {(c.name, c.processes): summary(s)[0] for c, s in zip(competitors, speeds, strict=True)}
    both = {name: (found.get((name, 2)), found.get((name, None))) for name in LIMITS}
    return {f"ratio_two_{name}": two / one if one and two else None for name, (two, one) in both.items()}


def table_row(competitors: Sequence[Competitor], speeds: Sequence[Sequence[float]], cores: int) -> dict[str, Any]:
    """`images_per_second` and `range` (least and greatest of the rounds) of all; None where nothing was."""
    found = {(c.name, c.processes): summary(s) for c, s in zip(competitors, speeds, strict=True)}

    def column(place: int) -> dict[str, Any]:
        def of(name: str, processes: int | None) -> Any:
            return found.get((name, processes), (None, None))[place]

        return {
            name: {str(n): of(name, n) for n in process_counts(name, cores)} if name in SHARED else of(name, None)
            for name in NAMES
        }

    return {"images_per_second": column(0), "range": column(1)}


def rate_key(rate: float) -> str:
    """A rate with at least two decimals: 0.10, 0.005."""
    return f"{rate:.2f}" if round(rate, 2) == rate else f"{rate:.10f}".rstrip("0")


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    kept = ("rounds", "seconds", "images", "dataset", "seed")
    return {"settings": {name: getattr(arguments, name) for name in kept}}


def _check(arguments: argparse.Namespace) -> None:
    """UserError before anything takes time."""
    for rate in [*arguments.rates, *(arguments.explicit_rates or [])]:
        if not 0 < rate <= HIGHEST_RATE:
            raise UserError(f"a firing rate of {rate:g}: use more than 0 and at most {HIGHEST_RATE}")
    if arguments.rounds < 1:
        raise UserError(f"{arguments.rounds} rounds: use at least 1")
    if not 0 < arguments.seconds < float("inf"):
        raise UserError(f"turns of {arguments.seconds:g} s: use a positive number")
    if arguments.images < CALIBRATION_IMAGES:
        raise UserError(f"{arguments.images} images: use at least {CALIBRATION_IMAGES}, with which rates are set")
    if arguments.figure and arguments.figure.suffix != ".png":
        raise UserError(f"the figure {arguments.figure} is no .png file; give it that ending")
    picture = arguments.figure and arguments.figure.with_suffix(".svg")
    for option, file in (("--json", arguments.json), ("--figure", arguments.figure), ("--figure", picture)):
        check_new_file(file, option)
        if file:
            check_folder(file.parent)


def _images(arguments: argparse.Namespace) -> np.ndarray:
    if arguments.dataset == "random":
        return random_images(arguments.images, arguments.seed)
    data_root = None if arguments.data_root is None else Path(arguments.data_root)
    images = load_dataset(arguments.dataset, data_root).test_images[: arguments.images]
    return images.astype(np.float64).reshape(-1, 1, SIZE, SIZE)


def _table(key: str, row: Mapping[str, Any]) -> str:
    """What was found at one rate, for reading."""
    lines = [f"firing rate {key}"]
    for name, found in row["images_per_second"].items():
        for end, value in found.items() if isinstance(found, Mapping) else [("", found)]:
            if value is not None:
                lines.append(f"  {name + (f' x {end}' if end else ''):<24}{value:10,.0f} images/s")
    lines += [f"  {name:<36}{value:10.2f}" for name, value in row.items() if name.startswith("ratio") and value]
    return "\n".join(lines)
