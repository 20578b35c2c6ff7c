"""Operators as lists of synapses against torch's own functions, for random geometries; and their algebra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from small_specs import READS, through
from torch.nn import functional as F

from alade_brian.conversion.from_torch.layers import same_padding
from alade_brian.simulation.gather import gather, is_list, kernel
from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
    MaxPooling,
    NetworkSpec,
    Operator,
    Pooling,
    Population,
    Projection,
    Readout,
    Sparse,
    SpecError,
    Stimulus,
    Synapses,
    TransposedConvolution,
)
from alade_brian.spec.cost_table import lowering_table
from alade_brian.spec.errors import Pair
from alade_brian.spec.operator_algebra import compose
from alade_brian.spec.synapses import matrix

Shape = tuple[int, ...]
PROPERTY = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.tuples(st.integers(0, 2), st.integers(0, 2))
seeds = st.integers(0, 2**16)


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@st.composite
def images(draw: st.DrawFn) -> Shape:
    rows = draw(st.integers(1, 6))
    return draw(st.integers(1, 4)), rows, draw(st.integers(1, 6))


@st.composite
def convolutions(draw: st.DrawFn, shape: Shape) -> Convolution:
    groups = draw(st.sampled_from([g for g in (1, 2, shape[0]) if shape[0] % g == 0]))
    weight = numbers(draw(seeds), groups * draw(st.integers(1, 2)), shape[0] // groups, *draw(pairs))
    return Convolution(weight, draw(pairs), draw(paddings), groups, dilation=draw(pairs))


@st.composite
def transposed(draw: st.DrawFn, shape: Shape) -> TransposedConvolution:
    groups = draw(st.sampled_from([g for g in (1, 2, shape[0]) if shape[0] % g == 0]))
    weight = numbers(draw(seeds), shape[0], draw(st.integers(1, 2)), *draw(pairs))
    stride, dilation = draw(pairs), draw(pairs)
    more = (
        draw(st.integers(0, max(stride[0], dilation[0]) - 1)),
        draw(st.integers(0, max(stride[1], dilation[1]) - 1)),
    )
    return TransposedConvolution(weight, stride, draw(paddings), more, groups, dilation)


@st.composite
def poolings(draw: st.DrawFn, shape: Shape) -> Pooling:
    kernel = draw(pairs)
    padding = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
    gain = numbers(draw(seeds), *draw(st.sampled_from([(), (shape[0],)])))
    return Pooling(kernel, draw(pairs), gain, padding, draw(st.booleans()))


@st.composite
def identities(draw: st.DrawFn, shape: Shape) -> Identity:
    return Identity(numbers(draw(seeds), *draw(st.sampled_from([(), shape[:1], shape]))))


@st.composite
def listed(draw: st.DrawFn, shape: Shape) -> Sparse:
    made = draw(images())
    count, draws = draw(st.integers(0, 12)), np.random.default_rng(draw(seeds))
    return Sparse(
        draws.integers(0, prod(made), count), draws.integers(0, prod(shape), count), draws.normal(size=count), made
    )


@st.composite
def dense(draw: st.DrawFn, shape: Shape) -> Dense:
    return Dense(numbers(draw(seeds), draw(st.integers(1, 5)), prod(shape)))


KINDS: dict[type, Callable[[Shape], st.SearchStrategy]] = {
    Convolution: convolutions,
    TransposedConvolution: transposed,
    Pooling: poolings,
    Identity: identities,
    Sparse: listed,
    Dense: dense,
}


# One of each kind, for a source (4, 6, 6).
SMALL: dict[type, Operator] = {
    Convolution: Convolution(np.ones((3, 4, 2, 2))),
    TransposedConvolution: TransposedConvolution(np.ones((4, 3, 2, 2))),
    Pooling: Pooling((2, 2), (2, 2)),
    Identity: Identity(),
    Sparse: Sparse(np.arange(3), np.arange(3), np.ones(3), (3,)),
    Dense: Dense(np.ones((3, 144))),
}


def made(operator: Operator, shape: Shape) -> Shape:
    """What an operator makes of a shape; hypothesis tries again where nothing is left of the image."""
    try:
        return operator.output_shape(shape)
    except SpecError:
        assume(False)
        raise


def in_torch(operator: Operator, image: np.ndarray) -> np.ndarray:
    """What torch's own functions make of an image."""
    x = torch.from_numpy(image)[None]
    values = torch.from_numpy(operator.values().copy())
    match operator:
        case Convolution():
            y = F.conv2d(x, values, None, operator.stride, operator.padding, operator.dilation, operator.groups)
        case TransposedConvolution():
            y = F.conv_transpose2d(
                x,
                values,
                None,
                operator.stride,
                operator.padding,
                operator.output_padding,
                operator.groups,
                operator.dilation,
            )
        case Pooling():
            divisor = None if operator.average else 1
            y = F.avg_pool2d(x, operator.kernel, operator.stride, operator.padding, divisor_override=divisor)
            y = y * (values.reshape(-1, 1, 1) if values.ndim else values)
        case Identity():
            y = x * (values.reshape(-1, 1, 1) if values.ndim == 1 else values)
        case Dense():
            y = F.linear(x.flatten(1), values)
        case Sparse():
            y = torch.zeros(prod(operator.shape), dtype=torch.float64)
            y.index_add_(
                0,
                torch.from_numpy(operator.rows.copy()),
                values * x.flatten()[torch.from_numpy(operator.columns.copy())],
            )
            y = y.reshape(1, *operator.shape)
    return y[0].numpy()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_matrix_is_torchs_function(kind: type) -> None:
    @PROPERTY
    @given(st.data())
    def check(data: st.DataObject) -> None:
        shape = data.draw(images())
        operator = data.draw(KINDS[kind](shape))
        expected_shape = made(operator, shape)
        image = numbers(data.draw(seeds), *shape)
        expected = in_torch(operator, image)
        assert expected.shape == expected_shape
        np.testing.assert_allclose(matrix(operator, shape) @ image.ravel(), expected.ravel(), atol=1e-12)

    check()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_counting_synapses_equals_listing_them(kind: type) -> None:
    @PROPERTY
    @given(st.data())
    def check(data: st.DataObject) -> None:
        shape = data.draw(images())
        operator = data.draw(KINDS[kind](shape))
        made(operator, shape)
        found = operator.synapses(shape)
        assert operator.count(shape) == len(found)
        if kind is not Sparse:  # whose list may name a pair of neurons twice
            ones = operator.with_values(np.ones_like(operator.values()))
            assert operator.count(shape) == np.count_nonzero(matrix(ones, shape).toarray())
        np.testing.assert_array_equal(np.lexsort((found.post, found.pre)), np.arange(len(found)))

    check()


