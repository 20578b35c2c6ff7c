"""The GPU's kernels without a GPU: the generated program, compiled against a stand-in for CUDA, answers to the last bit
as the processor's does."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from emulated_cuda import Emulation, emulate
from hypothesis import HealthCheck, given, settings
from networks import CPP, conv_net, dyadic_images
from nir_specs import specs
from small_specs import Layers
from test_growing import grown
from test_spec_simulation import LI, NEURONS, PROBE, lif, network, shown

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, simulate
from alade_brian.simulation.cache.builds import PROGRAM
from alade_brian.simulation.cuda.compiler import Target
from alade_brian.simulation.cuda.fused_limits import IMAGES_ON_GPU, NEURONS_ON_GPU
from alade_brian.simulation.cuda.fused_program import LAMBDAS, FusedCudaProgram
from alade_brian.simulation.cuda.toolkit import Gpu, check_gpu, find_gpu, find_toolkit
from alade_brian.simulation.engines.growing import GrowingProgram
from alade_brian.simulation.engines.make import make_engine
from alade_brian.simulation.fused.program import FusedProgram
from alade_brian.simulation.planning import draft_plan
from alade_brian.simulation.simulator import Images, arrays, pixels
from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
    NetworkSpec,
    Pooling,
    Population,
    Projection,
    Readout,
    Sparse,
    Stimulus,
    TransposedConvolution,
    constant,
)

# ALADE_BRIAN_EXAMPLES=500 python -m pytest tests/test_fused_cuda.py for a long run: every example is compiled twice.
EXAMPLES = int(os.environ.get("ALADE_BRIAN_EXAMPLES", "3"))
DRAW = np.random.default_rng(11)


def weights(*shape: int) -> np.ndarray:
    return DRAW.normal(0.0, 1.6 / np.sqrt(np.prod(shape[1:])), shape)


def images_of_two_axes() -> NetworkSpec:
    """Strides, padding, dilation, groups; more channels than a warp has lanes, odd ones; residual sums, delays, cycles."""
    net = Layers(DRAW, Stimulus((3, 9, 8)))
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
    net = Layers(DRAW, Stimulus((5, 17), "image", "sequence"), Stimulus((6,), "more", "sequence"))
    net.then("image", "line", Convolution(weights(9, 5, 1, 4), (1, 2), (0, 3)), NEURONS["euler"])
    net.link("more", "line", Dense(weights(np.prod(net.shapes["line"]), 6)))
    net.then(
        "line", "depthwise", Convolution(weights(18, 1, 1, 3), padding=(0, 1), groups=9), NEURONS["late to a value"]
    )
    net.then("depthwise", "sums", Pooling((1, 3), (1, 2), padding=(0, 1), average=False), NEURONS["scaled input"])
    net.then("sums", "up", TransposedConvolution(weights(18, 4, 1, 2), (1, 2)), LI)
    net.link("up", "line", Dense(weights(np.prod(net.shapes["line"]), np.prod(net.shapes["up"]))), delay=1)
    net.then("up", "answer", Dense(weights(6, np.prod(net.shapes["up"]))), NEURONS["no reset"])
    return net.spec(Readout("answer", "spike_count", neurons_per_output=2), steps=6)


def given_spikes() -> NetworkSpec:
    """What a growing network's head is shown: spikes, of more channels than a word has bits."""
    net = Layers(DRAW, Stimulus((70, 2, 3), "first", "spikes"), Stimulus((9,), "second", "spikes"))
    net.then("first", "a", Convolution(weights(34, 70, 2, 2)), NEURONS["lif"])
    net.link("second", "a", Dense(weights(68, 9)))
    net.then("a", "answer", Dense(weights(4, 68)), LI)
    return net.spec(Readout("answer", "every_step"), steps=5)


def several_variables() -> NetworkSpec:
    """Projections into variables of their own, in turn, one of them twice in a row."""
    net, gated = Layers(DRAW, Stimulus((4, 5, 5))), NEURONS["lif"]
    gated = dataclasses.replace(
        gated, model=f"{gated.model}\nexc : 1\ninh : 1", update="v += exc / (1 + abs(inh))\nexc = 0\ninh = 0"
    )
    net.then("image", "a", Convolution(weights(40, 4, 3, 3), padding=(1, 1)), NEURONS["lif"])
    net.then("a", "b", Convolution(weights(12, 40, 3, 3)), gated)
    net.projections.pop()
    for into, delay in (("exc", 0), ("exc", 1), ("inh", 0), ("", 0), ("inh", 2)):
        net.link("a", "b", Convolution(weights(12, 40, 3, 3)), delay=delay, into=into)
    net.then("b", "answer", Dense(weights(3, np.prod(net.shapes["b"]))), LI)
    return net.spec(Readout("answer"))


