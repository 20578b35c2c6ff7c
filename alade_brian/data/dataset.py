"""Data sets: normalised training and test images with their labels, validated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alade_brian.data.normalisation import moments, normalised, pieces
from alade_brian.errors import UserError
from alade_brian.files import is_utf8

# Images and labels of one split.
Split = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images float32 ``(n, channels, height, width)``, or sequences of frames ``(n, steps, channels, height, width)``,
    normalised per channel by `mean` and `std` of the training images; labels int64 ``(n,)`` from 0. Validated on
    construction; UserError if something is inconsistent."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray

    def __post_init__(self) -> None:
        train, test = (self.train_images, self.train_labels), (self.test_images, self.test_labels)
        _check_shapes(self.name, train, test)
        for name in self.class_names:
            # Now, and not when the results are written.
            if not is_utf8(name):
                raise UserError(f"data set '{self.name}': the class name {name!a} is not UTF-8; rename the class")
        for split, (images, labels) in (("training", train), ("test", test)):
            where = f"data set '{self.name}', {split} images"
            if not all(np.isfinite(images[piece]).all() for piece in pieces(images)):
                raise UserError(f"{where}: some values are not finite; check the files")
            found = np.unique(labels)
            if not np.array_equal(found, np.arange(self.classes)):
                raise UserError(
                    f"{where}: the labels are {found.tolist()}, expected every one of 0..{self.classes - 1}; check "
                    "the files"
                )
        if not np.all(np.isfinite([self.mean, self.std])):
            raise UserError(f"data set '{self.name}': the pixels are too large to be normalised; scale them down")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image, or of a frame if images are sequences."""
        channels, height, width = self.train_images.shape[-3:]
        return channels, height, width

    @property
    def sequence_steps(self) -> int | None:
        """Number of frames of a sequence; None for still images."""
        return self.train_images.shape[1] if self.train_images.ndim == 5 else None

    @property
    def classes(self) -> int:
        return len(self.class_names)


def make_dataset(name: str, train: Split, test: Split, class_names: tuple[str, ...], scale: float = 1.0) -> Dataset:
    """Make a data set from (images ``(n, C, H, W)`` or ``(n, steps, C, H, W)``, labels) pairs of any number type.

    scale   the value that counts as 1: 255 for bytes, so that `mean` and `std` are within 0..1
    """
    _check_shapes(name, train, test)
    mean, std = moments(train[0], scale)
    return Dataset(
        name,
        normalised(train[0], mean, std, scale),
        train[1].astype(np.int64),
        normalised(test[0], mean, std, scale),
        test[1].astype(np.int64),
        class_names,
        mean,
        std,
    )


def _check_shapes(name: str, train: Split, test: Split) -> None:
    for split, (images, labels) in (("training", train), ("test", test)):
        if images.ndim not in (4, 5) or labels.shape != images.shape[:1]:
            raise UserError(
                f"data set '{name}', {split} images: {images.shape} images and {labels.shape} labels do not "
                "match; check the files"
            )
    if train[0].shape[1:] != test[0].shape[1:]:
        raise UserError(
            f"data set '{name}': training images are {train[0].shape[1:]}, test images {test[0].shape[1:]}; check the "
            "files"
        )
