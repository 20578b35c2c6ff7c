"""Arrays of length 1: populations of one neuron, one channel, one pixel, one image, one step, on every engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from emulated_cuda import emulate
from networks import CPP, NUMPY
from reference import reference
from torch import nn

from alade_brian.conversion.nir_graphs.read import read_nir
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.simulation import SimulationSettings, open_simulator, simulate
from alade_brian.simulation import simulator as simulators
from alade_brian.simulation.engines.growing import GrowingProgram
from alade_brian.spec import (
    Convolution,
    Dense,
    NetworkSpec,
    NeuronEquations,
    Population,
    Projection,
    Readout,
    Shape,
    Stimulus,
    constant,
)
from alade_brian.spikes.responses import Responses
from alade_brian.verification.verify import verify

LEAK = "dv/dt = (v_leak - v)/tau : 1"
DRAWS = 4
IMAGES = 5
Draw = np.random.Generator


def drawn_neuron(draw: Draw, shape: Shape, spiking: bool = True) -> NeuronEquations:
    """Constants of their own for every neuron; where there is one, an array of length 1."""
    parameters = {
        "tau": constant(draw.uniform(1.2, 4, shape), "step"),
        "v_leak": constant(draw.uniform(-0.2, 0.4, shape)),
        "v_initial": constant(draw.uniform(-0.3, 0.3, shape)),
    }
    if not spiking:
        return NeuronEquations(LEAK, parameters, spiking=False, reset="none")
    parameters |= {
        "v_threshold": constant(draw.uniform(0.4, 1, shape)),
        "v_reset": constant(draw.uniform(0.1, 0.5, shape)),
    }
    return NeuronEquations(LEAK, parameters | {"amplitude": constant(draw.uniform(0.5, 2, shape))}, reset="subtract")


def drawn(draw: Draw, name: str, shape: Shape, spiking: bool = True) -> Population:
    return Population(name, shape, drawn_neuron(draw, shape, spiking), draw.uniform(0.1, 0.6, shape))


def one_of_each(draw: Draw, steps: int) -> NetworkSpec:
    """One number in, one neuron that reaches itself, one neuron without spikes between it and the answer, one answer."""
    populations = (drawn(draw, "a", (1,)), drawn(draw, "between", (1,), spiking=False), drawn(draw, "answer", (1,)))
    weight = lambda: Dense(draw.uniform(-0.3, 0.9, (1, 1)))  # noqa: E731
    ways = (("image", "a", 0), ("a", "a", 1), ("a", "between", 0), ("between", "answer", 0), ("a", "answer", 2))
    projections = tuple(Projection(source, target, weight(), delay) for source, target, delay in ways)
    return NetworkSpec((Stimulus((1,)),), populations, projections, Readout("between"), steps)


def one_pixel(draw: Draw, steps: int) -> NetworkSpec:
    """Images of one pixel and one channel; a layer of one beside a layer of three."""
    populations = (drawn(draw, "conv", (1, 1, 1)), drawn(draw, "three", (3, 1, 1)), drawn(draw, "answer", (1,), False))
    projections = (
        Projection("image", "conv", Convolution(draw.uniform(0.2, 1, (1, 1, 1, 1)))),
        Projection("conv", "three", Convolution(draw.uniform(-0.3, 1, (3, 1, 1, 1)))),
        Projection("three", "answer", Dense(draw.uniform(-0.5, 1, (1, 3)))),
    )
    return NetworkSpec((Stimulus((1, 1, 1)),), populations, projections, Readout("answer"), steps)


# By name: the network, its steps, images side by side.
CASES: dict[str, tuple[Callable[[Draw, int], NetworkSpec], int, int]] = {
    "one step, one image": (one_of_each, 1, 1),
    "images side by side": (one_of_each, 5, 3),
    "one pixel": (one_pixel, 4, 2),
}
SEPARATE = dataclasses.replace(CPP, passes="separate")
Engine = Callable[[NetworkSpec, np.ndarray, int, list[str]], Responses]


def with_settings(settings: SimulationSettings) -> Engine:
    return lambda spec, shown, batch, traces: simulate(spec, shown, dataclasses.replace(settings, batch=batch), traces)


ENGINES: dict[str, Engine] = {
    "numpy": with_settings(NUMPY),
    "fused": with_settings(CPP),
    "separate": with_settings(SEPARATE),
    "explicit": with_settings(dataclasses.replace(SEPARATE, connectivity="explicit")),
    "two workers": with_settings(dataclasses.replace(CPP, workers=2)),
    "gpu": lambda spec, shown, batch, traces: emulate(spec, shown, CPP.cache_folder, batch, traces=traces),
}


# Plain `Synapses` are compiled once only: their code is Brian2's own.
PAIRS = [(e, c) for e in ENGINES for c in CASES if e != "explicit" or c == "images side by side"]


@pytest.mark.parametrize(("engine", "case"), PAIRS)
def test_single_numbers_arrive_on_every_engine(engine: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many numbers through one compiled program, against plain numpy."""
    monkeypatch.setattr(simulators, "WHOLE", 1)
    network, steps, batch = CASES[case]
    draw, rates = np.random.default_rng(3), []
    for _ in range(DRAWS):
        spec, shown = network(draw, steps), draw.uniform(-0.5, 1, IMAGES)
        shown = shown.reshape(IMAGES, *spec.stimulus.shape)
        names = [p.name for p in spec.populations]
        found = ENGINES[engine](spec, shown, batch, names)
        spikes, membranes = reference(spec, {"image": shown})
        for population in spec.populations:
            name = population.name
            assert np.allclose(found.traces[name], membranes[name], rtol=1e-9, atol=1e-12), name
            if population.neuron.spiking:
                assert np.array_equal(found.spikes[name], spikes[name]), name
                rates.append(spikes[name].mean())
    assert 0 < np.mean(rates) < 1


