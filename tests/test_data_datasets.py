"""Data sets by name: the digits' fixed split and normalisation, and what a data set refuses to be."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from alade_brian.data import DATASETS, Dataset, load_dataset, make_dataset
from alade_brian.errors import UserError


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def raw(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Digits as scikit-learn has them: whole numbers from 0 to 16."""
    return np.rint((images * dataset.std[:, None, None] + dataset.mean[:, None, None]) * 16).astype(int)


def parts(**changes) -> dict:
    """Arguments of a data set of two classes that passes its own check."""
    arguments = {
        "name": "made",
        "train_images": np.zeros((4, 1, 2, 3), np.float32),
        "train_labels": np.array([0, 1, 0, 1]),
        "test_images": np.zeros((2, 1, 2, 3), np.float32),
        "test_labels": np.array([1, 0]),
        "class_names": ("a", "b"),
        "mean": np.zeros(1),
        "std": np.ones(1),
    }
    return arguments | changes


def test_digits_have_their_shape_and_types(digits) -> None:
    assert len(digits.train_images) + len(digits.test_images) == 1797
    assert digits.image_shape == (1, 8, 8)
    assert digits.classes == 10 and digits.class_names == tuple("0123456789")
    for images, labels in ((digits.train_images, digits.train_labels), (digits.test_images, digits.test_labels)):
        assert images.dtype == np.float32 and labels.dtype == np.int64
        assert images.shape == (len(labels), 1, 8, 8)


def test_digits_training_images_have_mean_0_and_std_1_and_test_images_do_not_decide(digits) -> None:
    train = digits.train_images.astype(float)
    assert train.mean() == pytest.approx(0, abs=1e-6)
    assert train.std() == pytest.approx(1, abs=1e-6)
    assert abs(digits.test_images.astype(float).mean()) > 1e-4


def test_digits_test_images_are_every_fifth_of_each_class(digits) -> None:
    bunch = load_digits()
    seen, expected = dict.fromkeys(range(10), 0), []
    for index, label in enumerate(bunch.target):
        seen[label] += 1
        if seen[label] % 5 == 0:
            expected.append(index)
    np.testing.assert_array_equal(digits.test_labels, bunch.target[expected])
    np.testing.assert_array_equal(raw(digits.test_images, digits)[:, 0], bunch.images[expected])


def test_digits_split_uses_every_image_once(digits) -> None:
    def keys(images: np.ndarray) -> list[bytes]:
        return [image.tobytes() for image in raw(images, digits)]

    train, test = keys(digits.train_images), keys(digits.test_images)
    assert not set(train) & set(test)
    assert sorted(train + test) == sorted(image.astype(int).tobytes() for image in load_digits().images[:, None])


def test_digits_have_every_class_in_both_splits_and_are_the_same_every_time(digits) -> None:
    assert set(digits.train_labels) == set(digits.test_labels) == set(range(10))
    again = load_dataset("digits")
    np.testing.assert_array_equal(again.train_images, digits.train_images)
    np.testing.assert_array_equal(again.test_labels, digits.test_labels)


def test_unknown_data_set_is_refused_with_the_known_ones() -> None:
    known = {"digits", "digits-position", "digits-denoise", "fashion-mnist", "omniglot", "cifar100", "folder", "npz"}
    assert known == set(DATASETS)
    with pytest.raises(UserError, match=r"'mnist'.*digits.*fashion-mnist.*tonic:NAME"):
        load_dataset("mnist")


@pytest.mark.parametrize("arguments", [{"image_size": 0}, {"steps": -1}])
def test_sizes_below_one_are_refused(arguments) -> None:
    key, value = next(iter(arguments.items()))
    with pytest.raises(UserError, match=f"{key} is {value}; use at least 1"):
        load_dataset("digits", **arguments)


def test_normalisation_is_per_channel_by_the_training_images() -> None:
    train = np.zeros((2, 2, 1, 2))
    train[:, 0] = [[[1, 3]], [[5, 7]]]  # mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
    train[:, 1] = [[[10, 10]], [[20, 20]]]  # mean 15, std 5
    test = np.array([[[[4, 9]], [[0, 30]]], [[[4, 4]], [[15, 15]]]])
    dataset = make_dataset("made", (train, np.array([0, 1])), (test, np.array([0, 1])), ("a", "b"))
    np.testing.assert_allclose(dataset.mean, [4, 15])
    np.testing.assert_allclose(dataset.std, [5**0.5, 5])
    np.testing.assert_allclose(dataset.train_images[:, 1], [[[-1, -1]], [[1, 1]]])
    np.testing.assert_allclose(dataset.test_images[0], [[[0, 5**0.5]], [[-3, 3]]], rtol=1e-6)


def test_a_constant_channel_becomes_zero() -> None:
    images = np.full((2, 1, 2, 2), 7)
    dataset = make_dataset("flat", (images, np.array([0, 1])), (images + 1, np.array([0, 1])), ("a", "b"))
    assert np.all(dataset.train_images == 0)
    assert np.all(dataset.test_images == 1)


def test_a_whole_data_set_passes_its_check() -> None:
    dataset = Dataset(**parts())
    assert dataset.image_shape == (1, 2, 3) and dataset.classes == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((3, 1, 2, 3))}, "'made', training images.*do not match"),
        ({"test_labels": np.array([0, 1, 0])}, "'made', test images.*do not match"),
        ({"train_images": np.zeros((4, 2, 3))}, "training images.*do not match"),
        ({"train_images": np.full((4, 1, 2, 3), np.nan)}, "training images.*not finite"),
        ({"test_images": np.full((2, 1, 2, 3), np.inf)}, "test images.*not finite"),
        ({"train_labels": np.zeros(4, int)}, r"training images.*\[0\].*0\.\.1"),
        ({"test_labels": np.array([0, 2])}, r"test images.*\[0, 2\].*0\.\.1"),
        ({"test_labels": np.array([-1, 0])}, r"test images.*\[-1, 0\]"),
        ({"class_names": ("a", "b", "c")}, r"\[0, 1\].*0\.\.2"),
        ({"test_images": np.zeros((2, 1, 3, 2))}, r"\(1, 2, 3\).*\(1, 3, 2\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message) -> None:
    with pytest.raises(UserError, match=message):
        Dataset(**parts(**changes))
