"""What a specification holds stays inside its arrays: geometry that does not is refused, and the rest is what numpy says.

The generated program is also run under the compiler's sanitizers, which see every access outside an array.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import CPP, NUMPY
from small_specs import FIRES, READS, through
from test_operators import KINDS

from alade_brian.machine import compiler
from alade_brian.simulation import simulate
from alade_brian.simulation.cache import builds
from alade_brian.simulation.fused.process import ProgramEnded
from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
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
    TransposedConvolution,
)
from alade_brian.spec.operators import planar

STEPS = 2
NUMBERS = (-(2**31), -5, -1, 0, 1, 2, 3, 4, 7, 2**31, 2**63, 1.5, float("nan"), "2", None, True)
FIELDS = {
    Convolution: ("stride", "padding", "dilation", "extent", "groups", "weight"),
    TransposedConvolution: ("stride", "padding", "dilation", "output_padding", "groups", "weight"),
    Pooling: ("kernel", "stride", "padding", "gain", "average"),
    Identity: ("gain",),
    Dense: ("weight",),
    Sparse: ("rows", "columns", "weight", "shape"),
}
ARRAYS = ("weight", "gain", "rows", "columns")


def network(source: Shape, target: Shape, operator: Operator, **changes: object) -> NetworkSpec:
    """A population whose neurons fire where a pixel is 1, and one that adds up what reaches it."""
    return through(operator, source, target, steps=STEPS, **changes)


def applied(operator: Operator, x: np.ndarray) -> np.ndarray:
    """What an operator makes of an array, by its definition, flat."""
    match operator:
        case Dense():
            return operator.weight @ x.ravel()
        case Identity():
            gain = operator.gain
            return (x * (gain if gain.ndim != 1 else gain.reshape(-1, *[1] * (x.ndim - 1)))).ravel()
        case Sparse():
            made = np.zeros(prod(operator.shape))
            np.add.at(made, operator.rows, operator.weight * x.ravel()[operator.columns])
            return made
        case Pooling():
            gain = np.broadcast_to(operator.gain, x.shape[:1])
            ones = np.ones((len(gain), 1, *operator.kernel)) * gain[:, None, None, None] * operator.scale
            return applied(Convolution(ones, operator.stride, operator.padding, len(gain)), x)
        case Convolution():
            return _convolved(operator, x.reshape(planar(x.shape))).ravel()
        case TransposedConvolution():
            return _transposed(operator, x.reshape(planar(x.shape))).ravel()


def _convolved(operator: Convolution, x: np.ndarray) -> np.ndarray:
    rows, columns = operator.extent or x.shape[1:]
    x = np.pad(x[:, :rows, :columns], ((0, 0), *((p, p) for p in operator.padding)))
    outputs, per_group, *kernel = operator.weight.shape
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, operator.dilation, strict=True)]
    made = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:], reach, operator.stride, strict=True)]
    result = np.zeros((outputs, *made))
    for out, row, column in np.ndindex(*result.shape):
        top, left = row * operator.stride[0], column * operator.stride[1]
        group = out // (outputs // operator.groups) * per_group
        window = x[group : group + per_group, top : top + reach[0], left : left + reach[1]]
        result[out, row, column] = np.sum(
            window[:, :: operator.dilation[0], :: operator.dilation[1]] * operator.weight[out]
        )
    return result


def _transposed(operator: TransposedConvolution, x: np.ndarray) -> np.ndarray:
    inputs, per_group, *kernel = operator.weight.shape
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, operator.dilation, strict=True)]
    whole = [
        (n - 1) * s + r + o
        for n, s, r, o in zip(x.shape[1:], operator.stride, reach, operator.output_padding, strict=True)
    ]
    result = np.zeros((per_group * operator.groups, *whole))
    for channel, row, column in np.ndindex(*x.shape):
        top, left = row * operator.stride[0], column * operator.stride[1]
        group = channel // (inputs // operator.groups) * per_group
        window = result[group : group + per_group, top : top + reach[0], left : left + reach[1]]
        window[:, :: operator.dilation[0], :: operator.dilation[1]] += (
            x[channel, row, column] * operator.weight[channel]
        )
    (up, left), (rows, columns) = operator.padding, whole
    return result[:, up : rows - up, left : columns - left]


def expected(spec: NetworkSpec, images: np.ndarray) -> np.ndarray:
    """The readout's membranes at the end: sums over the steps in which something arrives."""
    projection = spec.projections[1]
    made = np.zeros((len(images), prod(spec.shape("b"))))
    for image, frames in enumerate(images):
        for step, frame in enumerate(np.cumsum(frames, axis=0)):
            if step + projection.delay < STEPS:
                part = applied(projection.operator, (frame > 0.5).astype(float))
                made[image, projection.target_offset : projection.target_offset + len(part)] += part
    return made


def small(array: np.ndarray) -> np.ndarray:
    """Numbers k/16, so that sums are exact."""
    return np.round(array * 16) / 16


