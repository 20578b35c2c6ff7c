"""`benchmark.py training`: speed and memory of a training step, against a plain loop, snnTorch and SpikingJelly.

The same network in each, forwards, backwards and one step of the optimiser, in each layout of the images; each runs in
a process of its own, so that its memory is its own, and they take turns. A library that is not installed is left out.
Then the time of an epoch from task to task of a growing network, with features of the frozen extractors kept and with
images that are changed whenever they are shown, where the frozen extractors answer in every batch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alade_brian.benchmarks.machine import cores, machine
from alade_brian.benchmarks.memory import peak, resident
from alade_brian.benchmarks.network import CLASSES, SIZE, random_images
from alade_brian.benchmarks.reporting import add_options, check_options, progress_shown
from alade_brian.benchmarks.rounds import Competitor, measure, summary, timed
from alade_brian.benchmarks.tensors import LAYOUTS
from alade_brian.benchmarks.training_rivals import DESCRIPTION, RIVALS
from alade_brian.commands.options import IMAGES, SECONDS, TASKS, count
from alade_brian.config.run import config_from
from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.learning import TaskData
from alade_brian.learning.incremental.learner import Learner

FOLDER = Path(__file__).resolve().parent.parent
EPOCHS, CLASSES_PER_TASK, EXEMPLARS_PER_CLASS = 4, 2, 20


def command(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add this command's options; what runs it."""
    add_options(parser, rounds=5)
    SECONDS.add(parser, "a turn, at least", default=3.0)
    parser.add_argument("--batch", type=count, default=128, help="images in a step (default: 128)")
    parser.add_argument("--threads", type=count, default=cores(), help="of torch (default: all cores)")
    TASKS.add(parser, "of the growing network", default=5)
    IMAGES.add(parser, "that a task brings", default=512)
    return main


def main(arguments: argparse.Namespace) -> int:
    """Measure; 0."""
    check_options(arguments.json, arguments.rounds)
    if min(arguments.batch, arguments.threads, arguments.images) < 1 or arguments.tasks < 3 or arguments.seconds <= 0:
        raise UserError("--batch, --threads, --images and --seconds must be above 0, and --tasks at least 3")
    growth = {name: _growth(arguments, name == "shown anew") for name in ("features kept", "shown anew")}
    with progress_shown() as warnings:
        steps = _steps(arguments)
    result = {
        "format": 1, "machine": machine(), "network": DESCRIPTION, "batch": arguments.batch,
        "threads": arguments.threads, "steps": steps, "growth": growth, **_ratios(steps), "warnings": warnings,
    }  # fmt: skip
    _show(result)
    if arguments.json:
        write_json(arguments.json, result)
    return 0


