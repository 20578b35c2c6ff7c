"""The networks of the three tasks of the NIR paper, with random weights in place of the trained ones.

Architectures and constants: Pedersen et al., Neuromorphic intermediate representation, Nature Communications 2024; its
repository github.com/neuromorphs/NIR, folder paper (01_lif, 02_cnn, 03_rnn). Every number is a float32, as in the
published files, so that frameworks that compute with float32 parameters hold the same network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import nir
import numpy as np

from alade_brian.spec import Shape

# The step in which all frameworks of the paper ran its graphs, in seconds.
PAPER_STEP = 1e-4


@dataclass(frozen=True, eq=False)
class PaperNetwork:
    """A graph and how it is shown.

    dt      the step in seconds; 1 s where time is counted in steps
    shape   of the input
    rate    probability of a spike in an element of the input and step
    """

    title: str
    graph: nir.NIRGraph
    dt: float
    shape: Shape
    rate: float

    def spikes(self, presentations: int, steps: int, seed: int) -> np.ndarray:
        """Random input ``(presentations, steps, *shape)`` of 0 and 1."""
        return random_spikes(np.random.default_rng(seed), (presentations, steps, *self.shape), self.rate)


def random_spikes(draw: np.random.Generator, size: Shape, rate: float) -> np.ndarray:
    """An array of that size of 0 and, with a probability of `rate`, 1, in float64."""
    return (draw.random(size) < rate).astype(np.float64)


def single_neuron(draw: np.random.Generator) -> PaperNetwork:
    """One leaky integrate-and-fire neuron behind a weight of 1 (01_lif)."""
    constants = (_full(1, x) for x in (2.5e-3, 1.0, 0.0, 0.1))
    nodes = {"0": nir.Linear(np.ones((1, 1), np.float32)), "1": nir.LIF(*constants)}
    return PaperNetwork("Single neuron", _chain((1,), nodes), PAPER_STEP, (1,), 0.5)


def event_convolutions(draw: np.random.Generator) -> PaperNetwork:
    """Three convolutions and two dense layers of integrate-and-fire neurons on 2 x 34 x 34 events (02_cnn)."""

    def fire(*shape: int) -> nir.IF:
        return nir.IF(_full(shape, 1.0), _full(shape, 1.0))

    def convolution(inputs: int, outputs: int, size: int, stride: int, shape: tuple[int, int]) -> nir.Conv2d:
        weight = _normal(draw, 0.05, 0.25, outputs, inputs, size, size)
        return nir.Conv2d(shape, weight, (stride, stride), (1, 1), (1, 1), 1, np.zeros(outputs, np.float32))

    def pool() -> nir.SumPool2d:
        return nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))

    nodes = {
        "0": convolution(2, 16, 5, 2, (34, 34)), "1": fire(16, 16, 16),
        "2": convolution(16, 16, 3, 1, (16, 16)), "3": fire(16, 16, 16), "4": pool(),
        "5": convolution(16, 8, 3, 1, (8, 8)), "6": fire(8, 8, 8), "7": pool(),
        "8": nir.Flatten({"input": np.array([8, 4, 4])}, 0, -1),
        "9": nir.Affine(_normal(draw, 0.01, 0.1, 256, 128), np.zeros(256, np.float32)), "10": fire(256),
        "11": nir.Affine(_normal(draw, 0.02, 0.1, 10, 256), np.zeros(10, np.float32)), "12": fire(10),
    }  # fmt: skip
    graph = _chain((2, 34, 34), nodes, (10,))
    return PaperNetwork("Convolutional network for N-MNIST", graph, 1.0, (2, 34, 34), 0.1)


def recurrent_braille(draw: np.random.Generator, bias: bool) -> PaperNetwork:
    """A recurrent and a dense layer of current-based neurons on 12 channels (03_rnn), with or without biases."""
    hidden, classes = (38, 7) if bias else (40, 7)

    def layer(outputs: int, inputs: int, mean: float, scale: float) -> nir.NIRNode:
        weight = _normal(draw, mean, scale, outputs, inputs)
        return nir.Affine(weight, _normal(draw, 0.0, 0.4, outputs)) if bias else nir.Linear(weight)

    nodes = {
        "input": nir.Input({"input": np.array([12])}),
        "fc1": layer(hidden, 12, 0.1, 0.3),
        "lif1.lif": _current_based(hidden, 0.5, 0.75),
        "lif1.w_rec": layer(hidden, hidden, 0.0, 0.2),
        "fc2": layer(classes, hidden, 0.05, 0.2),
        "lif2": _current_based(classes, 0.25, 0.5),
        "output": nir.Output({"output": np.array([classes])}),
    }
    edges = [("input", "fc1"), ("fc1", "lif1.lif"), ("lif1.lif", "lif1.w_rec"), ("lif1.w_rec", "lif1.lif")]
    edges += [("lif1.lif", "fc2"), ("fc2", "lif2"), ("lif2", "output")]
    title = f"Recurrent network for Braille, {'with' if bias else 'without'} biases"
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    return PaperNetwork(title, graph, PAPER_STEP, (12,), 0.2)


PAPER_NETWORKS: Mapping[str, Callable[[np.random.Generator], PaperNetwork]] = {
    "single-neuron": single_neuron,
    "n-mnist": event_convolutions,
    "braille-bias": lambda draw: recurrent_braille(draw, bias=True),
    "braille-no-bias": lambda draw: recurrent_braille(draw, bias=False),
}


def paper_network(name: str, seed: int) -> PaperNetwork:
    """One of `PAPER_NETWORKS`, its weights drawn from the seed."""
    return PAPER_NETWORKS[name](np.random.default_rng(seed))


def _current_based(size: int, alpha: float, beta: float) -> nir.CubaLIF:
    """Neurons whose current keeps `alpha` and whose membrane keeps `beta` of its value in a step."""
    syn, mem = (PAPER_STEP / (1 - kept) for kept in (alpha, beta))
    numbers = (_full(size, x) for x in (syn, mem, mem / PAPER_STEP, 0.0, 1.0, 0.0, syn / PAPER_STEP))
    return nir.CubaLIF(*numbers)


def _chain(shape: Shape, nodes: dict[str, nir.NIRNode], out: Shape | None = None) -> nir.NIRGraph:
    ends = nir.Input({"input": np.array(shape)}), nir.Output({"output": np.array(out or shape)})
    named = {"input": ends[0], **nodes, "output": ends[1]}
    return nir.NIRGraph(named, list(pairwise(named)), type_check=False)


def _full(shape: int | Shape, value: float) -> np.ndarray:
    return np.full(shape, value, np.float32)


def _normal(draw: np.random.Generator, mean: float, scale: float, *shape: int) -> np.ndarray:
    return draw.normal(mean, scale, shape).astype(np.float32)
