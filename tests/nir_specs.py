"""Random specifications over everything that a specification can say and NIR has words for."""

from __future__ import annotations

import dataclasses
from math import prod

import numpy as np
from hypothesis import strategies as st

from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
    NetworkSpec,
    NeuronEquations,
    Operator,
    Parameter,
    Pooling,
    Population,
    Projection,
    Readout,
    Shape,
    Sparse,
    Stimulus,
    TransposedConvolution,
    constant,
)

SHAPES: tuple[Shape, ...] = ((4,), (12,), (2, 6), (3, 5), (2, 3, 4), (4, 3, 4))
MODELS = {
    "plain": ("v : 1", "", ""),
    "leaky": ("dv/dt = -v/tau : 1", "", ""),
    "driven": ("dv/dt = (v_rest - v)/tau : 1\ndrive : 1", "drive", "v += gain*drive\ndrive = 0"),
    "integrates": ("v : 1\nx : 1", "x", "v += gain*x\nx = 0"),
    "current": ("dv/dt = -v/tau : 1\ndsyn/dt = -syn/tau_syn : 1", "syn", "v += syn"),
    "weighted": (
        "dv/dt = -v/tau : 1\ndsyn/dt = -syn/tau_syn : 1\ndrive : 1",
        "drive",
        "syn += gain*drive\ndrive = 0\nv += syn",
    ),
    "alpha": (
        "dv/dt = -v/tau : 1\ndsyn/dt = -syn/tau_syn : 1\ndrive : 1",
        "drive",
        "v += gain*syn\nsyn += drive\ndrive = 0",
    ),
    "leakless": ("v : 1\ndsyn/dt = -syn/tau_syn : 1", "syn", "v += gain*syn"),
    "memoryless": ("v : 1\ndrive : 1", "drive", "v = drive\ndrive = 0"),
}


class SpecNumbers:
    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)

    def of(self, *shape: int) -> np.ndarray:
        return self.draw.normal(0.2, 0.5, shape)

    def parameter(self, shape: Shape, low: float, high: float, unit: str = "1") -> Parameter:
        sizes = [(), (), (shape[0], *[1] * (len(shape) - 1)), shape]
        return Parameter(self.draw.uniform(low, high, sizes[self.draw.integers(4)]), unit)  # type: ignore[arg-type]


@st.composite
def neurons(draw: st.DrawFn, numbers: SpecNumbers, shape: Shape, plain: bool) -> NeuronEquations:
    """`plain`: only what NIR can say without metadata."""
    kind = draw(st.sampled_from(list(MODELS)))
    model, takes, update = MODELS[kind]
    parameters = {
        "tau": numbers.parameter(shape, 1.0, 6.0, "step"),
        "tau_syn": numbers.parameter(shape, 0.7, 3.0, "step"),
        "gain": numbers.parameter(shape, 0.3, 1.0),
        "v_rest": numbers.parameter(shape, -0.1, 0.1),
    }
    parameters = {
        k: p
        for k, p in parameters.items()
        if k in f"{model} {update}".replace("/", " ").replace("*", " ").replace("(", " ").split()
    }
    method = draw(st.sampled_from(["exact", "euler"]))
    spiking = draw(st.sampled_from([True, True, False]))
    if not plain and draw(st.booleans()):
        parameters["v_initial"] = constant(0.25)
    if not spiking:
        return NeuronEquations(
            model, parameters, spiking=False, reset="none", input=takes, update=update, method=method
        )
    parameters["v_threshold"] = numbers.parameter(shape, 0.3, 1.0)
    parameters["v_reset"] = numbers.parameter(shape, -0.2, 0.1)
    if draw(st.booleans()):
        parameters["amplitude"] = numbers.parameter(shape, 0.5, 2.0)
    conventions = {} if plain else {
        "comparison": draw(st.sampled_from([">", ">="])),
        "reset": draw(st.sampled_from(["value", "subtract", "none"])),
        "leak": draw(st.sampled_from(["after_reset", "before_reset"])),
    }  # fmt: skip
    if kind == "memoryless":
        conventions["reset"] = "none"
    return NeuronEquations(model, parameters, input=takes, update=update, method=method, **conventions)  # type: ignore[arg-type]


