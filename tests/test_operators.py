"""Operators as lists of synapses against torch's own functions, for random geometries; and their algebra."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from alade_brian.conversion.from_torch.layers import same_padding
from alade_brian.spec.network import SpecError
from alade_brian.spec.operator_algebra import compose, scale_channels, undilated
from alade_brian.spec.operators import (
    Convolution,
    Dense,
    Identity,
    Operator,
    Pair,
    Pooling,
    Sparse,
    TransposedConvolution,
    operator_values,
)
from alade_brian.spec.synapses import matrix, synapse_count, synapses

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
    values = torch.from_numpy(operator_values(operator).copy())
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
        assert synapse_count(operator, shape) == len(synapses(operator, shape))

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
        scaled = matrix(scale_channels(operator, shape, gain), shape).toarray()
        expected = np.repeat(gain, prod(rest))[:, None] * matrix(operator, shape).toarray()
        np.testing.assert_allclose(scaled, expected, atol=1e-12)

    check()


@PROPERTY
@given(st.data())
def test_an_undilated_convolution_is_the_same(data: st.DataObject) -> None:
    shape = data.draw(images())
    operator = data.draw(convolutions(shape))
    made(operator, shape)
    plain = undilated(operator)
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
