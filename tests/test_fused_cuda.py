"""The GPU's kernels without a GPU: the generated program, compiled against a stand-in for CUDA, answers to the last bit
as the processor's does."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from emulated_cuda import emulate
from hypothesis import HealthCheck, given, settings
from networks import CPP
from nir_specs import specs
from test_growing import grown
from test_spec_simulation import LI, NEURONS, PROBE, lif, network, shown

from alade_brian.conversion.spec import (
    Convolution,
    Dense,
    Identity,
    NetworkSpec,
    NeuronEquations,
    Operator,
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
from alade_brian.simulation import simulate

# ALADE_BRIAN_EXAMPLES=500 python -m pytest tests/test_fused_cuda.py for a long run: every example is compiled twice.
EXAMPLES = int(os.environ.get("ALADE_BRIAN_EXAMPLES", "4"))
CACHE = CPP.cache_folder
DRAW = np.random.default_rng(11)


def cache() -> Path:
    """The test session's."""
    return CPP.cache_folder


class Layers:
    """A network that is written down layer by layer, with weights of a size that lets neurons spike now and then."""

    def __init__(self, *stimuli: Stimulus) -> None:
        self.stimuli, self.shapes = stimuli, {s.name: s.shape for s in stimuli}
        self.populations: list[Population] = []
        self.projections: list[Projection] = []

    def add(self, name: str, shape: Shape, neuron: NeuronEquations) -> None:
        self.shapes[name] = shape
        self.populations.append(Population(name, shape, neuron, DRAW.uniform(-0.1, 0.3, shape)))

    def link(self, source: str, target: str, operator: Operator, delay: int = 0, first: int = 0) -> None:
        self.projections.append(Projection(source, target, operator, delay, first))

    def then(self, source: str, name: str, operator: Operator, neuron: NeuronEquations) -> None:
        """A layer that an operator makes."""
        self.add(name, operator.output_shape(self.shapes[source]), neuron)
        self.link(source, name, operator)

    def spec(self, readout: Readout, steps: int = 4) -> NetworkSpec:
        return NetworkSpec(self.stimuli, tuple(self.populations), tuple(self.projections), readout, steps)


def weights(*shape: int) -> np.ndarray:
    return DRAW.normal(0.0, 1.6 / np.sqrt(np.prod(shape[1:])), shape)


def images_of_two_axes() -> NetworkSpec:
    """Strides, padding, dilation, groups; more channels than a warp has lanes, odd ones; residual sums, delays, cycles."""
    net = Layers(Stimulus((3, 9, 8)))
    net.then("image", "wide", Convolution(weights(33, 3, 3, 3), padding=(1, 1)), NEURONS["adaptive threshold"])
    net.then("wide", "strided", Convolution(weights(40, 33, 3, 3), (2, 2), (1, 1)), NEURONS["subtract"])
    net.then(
        "strided", "grouped", Convolution(weights(40, 5, 3, 3), padding=(1, 1), groups=8), NEURONS["synaptic current"]
    )
    net.link("strided", "grouped", Identity())
    net.link("grouped", "grouped", Convolution(weights(40, 1, 3, 3), padding=(1, 1), groups=40), delay=1)
    net.then("grouped", "dilated", Convolution(weights(5, 40, 2, 2), dilation=(3, 2)), NEURONS["late"])
    net.then("grouped", "pooled", Pooling((2, 2), (2, 2)), lif(parameters={"amplitude": constant(1.5)}))
    net.then("pooled", "back", TransposedConvolution(weights(40, 3, 3, 2), (2, 1), (1, 0), groups=2), PROBE)
    net.add("tiles", (130,), lif(parameters={"amplitude": constant(DRAW.uniform(0.5, 2, 130))}))
    net.link("pooled", "tiles", Dense(weights(130, np.prod(net.shapes["pooled"]))))
    net.link("dilated", "tiles", Sparse([0, 7, 128, 129, 7], [3, 0, 9, 11, 0], [2, 1, 2, -1, 1.5], (130,)))
    net.link("grouped", "tiles", Dense(weights(130, np.prod(net.shapes["grouped"]))), delay=2)
    net.link("tiles", "tiles", Dense(weights(130, 130)), delay=1)
    net.link("back", "tiles", Dense(weights(100, np.prod(net.shapes["back"]))), first=17)
    net.then("tiles", "answer", Dense(weights(10, 130)), LI)
    return net.spec(Readout("answer"))