def operators(numbers: SpecNumbers, source: Shape, target: Shape) -> list[tuple[Operator, int]]:
    """Everything that leads from one shape to another, with the place in the target where it begins."""
    size, room = prod(source), prod(target)
    count = min(size, room) + 2
    drawn = numbers.draw
    rows, columns = drawn.integers(0, room, count), drawn.integers(0, size, count)
    found: list[tuple[Operator, int]] = [
        (Dense(numbers.of(room, size)), 0),
        (Sparse(rows, columns, numbers.of(count), target), 0),
    ]
    if len(target) == 1 and room > 4:
        found.append((Dense(numbers.of(room - 3, size)), 2))
    if source == target:
        found += [
            (Identity(), 0),
            (Identity(numbers.of()), 0),
            (Identity(numbers.of(source[0])), 0),
            (Identity(numbers.of(*source)), 0),
        ]
    if len(source) == len(target) > 1 and source[1:] == target[1:]:
        found += _images(numbers, source, target)
        if source[0] < target[0]:
            found.append((Identity(), prod(source[1:])))
            found.append((Pooling(*_window(source), padding=_window(source, 1)[0]), 0))
    return found


def reshaped(numbers: SpecNumbers, source: Shape, target: Shape) -> list[tuple[Operator, int]]:
    """Operators whose output is laid out unlike its target: in other pixels, or from the middle of an image on."""
    spare = prod(target) - prod(source)
    if spare < 0 or (spare and prod(source[1:]) != prod(target[1:])):
        return []
    places = {0, min(1, spare), spare}
    found: list[tuple[Operator, int]] = [(Identity(numbers.of(*source)), place) for place in sorted(places)]
    if len(source) > 1:
        found += [(operator, spare) for operator, _ in _images(numbers, source, source)]
    return found


def _window(shape: Shape, size: int = 3) -> tuple[tuple[int, int], tuple[int, int]]:
    return (
        ((1, size) if len(shape) == 2 else (size, size), (1, 1))
        if size == 3
        else ((0, 1) if len(shape) == 2 else (1, 1), (1, 1))
    )


def _images(numbers: SpecNumbers, source: Shape, target: Shape) -> list[tuple[Operator, int]]:
    line = len(source) == 2
    kernel, pad = ((1, 3), (0, 1)) if line else ((3, 3), (1, 1))
    found: list[tuple[Operator, int]] = [
        (Convolution(numbers.of(target[0], source[0], *kernel), padding=pad), 0),
        (Convolution(numbers.of(target[0], source[0], 1, 3), padding=(0, 1)), 0),
        (Convolution(numbers.of(target[0], source[0], *kernel), padding=(pad[0] * 2, 2), dilation=(2, 2)), 0),
        (TransposedConvolution(numbers.of(source[0], target[0], *kernel), padding=pad), 0),
    ]
    if target[0] % source[0] == 0:
        found.append((Convolution(numbers.of(target[0], 1, *kernel), padding=pad, groups=source[0]), 0))
    if not line:
        # Two rows are left out, and padding makes up for them.
        found.append(
            (
                Convolution(
                    numbers.of(target[0], source[0], 1, 1), extent=(source[1] - 2, source[2] - 2), padding=(1, 1)
                ),
                0,
            )
        )
        found.append(
            (
                Convolution(
                    numbers.of(target[0], source[0], 4, 2), padding=(2, 1), extent=(source[1] - 1, source[2] - 1)
                ),
                0,
            )
        )
    if source[0] == target[0]:
        found.append(
            (Pooling(*_window(source), gain=numbers.of(source[0]), padding=_window(source, 1)[0], average=False), 0)
        )
    return [(operator, first) for operator, first in found if operator.output_shape(source) == target]