class Worker:
    """A competitor in a process of its own: it trains when it is asked and says how fast."""

    def __init__(self, name: str, layout: str, arguments: argparse.Namespace) -> None:
        command = [sys.executable, "-m", "alade_brian.benchmarks.training", name, layout]
        command += [str(n) for n in (arguments.batch, arguments.threads, arguments.seed)]
        self._child = subprocess.Popen(command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.memory = 0

    def run(self, seconds: float) -> float:
        """Images per second; RuntimeError where the process has ended, whose reason stands on stderr."""
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(f"{seconds}\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"its process ended with exit code {self._child.wait()}")
        found = json.loads(line)
        self.memory = found["memory"]
        return float(found["speed"])

    def end(self) -> None:
        self._child.communicate()


def _steps(arguments: argparse.Namespace) -> dict[str, Any]:
    ways = [(name, layout) for name in RIVALS for layout in LAYOUTS]
    workers = [Worker(*way, arguments) for way in ways]
    competitors = [Competitor(" ".join(way), None, worker.run) for way, worker in zip(ways, workers, strict=True)]
    try:
        speeds = measure(competitors, arguments.rounds, arguments.seconds)
    finally:
        for worker in workers:
            worker.end()
    found: dict[str, Any] = {}
    for (name, layout), worker, every in zip(ways, workers, speeds, strict=True):
        median, spread = summary(every)
        if median is not None:
            found.setdefault(name, {})[layout] = {
                "images_per_second": median, "spread": spread, "memory_bytes": worker.memory, "rounds": every,
            }  # fmt: skip
    return found


def _ratios(steps: dict[str, Any]) -> dict[str, float]:
    """This project's speed and memory, each in its best layout, over the best of the others; the compiled one apart."""
    best = _best(steps)
    ours, compiled = best.pop("ours", None), best.pop("compiled", None)
    found = {}
    if ours and best:
        others = best.values()
        found["ratio_to_best"] = ours["images_per_second"] / max(way["images_per_second"] for way in others)
        found["memory_ratio"] = ours["memory_bytes"] / min(way["memory_bytes"] for way in others)
    if ours and compiled:
        found["ratio_to_compiled"] = ours["images_per_second"] / compiled["images_per_second"]
    return found


def _best(steps: dict[str, Any]) -> dict[str, Any]:
    return {name: max(ways.values(), key=lambda way: way["images_per_second"]) for name, ways in steps.items()}


def _show(result: dict[str, Any]) -> None:
    for name, way in _best(result["steps"]).items():
        print(f"{name:14} {way['images_per_second']:8.0f} images/s  {way['memory_bytes'] / 2**20:6.0f} MiB")
    if "ratio_to_best" in result:
        print(
            f"ours: {result['ratio_to_best']:.2f} times the fastest that is not compiled, in "
            f"{result['memory_ratio']:.2f} of the least memory of these"
        )
    if "ratio_to_compiled" in result:
        print(f"ours: {result['ratio_to_compiled']:.2f} times what torch.compile makes of the folded one")
    for name, growth in result["growth"].items():
        print(f"epoch of task k, {name}: {growth['slope']:.2f} of a training extractor more from task to task")


def _growth(arguments: argparse.Namespace, shown_anew: bool) -> dict[str, Any]:
    """Seconds per image of an epoch of stage 1, task by task, and their slope in units of the first task's."""
    torch.set_num_threads(arguments.threads)
    config = config_from(
        {
            "dataset": "digits", "method": "alade", "init_cls": 2, "increment": 2, "seed": arguments.seed,
            "network": {"channels": [16, 32], "strides": [1, 2], "pool": 2},
            "learning": {"epochs": EPOCHS, "batch_size": arguments.batch, "milestones": [], "align_from": EPOCHS},
            "finetuning": {"epochs": 1, "milestones": [], "align_from": 1},
        },
        "the benchmark",
    )  # fmt: skip
    learner = Learner(config, (1, SIZE, SIZE), (lambda images, _: images) if shown_anew else None)
    images = torch.from_numpy(random_images(arguments.images, arguments.seed).astype(np.float32))
    seconds = []
    for task in range(1, arguments.tasks + 1):
        classes = CLASSES_PER_TASK * task
        labels = torch.arange(len(images)) % classes
        ends: list[float] = []
        owners = torch.arange(classes) // CLASSES_PER_TASK + 1
        data = TaskData(task, images, labels, classes - CLASSES_PER_TASK, classes, EXEMPLARS_PER_CLASS, owners)
        learner.learn(data, lambda ends=ends: ends.append(time.perf_counter()))  # type: ignore[misc]
        # The first epoch also pays for what is computed once.
        seconds.append(float(np.median(np.diff(ends[:EPOCHS]))) / len(images))
    tasks = np.arange(2, arguments.tasks + 1)
    slope = float(np.polyfit(tasks, np.array(seconds[1:]), 1)[0])
    return {"seconds_per_image": seconds, "slope": slope / seconds[0]}


def _train(name: str, layout: str, batch: int, threads: int, seed: int) -> None:
    """What a worker does: a line of stdin asks for so many seconds, a line of stdout answers."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    order = LAYOUTS[layout]
    network = RIVALS[name]().train().to(memory_format=order)  # type: ignore[call-overload]
    images = torch.from_numpy(random_images(batch, seed).astype(np.float32)).contiguous(memory_format=order)
    labels = torch.arange(batch) % CLASSES
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    before = resident(os.getpid())

    def step() -> int:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
        return batch

    for line in sys.stdin:
        step()
        speed = timed(step, float(line))
        memory = peak() - before
        print(json.dumps({"speed": speed, "memory": memory}), flush=True)


def _worker(arguments: Sequence[str]) -> None:
    name, layout, *numbers = arguments
    _train(name, layout, *(int(n) for n in numbers))


if __name__ == "__main__":
    _worker(sys.argv[1:])