def images_of_one_axis() -> NetworkSpec:
    net = Layers(Stimulus((5, 17), "image", "sequence"), Stimulus((6,), "more", "sequence"))
    net.then("image", "line", Convolution(weights(9, 5, 1, 4), (1, 2), (0, 3)), NEURONS["euler"])
    net.link("more", "line", Dense(weights(np.prod(net.shapes["line"]), 6)))
    net.then(
        "line", "depthwise", Convolution(weights(18, 1, 1, 3), padding=(0, 1), groups=9), NEURONS["late to a value"]
    )
    net.then("depthwise", "sums", Pooling((1, 3), (1, 2), padding=(0, 1), average=False), NEURONS["scaled input"])
    net.then("sums", "up", TransposedConvolution(weights(18, 4, 1, 2), (1, 2)), LI)
    net.link("up", "line", Dense(weights(np.prod(net.shapes["line"]), np.prod(net.shapes["up"]))), delay=1)
    net.then("up", "answer", Dense(weights(6, np.prod(net.shapes["up"]))), NEURONS["no reset"])
    return net.spec(Readout("answer", "spike_count", group=2), steps=6)


def given_spikes() -> NetworkSpec:
    """What a growing network's head is shown: spikes, of more channels than a word has bits."""
    net = Layers(Stimulus((70, 2, 3), "first", "spikes"), Stimulus((9,), "second", "spikes"))
    net.then("first", "a", Convolution(weights(34, 70, 2, 2)), NEURONS["lif"])
    net.link("second", "a", Dense(weights(68, 9)))
    net.then("a", "answer", Dense(weights(4, 68)), LI)
    return net.spec(Readout("answer", "every_step"), steps=5)


SPECS = {
    "two axes": images_of_two_axes,
    "one axis": images_of_one_axis,
    "given spikes": given_spikes,
    "several extractors": lambda: grown(3),
}


def seen(spec: NetworkSpec, count: int = 3) -> dict[str, np.ndarray]:
    found = shown(spec, count)
    return {k: v > 0.4 for k, v in found.items()} if spec.stimulus.coding == "spikes" else found


def assert_alike(spec: NetworkSpec, dtype: str = "float64") -> list[float]:
    """Every spike, and every bit of every membrane and logit; returns the firing rates."""
    images, traces = seen(spec), [p.name for p in spec.populations]
    wanted = simulate(spec, images, dataclasses.replace(CPP, batch=2, dtype=dtype), traces)
    found = emulate(spec, images, cache(), 2, dtype, traces)
    for name in traces:
        assert np.array_equal(found.traces[name], wanted.traces[name]), (name, spec)
    for name, spikes in wanted.spikes.items():
        assert np.array_equal(found.spikes[name], spikes), (name, spec)
    assert np.array_equal(found.logits, wanted.logits)
    return [float(spikes.mean()) for spikes in wanted.spikes.values()]


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_every_geometry_is_that_of_the_processor(name: str) -> None:
    rates = assert_alike(SPECS[name]())
    assert min(rates) > 0 and max(rates) < 1, rates


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), [("graded", "float32"), ("per neuron", "float64"), ("late", "float32")])
def test_every_neuron_is_that_of_the_processor(name: str, dtype: str) -> None:
    assert_alike(network(NEURONS[name], "direct"), dtype)


@pytest.mark.slow
def test_random_networks_are_those_of_the_processor() -> None:
    rates = []

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(specs())
    def check(spec: NetworkSpec) -> None:
        rates.extend(assert_alike(spec))

    check()
    assert any(0.01 < rate < 0.99 for rate in rates)
