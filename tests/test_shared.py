"""Shared kernels against lists of synapses: the same sums, the same spikes, in fused and in separate passes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from math import prod
from pathlib import Path

import brian2 as b2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import CPP, NUMPY, conv_net, dyadic_images
from nir_specs import SpecNumbers, operators, reshaped, specs
from small_specs import through
from test_operators import PROPERTY, convolutions, images, transposed
from test_spec_simulation import NEURONS, assert_as_reference, network, shown

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, open_simulator, simulate, synaptic_events
from alade_brian.simulation.cache.builds import standalone_project
from alade_brian.simulation.fused.program import FusedProgram
from alade_brian.simulation.gather import aligned, channels_last, gather, kernel, pixels, stretches, stride
from alade_brian.simulation.planning import draft_plan
from alade_brian.simulation.preferences import preferences
from alade_brian.simulation.separate.shared_synapses import SharedSynapses
from alade_brian.simulation.settings import DTYPES
from alade_brian.spec import (
    Convolution,
    Dense,
    NetworkSpec,
    Operator,
    Pooling,
    Population,
    Projection,
    Readout,
    Shape,
    Sparse,
    SpecError,
    Stimulus,
)
from alade_brian.spec.synapses import matrix
from alade_brian.spikes.packed import count, pack, unpack

# ALADE_BRIAN_EXAMPLES=500 python -m pytest tests/test_shared.py for a long run: every example is compiled.
EXAMPLES = int(os.environ.get("ALADE_BRIAN_EXAMPLES", "10"))
SEPARATE = dataclasses.replace(CPP, passes="separate")
EXPLICIT = dataclasses.replace(NUMPY, connectivity="explicit")
PLAIN = NEURONS["lif"]


def between(source: Shape, target: Shape, operator: Operator, first: int = 0) -> NetworkSpec:
    """One population that sends through an operator to another."""
    neurons, flat = (NEURONS["no memory"], NEURONS["no memory"]), Stimulus((prod(source),))
    return through(operator, source, target, neurons, "spike_count", stimulus=flat, target_offset=first)


def as_matrix(spec: NetworkSpec) -> np.ndarray:
    """What the taps and the kernel of the second projection add up to, ``(target, source)`` in the order of a spec."""
    projection, source, target = spec.projections[1], spec.shape("a"), spec.shape("b")
    taps, weights = gather(spec, projection), kernel(spec, projection)
    assert weights.shape == (taps.blocks, source[0], taps.row)
    found = np.zeros((pixels(target), target[0], pixels(source), source[0]))
    for pixel in range(pixels(target)):
        for tap in range(taps.first[pixel], taps.first[pixel + 1]):
            for channel in range(source[0]):
                begin = taps.offset + channel // taps.per_row * taps.row
                part = found[pixel, begin : begin + taps.row, taps.source[tap], channel]
                part += weights[taps.block[tap], channel]
    return found.transpose(1, 0, 3, 2).reshape(prod(target), prod(source))


def assert_gathered(spec: NetworkSpec) -> None:
    projection = spec.projections[1]
    expected = np.zeros((prod(spec.shape("b")), prod(spec.shape("a"))))
    listed = matrix(projection.operator, spec.shape("a")).toarray()
    expected[projection.target_offset : projection.target_offset + len(listed)] = listed
    assert np.array_equal(as_matrix(spec), expected)
    assert_joined(spec)


def assert_joined(spec: NetworkSpec) -> None:
    """Stretches name the same rows of the kernel, in the same order, as the taps that they join."""
    channels, taps = spec.shape("a")[0], gather(spec, spec.projections[1])
    joined = stretches(taps, channels)
    for pixel in range(len(taps.first) - 1):
        mine = range(taps.first[pixel], taps.first[pixel + 1])
        rows = [
            (taps.source[t] * channels + c, taps.block[t] * channels + c) for t in mine for c in range(channels)
        ]  # fmt: skip
        found = [
            (number, joined.shift[k] + number)
            for k in range(joined.first[pixel], joined.first[pixel + 1])
            for number in range(joined.begin[k] * channels, joined.end[k] * channels)
        ]
        assert found == rows


@PROPERTY
@given(st.data())
def test_gathered_convolutions_are_the_listed_ones(data: st.DataObject) -> None:
    shape = data.draw(images())
    operator = data.draw(st.one_of(convolutions(shape), transposed(shape)))
    try:
        made = operator.output_shape(shape)
    except SpecError:
        assume(False)
    assert_gathered(between(shape, made, operator))


@PROPERTY
@given(st.data())
def test_every_gathered_operator_is_the_listed_one(data: st.DataObject) -> None:
    shapes = st.sampled_from([(4,), (12,), (2, 6), (3, 5), (2, 3, 4), (4, 3, 4)])
    source, target = data.draw(shapes), data.draw(shapes)
    numbers = SpecNumbers(data.draw(st.integers(0, 99)))
    ways = operators(numbers, source, target) + reshaped(numbers, source, target)
    operator, first = data.draw(st.sampled_from(ways))
    assert_gathered(between(source, target, operator, first))


@pytest.mark.parametrize(("source", "target"), [((4,), (1, 2, 2)), ((1, 2, 2), (4,)), ((1, 2, 2), (2, 2, 2))])
def test_an_image_that_is_flattened_is_the_same_in_every_pass(source: Shape, target: Shape) -> None:
    """Also in the number of synaptic events, where the connections are gathered as a full matrix."""
    shown = np.random.default_rng(0).normal(size=(5, prod(source))) * 2
    arrived = 0
    for operator, first in reshaped(SpecNumbers(3), source, target):
        spec = between(source, target, operator, first)
        wanted = simulate(spec, shown, EXPLICIT)
        assert wanted.spikes["a"].any()
        for way in (CPP, SEPARATE, NUMPY):
            assert np.array_equal(simulate(spec, shown, way).spikes["b"], wanted.spikes["b"])
        [(_, fused)] = open_simulator(spec, CPP).packed_chunks(shown)
        assert fused.events.sum() == synaptic_events(spec, wanted)
        arrived += wanted.spikes["b"].any()
    assert arrived


def test_neighbouring_taps_of_a_kernel_row_are_one_stretch() -> None:
    spec = between((2, 5, 6), (3, 5, 6), Convolution(np.ones((3, 2, 3, 3)), padding=(1, 1)))
    joined = stretches(gather(spec, spec.projections[1]), 2)
    # Three rows of the kernel lie within the image, two at its upper and lower edge.
    assert np.diff(joined.first).reshape(5, 6).tolist() == [[2] * 6, *[[3] * 6] * 3, [2] * 6]


@pytest.mark.parametrize(("row", "itemsize", "expected"), [(1, 8, 1), (3, 8, 8), (8, 8, 8), (9, 4, 16), (64, 4, 64)])
def test_rows_of_a_kernel_begin_aligned(row: int, itemsize: int, expected: int) -> None:
    assert stride(row, itemsize) == expected
    values = np.arange(2 * 3 * row, dtype=float).reshape(2, 3, row)
    filled = aligned(values, itemsize).reshape(2, 3, expected)
    assert np.array_equal(filled[..., :row], values) and not filled[..., row:].any()


@PROPERTY
@given(st.sampled_from([(1,), (9,), (3, 5), (10, 2, 3), (64, 1, 2)]), st.integers(0, 99))
def test_packing_loses_nothing(shape: Shape, seed: int) -> None:
    raster = np.random.default_rng(seed).random((3, 2, prod(shape))) < 0.3
    bits = pack(raster, shape)
    assert bits.shape == (3, 2, pixels(shape) * -(-shape[0] // 8))
    assert count(bits) == raster.sum()
    assert np.array_equal(unpack(bits, shape), raster)
    first = np.unpackbits(bits[..., : -(-shape[0] // 8)], axis=-1, bitorder="little")[..., : shape[0]]
    assert np.array_equal(first, channels_last(raster, shape)[:, :, 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_in_fused_passes(name: str) -> None:
    coding = "direct" if list(NEURONS).index(name) % 2 else "sequence"
    spec = network(NEURONS[name], coding)
    assert draft_plan(spec, dataclasses.replace(CPP, passes="fused")).passes == "fused"
    assert_as_reference(spec, dataclasses.replace(CPP, passes="fused", batch=2))


@pytest.mark.parametrize("settings", [SEPARATE, EXPLICIT], ids=["separate", "explicit"])
def test_the_other_ways_do_the_same(settings: SimulationSettings) -> None:
    assert_as_reference(network(NEURONS["graded"]), dataclasses.replace(settings, batch=2))


@pytest.mark.slow
def test_random_networks_spike_alike_in_every_way() -> None:
    """Fused in C++, separate passes in numpy, and one weight per synapse: the same answers of random networks."""
    fired = []

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(specs(), st.sampled_from([1, 2]))
    def check(spec: NetworkSpec, batch: int) -> None:
        # NIR's order allows a layer's state to be what it was; what is shown must be alike for all.
        images = shown(spec)
        traces = [p.name for p in spec.populations]
        ways = [dataclasses.replace(way, batch=batch) for way in (CPP, NUMPY, EXPLICIT)]
        fused, *others = (simulate(spec, images, way, traces) for way in ways)
        fired.extend(raster.mean() for raster in fused.spikes.values())
        for other in others:
            for name in fused.spikes:
                assert np.array_equal(fused.spikes[name], other.spikes[name]), (name, spec)
            for name in traces:
                assert np.allclose(fused.traces[name], other.traces[name], rtol=1e-9, atol=1e-12), (name, spec)
            assert np.allclose(fused.logits, other.logits, rtol=1e-9, atol=1e-12)

    check()
    assert np.mean([0.01 < rate < 0.99 for rate in fired]) > 0.4, fired


def test_batch_and_type_change_nothing() -> None:
    spec = convert(conv_net(), (2, 7, 6))
    shown = dyadic_images(7, 2, 7, 6)
    first, *others = (
        simulate(spec, shown, dataclasses.replace(CPP, batch=batch, dtype=dtype))
        for batch, dtype in ((1, "float64"), (3, "float64"), (2, "float32"))
    )
    for other in others:
        assert all(np.array_equal(first.spikes[name], other.spikes[name]) for name in first.spikes)


def test_what_is_not_recorded_is_answered_alike() -> None:
    spec, shown = convert(conv_net(), (2, 7, 6)), dyadic_images(9, 2, 7, 6)
    simulator = open_simulator(spec, dataclasses.replace(CPP, batch=2))
    recorded = np.concatenate([found.logits for _, found in simulator.packed_chunks(shown)])
    assert np.array_equal(simulator.answers(shown), recorded)
    assert not next(simulator.packed_chunks(shown, record=False))[1].spikes


def test_synaptic_events_are_counted_where_they_happen() -> None:
    spec, shown = convert(conv_net(), (2, 7, 6)), dyadic_images(4, 2, 7, 6)
    ((_, found),) = open_simulator(spec, CPP).packed_chunks(shown)
    assert found.events is not None and found.events.sum(1).min() > 0
    assert found.events.sum() == synaptic_events(spec, found.unpacked())


def test_names_do_not_matter_to_a_build(tmp_path: Path) -> None:
    spec = between((2, 3, 4), (2, 3, 4), Pooling((3, 3), (1, 1), padding=(1, 1)))
    renamed = NetworkSpec(
        spec.stimuli,
        tuple(dataclasses.replace(p, name=f"other.{p.name}") for p in spec.populations),
        (
            dataclasses.replace(spec.projections[0], target="other.a"),
            dataclasses.replace(spec.projections[1], source="other.a", target="other.b"),
        ),
        dataclasses.replace(spec.readout, population="other.b"),
        spec.steps,
    )
    settings = dataclasses.replace(CPP, cache=tmp_path)
    assert open_simulator(spec, settings).compiled
    assert not open_simulator(renamed, settings).compiled


def test_a_list_that_is_too_long_to_gather_runs_in_separate_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = between((4,), (4,), Sparse([0, 3], [1, 2], [0.9, 0.8], (4,)))
    shown = np.random.default_rng(0).random((3, 4))
    gathered = simulate(spec, shown, CPP)
    monkeypatch.setattr("alade_brian.simulation.gather.DENSE_AT_MOST", 3)
    assert draft_plan(spec, CPP).passes == "separate"
    listed = simulate(spec, shown, NUMPY)
    assert gathered.spikes["b"].any() and np.array_equal(gathered.spikes["b"], listed.spikes["b"])


def test_a_stream_that_is_left_does_not_spoil_the_next(tmp_path: Path) -> None:
    spec = convert(conv_net(), (2, 7, 6))
    program = FusedProgram(spec, 1, "float64", CPP.cache_folder)
    blocks = [dyadic_images(4, 1, 84, seed=k) for k in range(6)]
    expected = [found.logits for found in program.stream(blocks)]
    left = program.stream(blocks)
    next(left)
    left.close()
    again = [found.logits for found in program.stream(blocks[3:])]
    assert all(np.array_equal(a, b) for a, b in zip(again, expected[3:], strict=True))


def test_what_goes_wrong_with_the_images_comes_out() -> None:
    def broken() -> object:
        yield dyadic_images(4, 1, 84)
        raise OSError("no more images")

    program = FusedProgram(convert(conv_net(), (2, 7, 6)), 1, "float64", CPP.cache_folder)
    with pytest.raises(OSError, match="no more images"):
        list(program.stream(broken()))  # type: ignore[arg-type]


def test_a_program_that_dies_is_said_to_be_dead() -> None:
    program = FusedProgram(convert(conv_net(), (2, 7, 6)), 1, "float64", CPP.cache_folder)
    answers = program.stream([dyadic_images(4, 1, 84)] * 50)
    next(answers)
    assert program._process is not None
    program._process._child.kill()
    with pytest.raises(UserError, match="ended with code -9"):
        list(answers)


ON_PRE = {
    "a weight": "v_post += w",
    "into a current": "g_post += 2*w*h_pre",
    "two statements": "v_post += w\ng_post += w**2",
    "bounded": "g_post = clip(g_post + w, -0.5, 0.5)",
}


def state_after(make: str, on_pre: str, delay: int, run: Callable[[b2.Network], None]) -> np.ndarray:
    """State ``(v and g, neurons)`` of a group after some steps of input through a convolution, shared or listed."""
    operator = Convolution(np.random.default_rng(2).normal(size=(3, 2, 3, 3)), padding=(1, 1))
    spec = between((2, 4, 5), (3, 4, 5), operator)
    clock = b2.Clock(1 * b2.ms)
    source = b2.NeuronGroup(40, "x : 1\nh : 1", threshold="(i + t_in_timesteps) % 4 == 0", clock=clock)
    reached = b2.NeuronGroup(60, "v : 1\ng : 1", clock=clock)
    source.h = "0.1*i"
    if make == "shared":
        weights, taps = (made(spec, spec.projections[1]) for made in (kernel, gather))
        synapses = SharedSynapses(source, reached, ((2, 4, 5), (3, 4, 5)), taps, weights, on_pre, "synapses", delay)
    else:
        listed = matrix(operator, (2, 4, 5)).tocoo()
        synapses = b2.Synapses(source, reached, "w : 1 (constant)", on_pre=on_pre, delay=delay * b2.ms, clock=clock)
        synapses.connect(i=listed.col, j=listed.row)
        synapses.w = listed.data
    run(b2.Network(source, reached, synapses))
    return np.array([reached.v, reached.g])


@pytest.mark.parametrize("delay", [0, 1, 3])
@pytest.mark.parametrize("case", ON_PRE)
def test_any_on_pre_does_what_synapses_do(case: str, delay: int) -> None:
    def run(network: b2.Network) -> None:
        network.run(7 * b2.ms, namespace={})

    with preferences(codegen__target="numpy"):
        found = state_after("shared", ON_PRE[case], delay, run)
        expected = state_after("listed", ON_PRE[case], delay, run)
    assert np.any(found != 0)
    assert np.allclose(found, expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["into a current", "bounded"])
def test_any_on_pre_in_compiled_code(case: str, tmp_path: Path) -> None:
    found = []
    for make in ("shared", "listed"):
        folder = tmp_path / make
        folder.mkdir()
        with standalone_project(folder, np.float64):

            def run(network: b2.Network, folder: Path = folder) -> None:
                network.run(7 * b2.ms, namespace={})
                b2.device.build(directory=str(folder), with_output=False)

            found.append(state_after(make, ON_PRE[case], 3, run))
    assert np.any(found[0][1] != 0)
    assert np.allclose(found[0], found[1], rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_wide_and_odd_rows(dtype: str) -> None:
    """Rows longer than all registers, and rows that end within a vector."""
    draw = np.random.default_rng(0)
    populations = tuple(Population(f"p{k}", (n,), PLAIN) for k, n in enumerate((300, 37, 1)))
    projections = (
        Projection("image", "p0", Dense(draw.integers(-8, 9, (300, 5)) / 8)),
        Projection("p0", "p1", Dense(draw.integers(-7, 9, (37, 300)) / 64)),
        Projection("p1", "p2", Dense(draw.integers(0, 9, (1, 37)) / 16)),
        Projection("p0", "p0", Dense(draw.integers(-8, 5, (300, 300)) / 512), delay=1),
    )
    spec = NetworkSpec((Stimulus((5,)),), populations, projections, Readout("p2", "spike_count"), 6)
    shown = draw.integers(-16, 17, (4, 5)) / 8
    found, expected = simulate(spec, shown, dataclasses.replace(CPP, dtype=dtype)), simulate(spec, shown, EXPLICIT)
    assert all(raster.any() for raster in expected.spikes.values())
    if dtype == "float64":
        assert all(np.array_equal(found.spikes[name], expected.spikes[name]) for name in expected.spikes)
    else:
        assert all(np.mean(found.spikes[n] != expected.spikes[n]) < 0.01 for n in expected.spikes)
