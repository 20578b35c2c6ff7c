"""The limit program (limit.cpp): compiled here and now, given a network's numbers, checked against PyTorch.

It gets the currents of the first layer ready in memory, where all others get images: what is measured is the fastest
that one core can do with these spikes, not a simulator.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from alade_brian.benchmarks.network import CLASSES, Weights
from alade_brian.errors import UserError
from alade_brian.machine import compiler

SOURCE = Path(__file__).resolve().parent / "limit.cpp"
FLAGS = ("-O3", "-march=native", "-ffast-math", "-std=c++17")
# The program reads whole registers of answers.
ANSWERS = 16


@dataclass(frozen=True)
class Limit:
    """The program with the numbers of one network in one type."""

    program: Path
    numbers: Path
    dtype: str
    images: int

    def run(self, seconds: float) -> dict[str, Any]:
        """`images_per_second`, `spikes` per layer and `sum` of the answers to all images, and `lanes` of a register."""
        command = [str(self.program), self.dtype, str(self.numbers), str(self.images), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the limit program ended with code {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)


def compile_limit(folder: Path) -> Path:
    """The program, compiled for this very machine."""
    path = compiler()
    if path is None:
        raise UserError("the limit program needs a C++ compiler and none was found; install g++, or set CXX")
    program = folder / "limit"
    command = [path, *FLAGS, str(SOURCE), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:300])
        raise UserError(f"the C++ compiler {path} failed on the limit program ({first.strip()}); try g++ as CXX")
    return program


def prepare(program: Path, weights: Weights, images: np.ndarray, dtype: str, folder: Path) -> Limit:
    """Write down the numbers of a network and of images in the order in which the program reads them."""
    file = folder / f"numbers-{dtype}"
    with file.open("wb") as out:
        for array in (*_currents(weights, images), *_weights(weights)):
            np.ascontiguousarray(array, dtype=dtype).tofile(out)
    return Limit(program, file, dtype, len(images))


def _currents(weights: Weights, images: np.ndarray) -> list[np.ndarray]:
    """The first convolution, channels last, some images at a time."""
    kernel = torch.from_numpy(weights.convolutions[0])
    parts = torch.from_numpy(images).split(64)
    return [functional.conv2d(part, kernel, padding=1).permute(0, 2, 3, 1).numpy() for part in parts]


def _weights(weights: Weights) -> list[np.ndarray]:
    """One row of target channels per kernel tap and source channel; answers padded to a whole register."""
    inner = [array.transpose(2, 3, 1, 0) for array in weights.convolutions[1:]]
    channels = weights.convolutions[-1].shape[0]
    by_pixel = weights.readout.reshape(CLASSES, channels, -1).transpose(2, 1, 0)
    return [*inner, np.pad(by_pixel, ((0, 0), (0, 0), (0, ANSWERS - CLASSES)))]


def check(limit: Limit, spikes: list[int]) -> dict[str, Any]:
    """Hold the program's spikes against PyTorch's float64 ones; RuntimeError where they are not the same network's, or
    where there are none.

    float64: equal; float32: within a thousandth, since a membrane close to the threshold may fall on the other side.
    """
    found = limit.run(0)["spikes"]
    allowed = 0.0 if limit.dtype == "float64" else 1e-3
    if not any(spikes):
        raise RuntimeError("no neuron of the network fired: this comparison proves nothing about spikes")
    if any(abs(a - b) > allowed * b for a, b in zip(found, spikes, strict=True)):
        raise RuntimeError(f"the limit program in {limit.dtype} finds {found} spikes where PyTorch finds {spikes}")
    return {"spikes": found, "spikes_torch": spikes}