@st.composite
def perturbed(draw: st.DrawFn) -> NetworkSpec:
    """A network with one operator of which something may be changed. Raises what the specification raises."""
    source = draw(st.sampled_from([(2, 4, 3), (3, 5), (4,), (1, 2, 2)]))
    kinds = [Identity, Dense, Sparse] + ([Convolution, TransposedConvolution, Pooling] if len(source) == 3 else [])
    kind = draw(st.sampled_from(kinds))
    operator = draw(KINDS[kind](source))
    values = "gain" if kind in (Pooling, Identity) else "weight"
    operator = dataclasses.replace(operator, **{values: small(getattr(operator, values))})
    changes: dict[str, object] = {}
    place = draw(st.sampled_from([None, None, "target_offset", "delay", "target", *FIELDS[kind]]))
    target = operator.output_shape(source)
    if place in ("target_offset", "delay"):
        changes[place] = draw(st.sampled_from(NUMBERS))
        target = (target[0] + draw(st.integers(0, 2)), *target[1:])
    elif place == "target":
        target = draw(st.sampled_from([(prod(target),), (target[0] + 1, *target[1:]), (*target[:-1], target[-1] + 1)]))
    elif place is not None:
        operator = dataclasses.replace(operator, **{place: draw(st.one_of(_replaced(operator, place)))})
        target = operator.output_shape(source)
    return network(source, target, operator, **changes)


def _replaced(operator: Operator, place: str) -> list[st.SearchStrategy]:
    """What may stand in the place of a field."""
    old = getattr(operator, place)
    number = st.sampled_from(NUMBERS)
    if place not in ARRAYS:
        return [number, st.tuples(number, number), st.tuples(st.integers(0, 4), st.integers(0, 4)), st.just((1, 1, 1))]
    moved = [
        st.just(a) for a in (old[..., None], old[:0] if old.ndim else old, old.ravel(), old + 1, old - 1, old * 1j)
    ]
    return [*moved, st.just(np.append(old, 9)), st.just(old.astype(str)), st.just(old * np.float64(2**40))]


def test_a_perturbed_operator_is_refused_or_what_numpy_says() -> None:
    outcomes = {"refused": 0, "simulated": 0}

    @settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        try:
            spec = data.draw(perturbed())
        except SpecError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
            return
        images = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 2, (2, STEPS, *spec.shape("a")))
        found = simulate(spec, images.astype(float), NUMPY).logits
        np.testing.assert_array_equal(found, expected(spec, images))
        outcomes["simulated"] += 1

    check()
    assert min(outcomes.values()) > 30, outcomes


