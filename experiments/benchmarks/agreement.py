"""`benchmark.py agreement`: every spike of a data set's test images in PyTorch and in Brian2, and the time of both.

The network is the one of `engine`, in float64. PyTorch's own evaluation is its fastest eager way to the logits alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alade_brian.benchmarks.machine import cores, machine
from alade_brian.benchmarks.network import DESCRIPTION, SIZE, PlainNetwork, calibrated, model, specification
from alade_brian.benchmarks.reporting import add_options, check_options
from alade_brian.commands.options import DATA_ROOT, DATASET, IMAGES, rate
from alade_brian.data import load_dataset
from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.simulation import SimulationSettings, open_simulator
from alade_brian.verification.verify import verify

BATCH = 64


def command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add this command's options; what runs it."""
    add_options(parser, rounds=1)
    parser.add_argument("--rate", type=rate, default=0.05, metavar="R", help="firing rate (default: 0.05)")
    IMAGES.add(parser, "of the test images; default: all")
    DATASET.add(parser, "whose test images", default="fashion-mnist", choices=("fashion-mnist",))
    DATA_ROOT.add(parser)
    return main


def main(arguments: argparse.Namespace) -> int:
    """Compare and measure; 0 where every spike agrees and some fired, else 1."""
    check_options(arguments.json, arguments.rounds)
    if arguments.images is not None and arguments.images < 1:
        raise UserError(f"--images {arguments.images}: use at least 1")
    data_root = None if arguments.data_root is None else Path(arguments.data_root)
    images = load_dataset(arguments.dataset, data_root).test_images[: arguments.images]
    images = images.astype(np.float64).reshape(-1, 1, SIZE, SIZE)
    weights = calibrated(arguments.rate, images, arguments.seed)
    settings = SimulationSettings(workers=cores())
    simulator = open_simulator(specification(weights), settings)
    network, shown = PlainNetwork(weights), torch.from_numpy(images)
    times: dict[str, list[float]] = {"torch": [], "brian2": []}
    for _ in range(arguments.rounds):
        times["torch"].append(_seconds(lambda: [_logits(network, part) for part in shown.split(BATCH)]))
        times["brian2"].append(_seconds(lambda: simulator.answers(images)))
    began = time.perf_counter()
    found = verify(model(weights), images, specification(weights), settings)
    whole = time.perf_counter() - began
    print(found)
    seconds = {name: float(np.median(values)) for name, values in times.items()} | {"verification": whole}
    result: dict[str, Any] = {
        "format": 1, "machine": machine(), "network": DESCRIPTION, "rate": arguments.rate, "images": len(images),
        "entries": found.spikes_compared, "mismatched": found.mismatched_spikes, "seconds": seconds,
        "logit_max_abs_difference": found.logit_max_abs_difference,
    }  # fmt: skip
    print(
        f"PyTorch's evaluation {seconds['torch']:.1f} s, Brian2's {seconds['brian2']:.1f} s, the verification with all "
        f"spikes of both {whole:.1f} s"
    )
    if arguments.json:
        write_json(arguments.json, result)
    return 0 if found.agrees else 1


@torch.inference_mode()
def _logits(network: PlainNetwork, part: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = network(part)
    return answer


def _seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
