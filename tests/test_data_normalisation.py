"""Normalisation and area averaging, piece by piece, against closed forms and the whole at once."""

from __future__ import annotations

import numpy as np
import pytest

from alade_brian.data import make_dataset, normalisation
from alade_brian.data.normalisation import moments, normalised, pieces
from alade_brian.data.resampling import area_average
from alade_brian.errors import UserError


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalisation, "PIECE_VALUES", 50)


def test_pieces_cover_everything_once(small_pieces) -> None:
    images = np.zeros((11, 2, 3, 4))
    found = [len(images[piece]) for piece in pieces(images)]
    assert found == [2, 2, 2, 2, 2, 1]
    # Never less than one image at a time.
    assert len(list(pieces(np.zeros((3, 100))))) == 3


@pytest.mark.parametrize("shape", [(23, 3, 4, 5), (7, 6, 2, 3, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_in_pieces_as_at_once(small_pieces, shape, kind) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    pixels = np.moveaxis(images.astype(float) / 255, -3, 0).reshape(shape[-3], -1)
    mean, std = moments(images, 255)
    np.testing.assert_allclose(mean, pixels.mean(1), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(1), rtol=1e-12)
    expected = (images / 255 - pixels.mean(1)[:, None, None]) / pixels.std(1)[:, None, None]
    found = normalised(images, mean, std, 255)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e12 + 0.3])
def test_a_constant_channel_is_zero_whatever_its_value(small_pieces, value: float) -> None:
    # The mean of many equal values, summed up, is not exactly that value; its spread must be zero all the same.
    images = np.full((97, 1, 3, 5), value)
    mean, std = moments(images, 3.0)
    assert mean.tolist() == [value / 3] and std.tolist() == [1.0]
    assert not normalised(images, mean, std, 3.0).any()


def test_pixels_too_large_to_be_normalised_are_refused() -> None:
    images, labels = np.array([0, 1e200, 2e200, 3e200]).reshape(4, 1, 1, 1), np.array([0, 1, 0, 1])
    with pytest.raises(UserError, match="'big': the pixels are too large"):
        make_dataset("big", (images, labels), (images, labels), ("a", "b"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_without_a_warning(value, recwarn) -> None:
    images, labels = np.array([0, 1, 2, value]).reshape(4, 1, 1, 1), np.array([0, 1, 0, 1])
    with pytest.raises(UserError, match="'bad', training images: some values are not finite"):
        make_dataset("bad", (images, labels), (images[:2], labels[:2]), ("a", "b"))
    assert not recwarn.list


def test_channels_of_training_and_test_must_be_the_same() -> None:
    labels = np.array([0, 1])
    with pytest.raises(UserError, match=r"training images are \(3, 2, 2\), test images \(1, 2, 2\)"):
        make_dataset("made", (np.zeros((2, 3, 2, 2)), labels), (np.zeros((2, 1, 2, 2)), labels), ("a", "b"))


def test_sequences_are_told_from_still_images() -> None:
    labels, images = np.array([0, 1]), np.arange(2 * 5 * 3 * 4 * 4.0).reshape(2, 5, 3, 4, 4)
    moving = make_dataset("moving", (images, labels), (images, labels), ("a", "b"))
    still = make_dataset("still", (images[:, 0], labels), (images[:, 0], labels), ("a", "b"))
    assert (moving.image_shape, moving.sequence_steps) == ((3, 4, 4), 5)
    assert (still.image_shape, still.sequence_steps) == ((3, 4, 4), None)
    # Per channel over images, steps and places.
    np.testing.assert_allclose(moving.mean, images.mean((0, 1, 3, 4)))
    np.testing.assert_allclose(moving.train_images.std((0, 1, 3, 4)), 1, rtol=1e-6)


# Area averaging


def test_halving_takes_the_mean_of_blocks() -> None:
    image = np.arange(16.0).reshape(4, 4)
    assert area_average(image, 2).tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_three_pixels_to_two_share_the_middle_one() -> None:
    # Each new pixel is 3/2 wide: one whole pixel and half of the middle one.
    a, b, c = 1.0, 5.0, 9.0
    row = [(a + b / 2) / 1.5, (b / 2 + c) / 1.5]
    np.testing.assert_allclose(area_average(np.array([[a, b, c]] * 3), 2), [row, row], rtol=1e-6)
    np.testing.assert_allclose(area_average(np.array([[a, b, c]] * 3).T, 2), np.array([row, row]).T, rtol=1e-6)


def test_enlarging_repeats_pixels_and_shares_them_at_borders() -> None:
    np.testing.assert_allclose(area_average(np.array([[1.0, 3.0]] * 2), 3), [[1, 2, 3]] * 3, rtol=1e-6)
    assert area_average(np.array([[1, 3], [5, 7]]), 4).tolist() == [[1, 1, 3, 3]] * 2 + [[5, 5, 7, 7]] * 2


def test_an_oblong_image_becomes_a_square() -> None:
    image = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    assert area_average(image, 2).tolist() == [[1.5, 3.5], [5.5, 7.5]]


@pytest.mark.parametrize(("side", "size"), [(28, 14), (28, 10), (7, 5), (5, 12), (9, 1)])
def test_averaging_keeps_the_mean_and_what_is_constant(small_pieces, side: int, size: int) -> None:
    images = np.random.default_rng(1).random((6, 2, side, side))
    small = area_average(images, size)
    assert small.shape == (6, 2, size, size) and small.dtype == np.float32
    np.testing.assert_allclose(small.mean((2, 3)), images.mean((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(area_average(np.full((1, side, side), 0.7), size), 0.7, rtol=1e-6)


def test_the_same_size_changes_nothing() -> None:
    images = np.random.default_rng(2).random((2, 1, 5, 5), np.float32)
    np.testing.assert_array_equal(area_average(images, 5), images)
