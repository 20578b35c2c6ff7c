"""Specifications that NEST can simulate, with dyadic numbers, so that every sum is exact in any order."""

from __future__ import annotations

import numpy as np

from alade_brian.models.neurons.neuron import time_constant
from alade_brian.spec import (
    Convolution,
    Dense,
    NetworkSpec,
    NeuronEquations,
    Operator,
    Pooling,
    Population,
    Projection,
    Readout,
    Sparse,
    Stimulus,
    constant,
)

LEAKY, SCALED = "dv/dt = -v/tau : 1", "dv/dt = -v/tau : 1\ndrive : 1"
# With this step a time constant in seconds is as free of rounding as in steps, and exp(-dt/tau) is 0.5 to the last bit.
DT = 2.0**-10
HALF = time_constant(0.5)
INTEGRATOR = NeuronEquations("v : 1", spiking=False, reset="none")


def lif(threshold: object = 1.0, v_reset: object = 0.0, model: str = LEAKY, **changes: object) -> NeuronEquations:
    """A leaky neuron of decay 0.5; parameters by their names, conventions by those of `NeuronEquations`."""
    names = {"tau", "gain", "amplitude", "v_initial"} & changes.keys()
    own = {name: constant(changes.pop(name), "step" if name == "tau" else "1") for name in names}
    constants = {"v_threshold": constant(threshold), "v_reset": constant(v_reset)}
    if model.startswith("dv"):
        constants["tau"] = constant(HALF, "step")
    if "drive" in model:
        changes |= {"input": "drive", "update": "v += gain*drive\ndrive = 0"}
    return NeuronEquations(model, constants | own, **changes)  # type: ignore[arg-type]


def each_alone(neurons: dict[str, NeuronEquations], steps: int) -> NetworkSpec:
    """One neuron of each, driven by a pixel of its own."""
    count = len(neurons)
    populations = tuple(Population(name, (1,), neuron) for name, neuron in neurons.items())
    pixels = [Projection("image", p.name, Dense(np.eye(count)[[k]])) for k, p in enumerate(populations)]
    read = Population("read", (1,), INTEGRATOR)
    return NetworkSpec(
        (Stimulus((count,), coding="sequence"),), (*populations, read), tuple(pixels), Readout("read"), steps, DT
    )


NEURONS = (
    lif(),
    lif(comparison=">=", v_reset=-0.25),
    lif(comparison=">=", reset="subtract", v_reset=1.0),
    lif(leak="before_reset"),
    lif(model="v : 1"),
    lif(v_initial=0.75, amplitude=0.5),
    lif(model=SCALED, gain=0.5),
    lif(method="euler", tau=2.0),
)


def random_spec(seed: int, dyadic: bool = True) -> NetworkSpec:
    """Dense, convolutional and pooling projections, delays, loops, biases, every neuron that NEST can be."""
    draw = np.random.default_rng(seed)

    def values(*shape: int, spread: int = 40) -> np.ndarray:
        return draw.integers(-spread, spread + 1, shape) / 64 if dyadic else draw.normal(0, spread / 100, shape)

    kinds = draw.permutation(len(NEURONS))
    shapes = {"a": (3, 5, 4), "b": (3, 2, 2), "c": (6,), "d": (6,)}
    populations = [
        Population(name, shape, NEURONS[kinds[k]], values(*shape) if draw.random() < 0.7 else None)
        for k, (name, shape) in enumerate(shapes.items())
    ]
    leaky = NeuronEquations(LEAKY, {"tau": constant(HALF, "step")}, spiking=False, reset="none")
    populations.append(Population("read", (3,), [INTEGRATOR, leaky][seed % 2], values(3)))
    delays = draw.integers(0, 3, 4).tolist() if seed % 3 else [0] * 4
    edges: list[tuple[str, str, Operator, int]] = [
        ("image", "a", Convolution(values(3, 2, 3, 3), padding=(1, 1)), 0),
        ("image", "c", Dense(values(6, 40, spread=8)), 0),
        ("a", "b", Pooling((2, 2), (2, 2), np.array([2.0, 4.0, 1.0])), delays[0]),
        ("b", "c", Dense(values(6, 12)), delays[1]),
        ("a", "d", Dense(values(6, 60, spread=10)), delays[2]),
        ("c", "d", Sparse([0, 2, 2, 5], [1, 0, 4, 5], [0.5, -0.25, 1.0, 0.75], (6,)), 0),  # type: ignore[arg-type]
        ("d", "read", Dense(values(3, 6)), delays[3]),
    ]
    if seed % 3:
        edges += [("c", "c", Dense(values(6, 6)), 1), ("d", "c", Dense(values(6, 6)), 2 + seed % 2)]
    decoding = "mean_membrane" if seed % 2 else "mean_input"
    return NetworkSpec(
        (Stimulus((2, 5, 4), coding="sequence" if seed % 2 else "direct"),),
        tuple(populations),
        tuple(Projection(source, target, operator, delay) for source, target, operator, delay in edges),
        Readout("read", decoding),  # type: ignore[arg-type]
        steps=5,
        dt=DT,
    )
