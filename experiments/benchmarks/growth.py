"""`benchmark.py growth`: what it costs per image to verify the tenth task of a growing network, against the second.

Every task brings an extractor and images of its own; all images so far are verified, as in a class-incremental run.
What frozen extractors answered is kept, on both sides. Compiling the head of a task is counted apart.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alade_brian.benchmarks.machine import machine
from alade_brian.benchmarks.memory import Memory
from alade_brian.benchmarks.network import DECAY, SIZE, STEPS, THRESHOLD, random_images
from alade_brian.benchmarks.reporting import add_options, check_options
from alade_brian.commands.options import IMAGES, TASKS
from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.models import ExpandableNetwork, make_backbone
from alade_brian.simulation import SimulationSettings
from alade_brian.verification.verify import verify

CLASSES_PER_TASK = 2


def command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add this command's options; what runs it."""
    add_options(parser, rounds=1)
    TASKS.add(parser, "an extractor each", default=10)
    IMAGES.add(parser, "that a task brings", default=200)
    return main


def main(arguments: argparse.Namespace) -> int:
    """Measure; 0 where every spike agrees and some fired, else 1."""
    check_options(arguments.json, arguments.rounds)
    if arguments.tasks < 2 or arguments.images < 1:
        raise UserError(f"{arguments.tasks} tasks with {arguments.images} images each: use at least 2 with 1")
    with Memory() as memory:
        rounds = [_round(arguments, turn) for turn in range(arguments.rounds)]
    result: dict[str, Any] = {"format": 1, "machine": machine(), "tasks": rounds[0], "rounds": rounds}
    for part in ("simulate", "whole"):
        ratios = [tasks[-1][part] / tasks[1][part] for tasks in rounds]
        result[f"ratio_{part}"] = float(np.median(ratios))
        print(f"per image, {part}: task {arguments.tasks} takes {result[f'ratio_{part}']:.2f} times as long as task 2")
    result |= {"peak_bytes": memory.whole, "peak_bytes_process": memory.process, "peak_parts": memory.parts}
    print(
        f"{arguments.images * arguments.tasks:,} images x {arguments.tasks} extractors: peak memory "
        f"{memory.whole / 2**30:.2f} GiB with simulations and compilers, {memory.process / 2**30:.2f} GiB without "
        f"({', '.join(f'{name} {held / 2**20:,.0f} MiB' for name, held in memory.parts.items())})"
    )
    if arguments.json:
        write_json(arguments.json, result)
    return 0 if all(task["agrees"] for tasks in rounds for task in tasks) else 1


def _round(arguments: argparse.Namespace, turn: int) -> list[dict[str, float]]:
    torch.manual_seed(arguments.seed + turn)
    network = ExpandableNetwork(
        lambda: make_backbone(
            "small",
            (1, SIZE, SIZE),
            channels=(16, 32),
            strides=(1, 2),
            pool=4,
            steps=STEPS,
            decay=DECAY,
            threshold=THRESHOLD,
        ),
        STEPS,
    ).eval()
    images = random_images(arguments.images * arguments.tasks, arguments.seed)
    found = []
    with tempfile.TemporaryDirectory(prefix="alade_brian_") as cache:
        settings = SimulationSettings(reuse=True, cache=Path(cache))
        for task in range(1, arguments.tasks + 1):
            network.add_extractor(inherit=False)
            network.set_classifier(CLASSES_PER_TASK * task)
            network.eval()
            found.append(_verified(network, images[: arguments.images * task], settings))
            print("  ".join(f"{name} {value:.6g}" for name, value in {"task": task, **found[-1]}.items()), flush=True)
    return found


def _verified(network: ExpandableNetwork, images: np.ndarray, settings: SimulationSettings) -> dict[str, float]:
    """Seconds per image, and for the build."""
    agreement = verify(network, images, settings=settings)
    spent = {name: agreement.seconds[name] / len(images) for name in ("simulate", "compare")}
    return {
        "build": agreement.seconds["build"], **spent, "whole": sum(spent.values()),
        "mismatched": agreement.mismatched_spikes, "agrees": agreement.agrees,
    }  # fmt: skip