@st.composite
def specs(draw: st.DrawFn, plain: bool = False) -> NetworkSpec:
    """A network; `plain`: only what NIR can say without metadata, and the step order that NIR's reader finds."""
    numbers = SpecNumbers(draw(st.integers(0, 2**16)))
    coding = "sequence" if plain else draw(st.sampled_from(["direct", "sequence"]))
    shapes = st.sampled_from(SHAPES)
    stimuli = tuple(Stimulus(draw(shapes), f"seen/{k}", coding) for k in range(draw(st.integers(1, 2))))
    populations, projections = [], []
    sources = {s.name: s.shape for s in stimuli}
    for k in range(draw(st.integers(1, 4))):
        shape = draw(shapes)
        name = draw(st.sampled_from(["output", "input", "a/b", "layer.{}"])).format(k) if k < 2 else f"layer.{k}"
        if name in sources:
            name = f"other{k}"
        bias = draw(
            st.sampled_from([None, numbers.of(*shape), numbers.of(shape[0], *[1] * (len(shape) - 1)) * np.ones(shape)])
        )
        populations.append(Population(name, shape, draw(neurons(numbers, shape, plain)), bias))
        for source in draw(st.lists(st.sampled_from(list(sources)), min_size=1, max_size=2)):
            operator, first = draw(st.sampled_from(operators(numbers, sources[source], shape)))
            spikes = any(p.name == source and p.neuron.spiking for p in populations)
            projections.append(
                Projection(source, name, operator, draw(st.sampled_from([0, 0, 2])) if spikes else 0, first)
            )
        sources[name] = shape
    for _ in range(draw(st.integers(0, 2))):
        source, target = draw(st.sampled_from(populations)), draw(st.sampled_from(populations))
        if populations.index(source) >= populations.index(target) and _remembers(target):
            operator, first = draw(st.sampled_from(operators(numbers, source.shape, target.shape)))
            delay = draw(st.integers(1, 3)) if source.neuron.spiking else 1
            projections.append(Projection(source.name, target.name, operator, delay, first))
    last = draw(st.sampled_from(populations))
    decodings = (
        ["spike_count", "spike_rate", "first_spike", "every_step"]
        if last.neuron.spiking
        else ["mean_input", "last_membrane", "max_membrane", "every_step"]
    )
    readout = Readout(
        last.name,
        "every_step" if plain else draw(st.sampled_from(decodings)),
        2 if last.size % 2 == 0 and not plain else 1,
    )
    return NetworkSpec(
        stimuli, tuple(populations), tuple(projections), readout, steps=5, dt=draw(st.sampled_from([1e-3, 3e-4]))
    )


def _remembers(population: Population) -> bool:
    """Not a linear node of NIR, of which a cycle must not consist alone."""
    return population.neuron.spiking or "v = drive" not in population.neuron.update


def assert_specs_equal(left: object, right: object, at: str = "spec") -> None:
    """Every field of both, recursively, arrays to the last bit."""
    assert type(left) is type(right), at
    if dataclasses.is_dataclass(left):
        for field in dataclasses.fields(left):
            assert_specs_equal(getattr(left, field.name), getattr(right, field.name), f"{at}.{field.name}")
    elif isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray)
        assert (left.shape, left.dtype, left.tobytes()) == (right.shape, right.dtype, right.tobytes()), at
    elif isinstance(left, dict):
        assert isinstance(right, dict) and list(left) == list(right), at
        for key in left:
            assert_specs_equal(left[key], right[key], f"{at}[{key!r}]")
    elif isinstance(left, tuple):
        assert isinstance(right, tuple) and len(left) == len(right), at
        for number, pair in enumerate(zip(left, right, strict=True)):
            assert_specs_equal(*pair, f"{at}[{number}]")
    else:
        assert left == right, at
