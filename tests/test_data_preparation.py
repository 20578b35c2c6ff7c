"""Smaller data sets: which images stay, how they are normalised, and a validation split that leaves the test set alone."""

from __future__ import annotations

import numpy as np
import pytest

from alade_brian.data import Dataset, make_dataset, prepare
from alade_brian.errors import UserError

TRAIN_LABELS = np.array([0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0])
TEST_LABELS = np.array([1, 0, 1, 1, 0, 0])


def numbered(shape: tuple[int, ...] = (1, 4, 4)) -> Dataset:
    """Training image k is k everywhere, test image k is 100 + k, before normalisation."""

    def images(count: int, first: int) -> np.ndarray:
        return np.broadcast_to((first + np.arange(float(count))).reshape(-1, *[1] * len(shape)), (count, *shape))

    return make_dataset("numbered", (images(15, 0), TRAIN_LABELS), (images(6, 100), TEST_LABELS), ("a", "b"))


def textured() -> Dataset:
    generator = np.random.default_rng(0)
    images = generator.random((21, 3, 8, 8)) * np.array([1.0, 5.0, 0.2])[:, None, None] + 2
    return make_dataset("textured", (images[:15], TRAIN_LABELS), (images[15:], TEST_LABELS), ("a", "b"))


def pixels(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    return images * dataset.std[:, None, None] + dataset.mean[:, None, None]


def which(images: np.ndarray, dataset: Dataset) -> list[int]:
    return np.rint(pixels(images, dataset).reshape(len(images), -1)[:, 0]).astype(int).tolist()


def test_nothing_asked_nothing_changed() -> None:
    dataset = textured()
    same = prepare(dataset, image_size=8, train_per_class=1000, test_per_class=1000)
    np.testing.assert_array_equal(same.train_images, dataset.train_images)
    np.testing.assert_array_equal(same.test_images, dataset.test_images)
    np.testing.assert_array_equal(same.mean, dataset.mean)


def test_the_first_images_of_each_class_stay_in_order() -> None:
    small = prepare(numbered(), train_per_class=3, test_per_class=2)
    # Class 0 is at 0 2 3 5 ..., class 1 at 1 4 6 9 12; in the test set at 1 4 5 and 0 2 3.
    assert which(small.train_images, small) == [0, 1, 2, 3, 4, 6]
    assert small.train_labels.tolist() == [0, 1, 0, 0, 1, 1]
    assert which(small.test_images, small) == [100, 101, 102, 104]
    assert small.test_labels.tolist() == [1, 0, 1, 0]


def test_a_smaller_class_gives_what_it_has() -> None:
    small = prepare(numbered(), train_per_class=7)
    assert np.bincount(small.train_labels).tolist() == [7, 5]


def test_normalised_by_the_training_images_that_remain() -> None:
    small = prepare(numbered(), train_per_class=2)
    # 0, 1, 2 and 4: mean 7/4, variance 21/4 - 49/16 = 35/16.
    np.testing.assert_allclose(small.mean, 7 / 4, rtol=1e-6)
    np.testing.assert_allclose(small.std, (35 / 16) ** 0.5, rtol=1e-6)
    np.testing.assert_allclose(small.train_images.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(small.test_images[0], (100 - 7 / 4) / (35 / 16) ** 0.5, rtol=1e-5)


def test_test_images_do_not_change_the_normalisation() -> None:
    dataset = textured()
    small = prepare(dataset, test_per_class=1)
    np.testing.assert_array_equal(small.train_images, dataset.train_images)
    np.testing.assert_array_equal(small.test_images, dataset.test_images[:2])


def test_another_size_is_the_area_average_of_the_pixels() -> None:
    dataset = textured()
    small = prepare(dataset, image_size=4)
    assert small.image_shape == (3, 4, 4)
    for name in ("train_images", "test_images"):
        whole = pixels(getattr(dataset, name), dataset)
        blocks = whole.reshape(len(whole), 3, 4, 2, 4, 2).mean((3, 5))
        np.testing.assert_allclose(pixels(getattr(small, name), small), blocks, rtol=1e-5)
    np.testing.assert_allclose(small.train_images.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(small.train_images.std((0, 2, 3)), 1, rtol=1e-6)


def test_sequences_become_smaller_too() -> None:
    small = prepare(numbered((5, 2, 4, 4)), image_size=2, train_per_class=3)
    assert small.train_images.shape == (6, 5, 2, 2, 2) and small.sequence_steps == 5


# Validation


def test_the_last_images_of_every_class_are_held_out() -> None:
    split = prepare(numbered(), validation=0.2)
    # Ten images of class 0: the last two; five of class 1: the last one.
    assert which(split.test_images, split) == [12, 13, 14]
    assert split.test_labels.tolist() == [1, 0, 0]
    assert which(split.train_images, split) == list(range(12))


@pytest.mark.parametrize(("fraction", "held"), [(0.01, [1, 1]), (0.25, [3, 1]), (0.3, [3, 2]), (0.99, [9, 4])])
def test_the_fraction_is_rounded_and_both_sides_keep_an_image(fraction: float, held: list[int]) -> None:
    split = prepare(numbered(), validation=fraction)
    assert np.bincount(split.test_labels).tolist() == held
    assert np.bincount(split.train_labels).tolist() == [10 - held[0], 5 - held[1]]


def test_the_test_images_are_not_touched() -> None:
    dataset = numbered()
    one = prepare(dataset, image_size=2, validation=0.4, train_per_class=2, test_per_class=1)
    for images in (np.zeros_like(dataset.test_images), np.full_like(dataset.test_images, 1e6)):
        other = Dataset(**{**vars(dataset), "test_images": images})
        two = prepare(other, image_size=2, validation=0.4, train_per_class=2, test_per_class=1)
        for key, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(two, key))
    assert max(which(one.train_images, one) + which(one.test_images, one)) < 15


def test_fewer_images_are_counted_after_the_split() -> None:
    split = prepare(numbered(), validation=0.4, train_per_class=2, test_per_class=1)
    # Held out are 10, 11, 13, 14 of class 0 and 9, 12 of class 1; the first of either side are taken.
    assert which(split.train_images, split) == [0, 1, 2, 4]
    assert which(split.test_images, split) == [9, 10]
    assert split.test_labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size is 0"),
        ({"train_per_class": -1}, "train_per_class is -1"),
        ({"test_per_class": 0}, "test_per_class is 0"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": -0.1}, "validation is -0.1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(numbered(), **arguments)


def test_a_class_of_one_image_cannot_be_split() -> None:
    images, labels = np.zeros((3, 1, 2, 2)), np.array([0, 0, 1])
    dataset = make_dataset("odd", (images, labels), (images, labels), ("a", "b"))
    with pytest.raises(UserError, match="class 'b' of 'odd' has 1 training image.*leave out validation"):
        prepare(dataset, validation=0.5)
