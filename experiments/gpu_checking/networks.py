"""The networks that a GPU is checked with: convolutional, random weights, every layer at the rate that is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from alade_brian.data import load_dataset
from alade_brian.errors import UserError
from alade_brian.spec import (
    Convolution,
    Dense,
    NetworkSpec,
    NeuronEquations,
    Population,
    Projection,
    Readout,
    Stimulus,
    constant,
)

DECAY, STEPS, CLASSES = 0.5, 4, 10
CALIBRATION_IMAGES = 16
LEAKY = NeuronEquations(
    "dv/dt = -v/tau : 1",
    {"tau": constant(-1 / math.log(DECAY), "step"), "v_threshold": constant(1.0), "v_reset": constant(0.0)},
)
SUM = NeuronEquations("v : 1", spiking=False, reset="none")
# Channels of every layer and the strides of its convolution.
SIZES = {"digits": ((16, 32), (1, 2)), "fashion-mnist": ((32, 64, 128), (1, 2, 2))}
SHAPES = {"digits": (1, 8, 8), "fashion-mnist": (1, 28, 28)}


@dataclass(frozen=True, eq=False)
class GpuCase:
    """A network, what it is shown, and where that comes from."""

    name: str
    spec: NetworkSpec
    images: np.ndarray
    origin: str


def case(name: str, rate: float, images: int, seed: int) -> GpuCase:
    """A network for the images of a data set, which fires at that rate (spikes per neuron and step)."""
    if name not in SIZES:
        raise UserError(f"there is no network '{name}' to check with; use {', '.join(SIZES)}")
    shown, origin = test_images(name, images, seed)
    channels, strides = SIZES[name]
    return GpuCase(name, network(shown, channels, strides, rate, seed), shown, origin)


def test_images(name: str, count: int, seed: int) -> tuple[np.ndarray, str]:
    """Test images ``(n, 1, height, width)``, as many as are there; random ones of the same size where none are."""
    try:
        dataset = load_dataset(name)
        found = (dataset.test_images - dataset.mean.reshape(-1, 1, 1)) / dataset.std.reshape(-1, 1, 1)
        return np.asarray(found[:count], np.float64), f"test images of {name}"
    except (UserError, ImportError):
        draw = np.random.default_rng(seed)
        return draw.normal(size=(count, *SHAPES[name])), f"random images of the size of {name}'s: its files are missing"


def network(images: np.ndarray, channels: Sequence[int], strides: Sequence[int], rate: float, seed: int) -> NetworkSpec:
    """Convolutions 3x3 with leaky neurons and a linear readout; weights are scaled layer by layer."""
    draw = np.random.default_rng(seed)
    spikes = np.repeat(images[:CALIBRATION_IMAGES, None], STEPS, 1)
    populations, projections, source = [], [], "image"
    for number, (size, stride) in enumerate(zip(channels, strides, strict=True)):
        unit = draw.normal(size=(size, spikes.shape[2], 3, 3))
        currents = convolved(spikes, unit, stride)
        scale = scale_for(rate, currents)
        name = f"layer_{number}"
        populations.append(Population(name, currents.shape[2:], LEAKY))
        projections.append(Projection(source, name, Convolution(unit * scale, (stride, stride), (1, 1))))
        spikes, source = fired(currents * scale), name
    neurons = math.prod(populations[-1].shape)
    readout = draw.normal(size=(CLASSES, neurons)) / math.sqrt(neurons * rate)
    return NetworkSpec(
        (Stimulus(images.shape[1:]),),
        (*populations, Population("answer", (CLASSES,), SUM)),
        (*projections, Projection(source, "answer", Dense(readout))),
        Readout("answer"),
        STEPS,
    )


def convolved(spikes: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """What arrives through a 3x3 kernel: ``(images, steps, channels, height, width)``."""
    padded: np.ndarray = np.pad(spikes, [(0, 0)] * 3 + [(1, 1)] * 2)
    windows = sliding_window_view(padded, (1, 1, 1, 3, 3))[:, :, :, :, :, 0, 0, 0][:, :, :, ::stride, ::stride]
    return np.moveaxis(np.tensordot(windows, weight, ((2, 5, 6), (1, 2, 3))), -1, 2)


def fired(currents: np.ndarray) -> np.ndarray:
    """The spikes of leaky neurons, 0 or 1."""
    v, spikes = np.zeros_like(currents[:, 0]), []
    for step in range(currents.shape[1]):
        v = DECAY * v + currents[:, step]
        spikes.append((v > 1.0).astype(np.float64))
        v = v * (1 - spikes[-1])
    return np.stack(spikes, 1)


def scale_for(rate: float, currents: np.ndarray) -> float:
    """The factor with which these currents make neurons fire at a rate, by bisection of its logarithm."""
    low, high = 1e-4, 1e4
    for _ in range(30):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if fired(currents * middle).mean() < rate else (low, middle)
    return math.sqrt(low * high)