@pytest.mark.parametrize("kind", [Convolution, TransposedConvolution, Pooling], ids=lambda k: k.__name__)
def test_one_axis_is_an_image_of_height_one(kind: type) -> None:
    @PROPERTY
    @given(st.data())
    def check(data: st.DataObject) -> None:
        channels, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 7))
        operator = data.draw(KINDS[kind]((channels, 1, length)))
        height = operator.kernel[0] if isinstance(operator, Pooling) else operator.weight.shape[2]
        assume(height == 1 and operator.padding[0] == 0)
        assume(not isinstance(operator, TransposedConvolution) or operator.output_padding[0] == 0)
        whole = made(operator, (channels, 1, length))
        assert operator.output_shape((channels, length)) == (whole[0], whole[2])
        difference = matrix(operator, (channels, length)) - matrix(operator, (channels, 1, length))
        assert abs(difference).max() == 0

    check()


@PROPERTY
@given(st.data())
def test_a_maximum_is_torchs_max_pooling(data: st.DataObject) -> None:
    """As windows of connections, as the taps that Brian2 reads and as those that a shared kernel gathers."""
    shape, kernel_size = data.draw(images()), data.draw(pairs)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel_size)
    window = MaxPooling(kernel_size, data.draw(pairs), padding, data.draw(pairs), data.draw(st.booleans()))  # type: ignore[arg-type]
    image = numbers(data.draw(seeds), *shape) - 3
    try:
        expected = F.max_pool2d(
            torch.from_numpy(image), window.kernel, window.stride, window.padding, window.dilation, window.ceil_mode
        ).numpy()
    except RuntimeError:
        expected = np.full(1, -np.inf)
    if np.isinf(expected).any():  # a window without a pixel, of which torch makes minus infinity
        with pytest.raises(SpecError, match="maximum"):
            window.output_shape(shape)
        return
    assert window.output_shape(shape) == expected.shape
    found, listed = window.synapses(shape), np.full(expected.size, -np.inf)
    np.maximum.at(listed, found.post, image.ravel()[found.pre])
    assert window.count(shape) == len(found)
    np.testing.assert_array_equal(listed, expected.ravel())
    np.testing.assert_array_equal(image.ravel()[window.taps(shape)].max(0), expected.ravel())
    np.testing.assert_array_equal(gathered_maximum(window, image), expected)