@pytest.mark.parametrize("engine", ["numpy", "fused", "separate", "gpu"])
def test_a_bias_is_held_against_its_closed_form(engine: str) -> None:
    """One neuron that nothing but its bias reaches: ``v(n) = b*(1 - d**n) / (1 - d)``."""
    neuron = NeuronEquations("dv/dt = -v/tau : 1", {"tau": constant(2.5, "step")}, spiking=False, reset="none")
    steps, shown, decay = 4, np.zeros((3, 1)), np.exp(-1 / 2.5)
    for bias in (0.3, -1.7):
        population = Population("one", (1,), neuron, np.array([bias]))
        way = Projection("image", "one", Dense(np.ones((1, 1))))
        spec = NetworkSpec((Stimulus((1,)),), (population,), (way,), Readout("one", "every_step"), steps)
        found = ENGINES[engine](spec, shown, 3, ["one"]).traces["one"]
        expected = bias * (1 - decay ** np.arange(1, steps + 1)) / (1 - decay)
        assert found.shape == (3, steps, 1) and np.allclose(found[:, :, 0], expected, rtol=1e-12)


def test_extractors_of_one_neuron_keep_their_bias(tmp_path: Path) -> None:
    """A network that grows, simulated in parts."""
    settings = dataclasses.replace(CPP, reuse=True, cache=tmp_path, keep_answers=False, batch=2)
    draw = np.random.default_rng(8)
    for _ in range(DRAWS):
        extractors = [drawn(draw, f"{k}.a", (1, 1, 1)) for k in range(2)]
        extractors = [_without_amplitude(p) for p in extractors]
        head = drawn(draw, "head", (1,), spiking=False)
        ways = [Projection("image", p.name, Convolution(draw.uniform(0.2, 1, (1, 1, 1, 1)))) for p in extractors]
        ways += [Projection(p.name, "head", Dense(draw.uniform(-1, 1, (1, 1)))) for p in extractors]
        spec = NetworkSpec(
            (Stimulus((1, 1, 1)),), (*extractors, head), tuple(ways), Readout("head", "last_membrane"), 4
        )
        shown = draw.uniform(-0.5, 1, (IMAGES, 1, 1, 1))
        simulator = open_simulator(spec, settings)
        assert isinstance(simulator.engine, GrowingProgram)
        ((_, found),) = simulator.chunks(shown)
        spikes, membranes = reference(spec, {"image": shown})
        assert all(np.array_equal(found.spikes[p.name], spikes[p.name]) for p in extractors)
        assert np.allclose(found.logits, membranes["head"][:, -1], rtol=1e-9)


def _without_amplitude(population: Population) -> Population:
    parameters = {k: v for k, v in population.neuron.parameters.items() if k != "amplitude"}
    return dataclasses.replace(population, neuron=dataclasses.replace(population.neuron, parameters=parameters))


@pytest.mark.parametrize("settings", [CPP, dataclasses.replace(CPP, batch=1), NUMPY], ids=["fused", "batch 1", "numpy"])
def test_a_classifier_with_one_output_spikes_as_in_torch(settings: SimulationSettings) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        HoldCurrent(10), nn.Linear(8, 6), LIF(10, decay=0.9), nn.Linear(6, 1), LIF(10, decay=0.8, threshold=0.4),
        MeanOverSteps(10),
    )  # fmt: skip
    net[3].bias.data.fill_(0.3)
    found = verify(net, np.random.default_rng(0).normal(size=(20, 8)) * 3, settings=settings)
    assert found.agrees and all(layer.spikes_reference > 0 for layer in found.layers), str(found)


@pytest.mark.parametrize("settings", [CPP, SEPARATE, NUMPY], ids=["fused", "separate", "numpy"])
def test_a_recurrent_bias_reaches_its_neurons(settings: SimulationSettings) -> None:
    """In a cycle of a NIR graph the spikes arrive a step later; the bias acts from the first step on."""
    n, steps = 2, 12
    weight, bias = np.array([[0.0, 0.5], [-0.5, 0.0]]), np.array([0.8, 1.3])
    lif = nir.LIF(
        tau=np.full(n, 4e-3), r=np.full(n, 2.0), v_leak=np.zeros(n), v_threshold=np.full(n, 0.5), v_reset=np.zeros(n)
    )
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([n])),
            "lif": lif,
            "back": nir.Affine(weight, bias),
            "output": nir.Output(np.array([n])),
        },
        [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")],
    )
    v, z, expected = np.zeros(n), np.zeros(n), np.zeros((steps, n), bool)
    for t in range(steps):
        v = v + 0.25 * (2 * (weight @ z + bias) - v)
        z = v > 0.5
        v = np.where(z, 0, v)
        expected[t] = z
    spec = read_nir(graph, steps=steps, discretisation="euler")
    assert expected.any() and np.array_equal(
        simulate(spec, np.zeros((1, steps, n)), settings).spikes["lif"][0], expected
    )
