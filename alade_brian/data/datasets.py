"""Image data sets by name: training and test images, normalised, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from alade_brian.data.fashion_mnist import FASHION_MNIST_CLASSES, read_fashion_mnist
from alade_brian.errors import UserError

# Every so-many-th image of a class of `digits` is a test image.
DIGITS_TEST_EVERY = 5


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images float32 ``(n, channels, height, width)``, normalised per channel by `mean` and `std` of the training
    images; labels int64 ``(n,)`` from 0. Checks itself; UserError where something does not fit."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray

    def __post_init__(self) -> None:
        for split, images, labels in (
            ("training", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            where = f"data set '{self.name}', {split} images"
            if images.ndim != 4 or labels.shape != images.shape[:1]:
                raise UserError(
                    f"{where}: {images.shape} images and {labels.shape} labels do not belong together; check the files"
                )
            if not np.all(np.isfinite(images)):
                raise UserError(f"{where}: some values are not finite; check the files")
            found = np.unique(labels)
            if not np.array_equal(found, np.arange(self.classes)):
                raise UserError(
                    f"{where}: the labels are {found.tolist()}, expected every one of 0..{self.classes - 1}; check "
                    "the files"
                )
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise UserError(
                f"data set '{self.name}': training images are {self.train_images.shape[1:]}, test images "
                f"{self.test_images.shape[1:]}; check the files"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        return len(self.class_names)


def available_datasets() -> tuple[str, ...]:
    """Names that `load_dataset` knows."""
    return tuple(_LOADERS)


def load_dataset(name: str, data_root: Path | None = None, download: bool = False) -> Dataset:
    """The data set of that name. `data_root`: where its files lie; `download`: fetch them where they are missing.

    UserError where the name is unknown, or files are missing or damaged.
    """
    if name not in _LOADERS:
        raise UserError(f"unknown data set '{name}'; use one of {', '.join(_LOADERS)}")
    return _LOADERS[name](data_root, download)


def make_dataset(
    name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], class_names: tuple[str, ...]
) -> Dataset:
    """A normalised data set from (images ``(n, C, H, W)``, labels) pairs of any numeric type."""
    pixels = train[0].astype(np.float64)
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    # A constant channel stays zero instead of becoming infinite.
    std = np.where(std > 0, std, 1.0)

    def normalised(images: np.ndarray) -> np.ndarray:
        return ((images - mean[:, None, None]) / std[:, None, None]).astype(np.float32)

    return Dataset(
        name,
        normalised(train[0]),
        train[1].astype(np.int64),
        normalised(test[0]),
        test[1].astype(np.int64),
        class_names,
        mean,
        std,
    )


def _digits(data_root: Path | None, download: bool) -> Dataset:
    """The 1,797 handwritten digits (8x8) of scikit-learn (UCI, Alpaydin & Kaynak 1998).

    The split is fixed: within each class every fifth image, in file order, is a test image.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images[:, None] / 16.0, bunch.target
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        is_test[np.flatnonzero(labels == label)[DIGITS_TEST_EVERY - 1 :: DIGITS_TEST_EVERY]] = True
    names = tuple(str(n) for n in range(10))
    return make_dataset("digits", (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test]), names)


def _fashion_mnist(data_root: Path | None, download: bool) -> Dataset:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60,000 training and 10,000 test images, 28x28."""
    train, test = read_fashion_mnist(data_root, download)
    return make_dataset(
        "fashion-mnist",
        (train[0][:, None] / 255.0, train[1]),
        (test[0][:, None] / 255.0, test[1]),
        FASHION_MNIST_CLASSES,
    )


_LOADERS: Mapping[str, Callable[[Path | None, bool], Dataset]] = MappingProxyType(
    {"digits": _digits, "fashion-mnist": _fashion_mnist}
)