def gathered_maximum(window: MaxPooling, image: np.ndarray) -> np.ndarray:
    shape = window.output_shape(image.shape)
    spec = through(window, image.shape, shape, (READS, READS))
    taps, rows = gather(spec, spec.projections[1]), image.reshape(len(image), -1)
    assert (taps.row, taps.per_row, taps.offset) == (1, 1, 0)
    pixels = [rows[:, taps.source[a:b]].max(1) for a, b in zip(taps.first[:-1], taps.first[1:], strict=True)]
    return np.array(pixels).T.reshape(shape)


def test_a_maximum_is_no_sum() -> None:
    window = MaxPooling((2, 2), (2, 2))
    refused = (
        (lambda: matrix(window, (1, 4, 4)), "not linear"),
        (lambda: window.scaled(2.0, (1, 4, 4)), "no numbers"),
        (lambda: window.with_values(np.ones(1)), "no numbers"),
        (lambda: window.listed((1, 4, 4)), "no list of weights"),
        (lambda: window.transposed((1, 4, 4)), "no list of weights"),
        (lambda: MaxPooling((0, 2), (2, 2)), "the kernel of a maximum"),
        (lambda: MaxPooling((2, 2), (2, 2), dilation=(1, 2**30)), "reaches further"),
        (lambda: MaxPooling((2, 2), (2, 2), ceil_mode=1), "use True or False"),  # type: ignore[arg-type]
        (lambda: window.output_shape((4,)), "it reads"),
    )
    for call, words in refused:
        with pytest.raises(SpecError, match=words):
            call()


# Behind a dense operator stands what reads features.
PAIRS = [(i, o) for i in KINDS for o in KINDS if i is not Dense or o in (Dense, Sparse, Identity)]


@pytest.mark.parametrize(("inner", "outer"), PAIRS, ids=[f"{o.__name__} behind {i.__name__}" for i, o in PAIRS])
def test_composition_is_the_product_of_the_matrices(inner: type, outer: type) -> None:
    @settings(PROPERTY, max_examples=40)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        shape = data.draw(images())
        first = data.draw(KINDS[inner](shape))
        middle = made(first, shape)
        second = data.draw(KINDS[outer](middle))
        end = made(second, middle)
        both = compose(first, shape, second)
        assert both.output_shape(shape) == end
        expected = matrix(second, middle) @ matrix(first, shape)
        np.testing.assert_allclose(matrix(both, shape).toarray(), expected.toarray(), atol=1e-12)

    check()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_scaled_channels_are_scaled_rows(kind: type) -> None:
    @PROPERTY
    @given(st.data())
    def check(data: st.DataObject) -> None:
        shape = data.draw(images())
        operator = data.draw(KINDS[kind](shape))
        channels, *rest = made(operator, shape)
        gain = numbers(data.draw(seeds), channels)
        scaled = matrix(operator.scaled(gain, shape), shape).toarray()
        expected = np.repeat(gain, prod(rest))[:, None] * matrix(operator, shape).toarray()
        np.testing.assert_allclose(scaled, expected, atol=1e-12)

    check()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_other_values_and_a_number_scale_the_matrix(kind: type) -> None:
    @PROPERTY
    @given(st.data())
    def check(data: st.DataObject) -> None:
        shape = data.draw(images())
        operator = data.draw(KINDS[kind](shape))
        made(operator, shape)
        whole, values = matrix(operator, shape).toarray(), operator.values()
        np.testing.assert_allclose(matrix(operator.scaled(-1.5, shape), shape).toarray(), -1.5 * whole, atol=1e-12)
        other = numbers(data.draw(seeds), *values.shape)
        both = matrix(operator.with_values(values + other), shape) - matrix(operator.with_values(other), shape)
        np.testing.assert_allclose(both.toarray(), whole, atol=1e-12)
        np.testing.assert_array_equal(operator.with_values(other).values(), other)

    check()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_a_factor_of_another_shape_is_refused(kind: type) -> None:
    shape = (4, 6, 6)
    operator = SMALL[kind]
    channels = operator.output_shape(shape)[0]
    with pytest.raises(SpecError, match="a factor of shape"):
        operator.scaled(np.ones(channels + 1), shape)


