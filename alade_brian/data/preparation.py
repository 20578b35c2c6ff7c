"""Reduced data sets: resized images, fewer images, or validation images in place of the test images."""

from __future__ import annotations

from math import prod

import numpy as np

from alade_brian.data.dataset import Dataset, require_classes
from alade_brian.data.normalisation import moments, normalised
from alade_brian.data.resampling import area_average
from alade_brian.data.splits import last_of_each, rank_in_class
from alade_brian.errors import UserError
from alade_brian.machine import available_bytes

# Images, labels and target values of one split.
Part = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def prepare(
    dataset: Dataset,
    image_size: int | None = None,
    train_per_class: int | None = None,
    test_per_class: int | None = None,
    validation: float = 0.0,
) -> Dataset:
    """Resize a data set, reduce its number of images, or split off validation images.

    image_size        pixels a side, by area averaging (`area_average`); none: as they are
    train_per_class   at most so many training images of each class, the first in the data set's order
    test_per_class    the same for test images
    validation        this fraction of every class's training images, the last ones, takes the place of the test images,
                      which are then not looked at; `train_per_class` counts among those that remain
    Where targets are values, `validation` takes the last of all training images, and no number per class can be given.
    Normalised anew by the training images that remain. UserError where a number is out of range, or a class is too
    small to be split.
    """
    _check(image_size, train_per_class, test_per_class, validation)
    if train_per_class is not None or test_per_class is not None:
        what = "a number of images per class (train_per_class, test_per_class)"
        require_classes(dataset, what, "leave it out")
    train: Part = (dataset.train_images, dataset.train_labels, dataset.train_targets)
    test: Part = (dataset.test_images, dataset.test_labels, dataset.test_targets)
    if validation:
        held = _held_out(dataset, validation)
        train, test = _first_of_each(train, ~held, train_per_class), _first_of_each(train, held, test_per_class)
    else:
        train, test = _first_of_each(train, None, train_per_class), _first_of_each(test, None, test_per_class)
    if image_size is not None:
        _check_resized(len(train[0]) + len(test[0]), train[0].shape[1:-2], image_size)
        train, test = (area_average(train[0], image_size), *train[1:]), (area_average(test[0], image_size), *test[1:])
    mean, std = dataset.mean, dataset.std
    if train[0] is not dataset.train_images:
        # The images are normalised already, and averaging keeps that: the two steps become one in mean and std.
        shift, factor = moments(train[0])
        train, test = (normalised(train[0], shift, factor), *train[1:]), (normalised(test[0], shift, factor), *test[1:])
        mean, std = mean + std * shift, std * factor
    return Dataset(
        dataset.name, *train[:2], *test[:2], dataset.class_names, mean, std, train[2], test[2], dataset.scale
    )  # fmt: skip


def _check(image_size: int | None, train_per_class: int | None, test_per_class: int | None, validation: float) -> None:
    given = {"image_size": image_size, "train_per_class": train_per_class, "test_per_class": test_per_class}
    for key, value in given.items():
        if value is not None and value < 1:
            raise UserError(f"{key} is {value}; use at least 1, or leave it out")
    if not 0 <= validation < 1:
        raise UserError(f"validation is {validation}; use a fraction from 0 to below 1")


def _check_resized(images: int, leading: tuple[int, ...], size: int) -> None:
    """UserError if this machine lacks the memory for the resized images of both splits, float32."""
    needed, available = 4 * images * prod(leading) * size**2, available_bytes()
    if available is not None and needed > available:
        raise UserError(
            f"image_size is {size}: {images} such images take {needed / 2**30:,.1f} GiB, and this machine has "
            f"{available / 2**30:,.1f} GiB free; use a smaller size or fewer images"
        )


def _held_out(dataset: Dataset, fraction: float) -> np.ndarray:
    """True for the last `fraction` of every class's training images, of all where targets are values; bool ``(n,)``."""
    if dataset.target_shape is not None:
        if len(dataset.train_images) < 2:
            raise UserError(f"'{dataset.name}' has one training image, which cannot be held out; leave out validation")
        return last_of_each(np.zeros(len(dataset.train_images), np.int64), fraction)
    counts = np.bincount(dataset.train_labels, minlength=dataset.classes)
    if counts.min() < 2:
        label = int(counts.argmin())
        raise UserError(
            f"class '{dataset.class_names[label]}' of '{dataset.name}' has {counts[label]} training image, which "
            "cannot be held out; leave out validation"
        )
    return last_of_each(dataset.train_labels, fraction)


def _first_of_each(split: Part, among: np.ndarray | None, count: int | None) -> Part:
    """Select the first `count` images of each class that are in `among`; return the split itself if all are."""
    images, labels, targets = split
    chosen = np.arange(len(labels)) if among is None else np.flatnonzero(among)
    if count is not None:
        chosen = chosen[rank_in_class(labels[chosen]) < count]
    if len(chosen) == len(labels):
        return split
    return images[chosen], labels[chosen], None if targets is None else targets[chosen]