SPECS = {
    "several variables": several_variables,
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
    found = emulate(spec, images, CPP.cache_folder, 2, dtype, traces)
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


SMALL = convert(conv_net(), (2, 7, 6))
SHOWN = dyadic_images(9, 2, 7, 6)


def small_program(batch: int, spec: NetworkSpec = SMALL) -> FusedCudaProgram:
    return FusedCudaProgram(spec, batch, "float64", CPP.cache_folder, Emulation())


def block(first: int, last: int, shown: Images = SHOWN) -> np.ndarray:
    return pixels(SMALL, arrays(SMALL, shown))[first:last]


def test_the_stream_is_that_of_the_processor() -> None:
    """Spikes, logits and synaptic events, with blocks that fill presentations and such that do not, asked for one after
    the other or ahead; the number of images side by side needs no other program."""
    wanted = list(FusedProgram(SMALL, 2, "float64", CPP.cache_folder).stream([block(0, 4), block(4, 9)]))
    first = small_program(2)
    second = small_program(3)
    assert not second.compiled
    apart = [next(second.stream([part])) for part in (block(0, 4), block(4, 9))]
    for found in (list(first.stream([block(0, 4), block(4, 9)])), apart):
        for ours, theirs in zip(found, wanted, strict=True):
            assert np.array_equal(ours.events, theirs.events) and ours.events.sum() > 0
            assert np.array_equal(ours.logits, theirs.logits)
            assert all(np.array_equal(ours.spikes[name], bits) for name, bits in theirs.spikes.items())
    (answer,) = first.stream([block(0, 4)], record=False)
    assert not answer.spikes and np.array_equal(answer.logits, wanted[0].logits)


def test_weights_need_no_other_program() -> None:
    other = convert(conv_net(seed=5), (2, 7, 6))
    small_program(2)
    program = small_program(2, other)
    assert not program.compiled
    (found,) = program.stream([block(0, 9)])
    wanted = simulate(other, SHOWN, CPP)
    assert np.array_equal(found.logits, wanted.logits)
    assert not np.array_equal(found.logits, simulate(SMALL, SHOWN, CPP).logits)


def test_a_gpu_without_memory_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_SHIM_BYTES", "20000")
    with pytest.raises(
        UserError, match="memory does not suffice; use a smaller simulation.batch.*no memory left for the network"
    ):
        list(small_program(2).stream([block(0, 9)]))


def test_the_stand_in_notices_a_missing_barrier() -> None:
    """Without one, lanes read a list that others have not written yet: what the tests here say is worth something."""
    spec = grown(1)
    images = seen(spec)
    wanted = simulate(spec, images, CPP)
    broken = emulate(spec, images, CPP.cache_folder, flags=("-DCUDA_SHIM_FORGETS_SYNCWARP",))
    assert not all(np.array_equal(broken.spikes[name], spikes) for name, spikes in wanted.spikes.items())


def test_the_backend_answers_as_the_processor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(0, "a stand-in", "sm_90", 2**34, 2**33, "580", (13, 0))
    monkeypatch.setattr("alade_brian.simulation.engines.cuda.this_machine", Emulation)
    monkeypatch.setattr("alade_brian.simulation.planning.find_gpu", lambda: gpu)
    cuda = SimulationSettings(backend="cuda", batch=4, workers=None)
    wanted = simulate(SMALL, SHOWN, CPP)
    found = simulate(SMALL, SHOWN, cuda)
    assert np.array_equal(found.logits, wanted.logits)
    assert all(np.array_equal(found.spikes[name], spikes) for name, spikes in wanted.spikes.items())


def test_what_kernels_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = lif(update="v += 0.1*randn()")
    spec = NetworkSpec(
        (Stimulus((4,)),), (Population("hidden", (4,), noisy),), (Projection("image", "hidden", Identity()),),
        Readout("hidden", "spike_count"), 2,
    )  # fmt: skip
    cuda = dataclasses.replace(CPP, backend="cuda")
    with pytest.raises(UserError, match=r"'hidden' draw random numbers \(randn\).*--connectivity explicit"):
        draft_plan(spec, cuda)
    assert draft_plan(SMALL, cuda).passes == "fused"
    listed = dataclasses.replace(
        spec,
        populations=(Population("hidden", (4,), lif()),),
        projections=(Projection("image", "hidden", Sparse([0], [1], [1.0], (4,))),),
    )
    assert draft_plan(listed, cuda).passes == "fused"
    monkeypatch.setattr("alade_brian.simulation.gather.DENSE_AT_MOST", 3)
    with pytest.raises(UserError, match="list of connections that is too long for shared connectivity on a GPU"):
        draft_plan(listed, cuda)


def test_images_side_by_side_follow_from_the_neurons() -> None:
    cuda = dataclasses.replace(CPP, backend="cuda")
    neurons = sum(p.size for p in SMALL.populations)
    assert draft_plan(SMALL, cuda).batch == min(IMAGES_ON_GPU, NEURONS_ON_GPU // neurons)
    wide = NetworkSpec(
        (Stimulus((1, 1024, 1024)),), (Population("hidden", (3, 1024, 1024), lif()),),
        (Projection("image", "hidden", Convolution(np.ones((3, 1, 1, 1)))),), Readout("hidden", "spike_count"), 2,
    )  # fmt: skip
    assert draft_plan(wide, cuda).batch == 5
    assert draft_plan(wide, dataclasses.replace(cuda, batch=7)).batch == 7


def test_a_network_that_grows_is_answered_in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("alade_brian.simulation.engines.cuda.this_machine", Emulation)
    cuda = dataclasses.replace(CPP, backend="cuda", reuse=True, batch=2)
    spec = grown(2)
    engine, size = make_engine(draft_plan(spec, cuda), ())
    assert isinstance(engine, GrowingProgram) and size % 2 == 0
    images = seen(spec)
    (found,) = engine.stream([pixels(spec, images)])
    wanted = simulate(spec, images, CPP)
    assert np.array_equal(found.logits, wanted.logits)
    assert all(np.array_equal(found.unpacked().spikes[name], spikes) for name, spikes in wanted.spikes.items())
    # What the processor answered is not taken for the GPU's.
    assert {e.program.kind for e in engine.extractors} == {"gpu"}


# Functions that Brian2 brings itself, and such that CUDA has.
FUNCTIONS = lif(
    update="v = clip(v, -3, 3) + 0.01*exp(-v**2) + 0.1*sign(v)*int(v > 2) + 0.01*(i % 3) + exprel(0.01*v) - 1"
)


@pytest.mark.slow
def test_functions_in_equations() -> None:
    assert_alike(network(FUNCTIONS, "direct"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nvcc_compiles_and_links_the_program(dtype: str, tmp_path: Path) -> None:
    """And where there is a GPU, it answers as the processor does."""
    try:
        toolkit = find_toolkit()
    except UserError as missing:
        pytest.skip(str(missing))
    spec = network(FUNCTIONS, "direct")
    program = FusedCudaProgram(spec, 2, dtype, tmp_path, Target(toolkit))
    assert (program.folder / PROGRAM).read_bytes()[:4] == b"\x7fELF"
    images = seen(spec)
    try:
        check_gpu(find_gpu(), toolkit)
    except UserError:
        with pytest.raises(UserError, match="no GPU can be used"):
            list(program.stream([pixels(spec, images)]))
        return
    (found,) = program.stream([pixels(spec, images)])
    wanted = simulate(spec, images, dataclasses.replace(CPP, dtype=dtype))
    assert all(np.array_equal(found.unpacked().spikes[name], spikes) for name, spikes in wanted.spikes.items())


@pytest.mark.slow
def test_no_instruction_makes_runs_differ(tmp_path: Path) -> None:
    """Neither atomics, whose order is open, nor a multiplication joined with an addition, which rounds once only."""
    try:
        target = Target(find_toolkit())
    except UserError as missing:
        pytest.skip(str(missing))
    program = FusedCudaProgram(network(NEURONS["graded"], "direct"), 2, "float64", tmp_path, target)
    command = [word for word in target.command(LAMBDAS, "-ptx") if not word.startswith("-Xcompiler")]
    command[command.index("-o") + 1] = "whole.ptx"
    subprocess.run(command, cwd=program.folder, check=True, capture_output=True)
    kernels = (program.folder / "whole.ptx").read_text()
    assert kernels.count(".entry") > 8 and "add.f64" in kernels.replace("add.rn.f64", "add.f64")
    assert not re.findall(r"^\s*(?:atom|red|fma|mad\.rn)\b", kernels, re.MULTILINE)