SQUARE = Convolution(np.ones((1, 1, 2, 2)))
REFUSED = {
    "negative offset": (lambda: network((4,), (4,), Dense(np.ones((2, 4))), target_offset=-1), "first target neuron.*is -1"),
    "offset beyond": (lambda: network((4,), (4,), Dense(np.ones((2, 4))), target_offset=3), "its target has the shape"),
    "offset that is no integer": (lambda: network((4,), (4,), Dense(np.ones((2, 4))), target_offset=0.5), "whole number"),
    "delay": (lambda: network((4,), (4,), Identity(), delay=2**31 - 1), "more than can be kept"),
    "extent": (lambda: dataclasses.replace(SQUARE, extent=(4, 3)).output_shape((1, 3, 3)), "reads 4 rows and 3 columns"),
    "extent of a line": (lambda: Convolution(np.ones((1, 1, 1, 2)), extent=(2, 3)).output_shape((1, 3)), "reads 2 rows"),
    "negative extent": (lambda: dataclasses.replace(SQUARE, extent=(-1, 3)), "extent of a convolution is -1"),
    "no stride": (lambda: dataclasses.replace(SQUARE, stride=(0, 1)), "stride of a convolution is 0"),
    "half a stride": (lambda: dataclasses.replace(SQUARE, stride=(1.5, 1)), "whole number"),
    "padding": (lambda: dataclasses.replace(SQUARE, padding=(-1, 0)), "padding of a convolution is -1"),
    "one padding": (lambda: dataclasses.replace(SQUARE, padding=1), "two whole numbers"),
    "dilation": (lambda: dataclasses.replace(SQUARE, dilation=(0, 1)), "dilation of a convolution is 0"),
    "wide dilation": (lambda: dataclasses.replace(SQUARE, dilation=(2**30, 1)), "reaches further"),
    "groups": (lambda: dataclasses.replace(SQUARE, groups=0), "groups of a convolution is 0"),
    "no channels": (lambda: Convolution(np.ones((0, 1, 2, 2))), "positive axes"),
    "outputs": (lambda: dataclasses.replace(SQUARE, padding=(10**6, 10**6)).output_shape((1, 3, 3)), "at most"),
    "output padding": (lambda: TransposedConvolution(np.ones((1, 1, 2, 2)), output_padding=(-1, 0)), "output padding is -1"),
    "window": (lambda: Pooling((0, 1), (1, 1)), "kernel of a pooling is 0"),
    "pooling's padding": (lambda: Pooling((2, 2), (1, 1), padding=(0, -1)), "padding of a pooling is -1"),
    "target of a list": (lambda: Sparse([-1], [0], [1.0], (2,)), "target beyond its shape"),
    "source of a list": (lambda: Sparse([0], [-1], [1.0], (2,)).output_shape((2,)), "reads a neuron beyond"),
    "half a neuron": (lambda: Sparse([0.5], [0], [1.0], (2,)), "rows of a sparse operator hold float64"),
    "shape of a list": (lambda: Sparse([0], [0], [1.0], (-2, -2)), "all positive"),
    "large shape": (lambda: Population("a", (2**16, 2**16), READS), "at most 2147483647 places"),
    "imaginary weight": (lambda: Dense(np.ones((1, 1)) * 1j), "use real numbers"),
    "steps": (lambda: dataclasses.replace(network((4,), (4,), Identity()), steps=2.5), "whole number"),
    "endless step": (lambda: dataclasses.replace(network((4,), (4,), Identity()), dt=float("inf")), "positive"),
    "neurons per answer": (lambda: Readout("b", "spike_count", neurons_per_output=1.5), "whole number"),
    "no operator": (lambda: Projection("a", "b", None), "has no operator"),
    "populations of text": (lambda: dataclasses.replace(network((4,), (4,), Identity()), populations=("a",)), "populations of a network"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_reaches_beyond_its_arrays_is_refused(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(SpecError, match=words):
        make()


SANITIZE = "-fsanitize=address,undefined"
FLAGS = (*(flag for flag in builds.FLAGS if flag != "-O3"), "-O1", "-g", SANITIZE, "-fno-sanitize-recover=all")


@pytest.fixture
def sanitized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Generated programs are compiled with the sanitizers, into a cache of their own."""
    path = compiler()
    if path is None:
        pytest.skip("there is no C++ compiler")
    (tmp_path / "empty.cc").write_text("int main() { return 0; }\n")
    done = subprocess.run([path, SANITIZE, "empty.cc", "-o", "empty"], cwd=tmp_path, capture_output=True, text=True)
    if done.returncode or subprocess.run([tmp_path / "empty"]).returncode:
        pytest.skip(f"{path} has no {SANITIZE}: {done.stderr.strip()}")
    compile_program = builds.compile_program
    monkeypatch.setattr(builds, "compile_program", lambda folder: compile_program(folder, FLAGS))
    # What is not freed as the program ends is no access to memory.
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")
    yield tmp_path / "cache"
    for program in (tmp_path / "cache").glob("*/main"):
        assert b"__asan_report_load" in program.read_bytes()


def mixed(seed: int) -> NetworkSpec:
    """Every kind of operator, with paddings, extents, offsets, delays and a loop, of random numbers."""
    draw = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray:
        return draw.integers(-3, 13, shape) / 16

    ends = draw.integers(0, 12, 9), draw.integers(0, 48, 9)
    shapes = {"a": (2, 5, 4), "b": (4, 4, 3), "c": (3, 4, 4), "d": (12,), "e": (1, 4, 3)}
    populations = [Population(name, shape, FIRES) for name, shape in shapes.items()]
    cut = Convolution(weight(2, 1, 3, 3), padding=(1, 1), groups=2, extent=(4, 3))
    projections = (
        Projection("image", "a", Identity()),
        Projection("image", "e", Convolution(weight(1, 2, 2, 2))),
        Projection("a", "b", Convolution(weight(2, 2, 2, 2))),
        Projection("a", "b", cut, 1, 24),
        Projection("b", "b", Identity(weight(4)), 2),
        Projection("b", "c", TransposedConvolution(weight(4, 1, 1, 2)), 0, 16),
        Projection("b", "d", Sparse(*ends, weight(9), (12,))),
        Projection("c", "d", Pooling((2, 2), (2, 2), weight(3))),
        Projection("c", "d", Dense(weight(5, 48)), 1, 7),
        Projection("d", "out", Dense(weight(3, 12))),
        Projection("e", "sum", Dense(weight(1, 12))),
        Projection("sum", "out", Dense(weight(3, 1))),
    )  # fmt: skip
    last = Population("sum", (1,), READS), Population("out", (3,), READS)
    return NetworkSpec(
        (Stimulus((2, 5, 4), coding="sequence"),),
        (*populations, *last),
        projections,
        Readout("out", "last_membrane"),
        4,
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_generated_program_stays_in_its_memory(seed: int, sanitized: Path) -> None:
    spec, draw = mixed(seed), np.random.default_rng(seed)
    images = draw.integers(0, 2, (5, 4, 2, 5, 4)).astype(float)
    found = simulate(spec, images, dataclasses.replace(CPP, cache=sanitized, batch=2, workers=1))
    wanted = simulate(spec, images, NUMPY)
    np.testing.assert_array_equal(found.logits, wanted.logits)
    assert all(wanted.spikes[name].any() for name in wanted.spikes)


@pytest.mark.slow
def test_the_sanitizer_would_catch_an_offset_before_the_target(
    sanitized: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alade_brian.spec.network.integer", lambda value, *_, **__: value)
    spec = network((4,), (4,), Dense(np.ones((2, 4))), target_offset=-2)
    with pytest.raises(ProgramEnded, match="AddressSanitizer"):
        simulate(spec, np.ones((1, STEPS, 4)), dataclasses.replace(CPP, cache=sanitized, batch=1, workers=1))