def check_adjoint(operator: Operator, shape: Shape, seed: int) -> None:
    """``<A x, y> = <x, A' y>``, and what runs back makes as many neurons as the source has."""
    end = made(operator, shape)
    back = operator.transposed(shape)
    assert prod(back.output_shape(end)) == prod(shape)
    x, y = numbers(seed, prod(shape)), numbers(seed + 1, prod(end))
    np.testing.assert_allclose((matrix(operator, shape) @ x) @ y, x @ (matrix(back, end) @ y), atol=1e-10)
    np.testing.assert_allclose(matrix(back, end).toarray(), matrix(operator, shape).toarray().T, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_transposed_is_the_adjoint(kind: type) -> None:
    @PROPERTY
    @given(st.data())
    def check(data: st.DataObject) -> None:
        shape = data.draw(images())
        check_adjoint(data.draw(KINDS[kind](shape)), shape, data.draw(seeds))

    check()


@PROPERTY
@given(st.data())
def test_a_convolution_runs_back_as_a_transposed_one(data: st.DataObject) -> None:
    shape = data.draw(images())
    operator = data.draw(st.one_of(convolutions(shape), poolings(shape)))
    end = made(operator, shape)
    back = operator.transposed(shape)
    assert isinstance(back, TransposedConvolution) and back.output_shape(end) == shape


def test_what_lies_beyond_the_extent_gets_nothing_back() -> None:
    operator = Convolution(numbers(0, 2, 3, 2, 2), (2, 1), (1, 1), extent=(4, 3))
    check_adjoint(operator, (3, 5, 5), 1)


def test_a_line_runs_back_as_a_line() -> None:
    operator = Convolution(numbers(0, 2, 3, 1, 3), (1, 2), (0, 1))
    check_adjoint(operator, (3, 8), 1)
    assert operator.transposed((3, 8)).output_shape(operator.output_shape((3, 8))) == (3, 8)
    check_adjoint(Pooling((1, 2), (1, 3)), (3, 8), 1)


@dataclass(frozen=True, eq=False)
class Diagonal(Operator):
    """One-to-one, a weight per neuron: the least that an operator has to give."""

    weight: np.ndarray

    def output_shape(self, source: Shape) -> Shape:
        return source

    def synapses(self, source: Shape) -> Synapses:
        each = np.arange(prod(source))
        return Synapses(each, each, each)

    def values(self) -> np.ndarray:
        return self.weight

    def with_values(self, values: np.ndarray) -> Diagonal:
        return Diagonal(values)


def test_an_operator_is_one_class() -> None:
    shape, weight = (2, 2, 2), np.arange(1.0, 9.0)
    operator = Diagonal(weight)
    assert operator.count(shape) == 8
    np.testing.assert_array_equal(matrix(operator, shape).toarray(), np.diag(weight))
    scaled = operator.scaled(np.array([2.0, -1.0]), shape)
    np.testing.assert_array_equal(matrix(scaled, shape).toarray(), np.diag(weight * np.repeat([2.0, -1.0], 4)))
    assert isinstance(operator.scaled(2.0, shape), Diagonal)
    check_adjoint(operator, shape, 0)
    behind = compose(operator, shape, Dense(numbers(0, 3, 8)))
    np.testing.assert_allclose(matrix(behind, shape).toarray(), numbers(0, 3, 8) * weight)


def test_a_new_operator_stands_in_the_table_and_is_simulated() -> None:
    weight = np.linspace(0.1, 0.9, 8)
    population = Population("output", (2, 2, 2), READS)
    spec = NetworkSpec(
        (Stimulus((2, 2, 2)),), (population,), (Projection("image", "output", Diagonal(weight)),), Readout("output"), 3
    )
    (row,) = lowering_table(spec)
    assert row.synapses == 8 and "diagonal" in row.path
    assert is_list(spec, spec.projections[0])
    taps = gather(spec, spec.projections[0])
    assert taps.row == 2 and kernel(spec, spec.projections[0]).sum() == pytest.approx(weight.sum())


@PROPERTY
@given(st.data())
def test_an_undilated_convolution_is_the_same(data: st.DataObject) -> None:
    shape = data.draw(images())
    operator = data.draw(convolutions(shape))
    made(operator, shape)
    plain = operator.undilated()
    assert plain.dilation == (1, 1)
    np.testing.assert_array_equal(matrix(plain, shape).toarray(), matrix(operator, shape).toarray())


@PROPERTY
@given(images(), pairs.flatmap(lambda p: st.tuples(st.just(p), pairs)), seeds)
def test_same_padding_is_torchs_even_where_it_is_uneven(shape: Shape, geometry: tuple[Pair, Pair], seed: int) -> None:
    kernel, dilation = (geometry[0][0] + 1, geometry[0][1] + 1), geometry[1]
    weight, image = numbers(seed, 2, shape[0], *kernel), numbers(seed + 1, *shape)
    operator = same_padding(weight, dilation, 1)
    x = torch.from_numpy(image)[None]
    expected = F.conv2d(x, torch.from_numpy(weight), padding="same", dilation=dilation)[0].numpy()
    assert operator.output_shape(shape) == expected.shape
    np.testing.assert_allclose(matrix(operator, shape) @ image.ravel(), expected.ravel(), atol=1e-12)
