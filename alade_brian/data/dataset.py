"""Data sets: normalised training and test images with their labels or target values, validated."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from alade_brian.data.normalisation import moments, normalised, pieces
from alade_brian.errors import UserError
from alade_brian.files import is_utf8

# Images of one split, and their labels or target values.
Split = tuple[np.ndarray, np.ndarray]
# The label of an image that has target values and no class.
NO_CLASS = -1
_TRAIN_ON_VALUES = "use a data set with labels, or train on the values with `alade-brian train` and `method: plain`"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images float32 ``(n, channels, height, width)``, or sequences of frames ``(n, steps, channels, height, width)``,
    normalised per channel by `mean` and `std` of the training images; labels int64 ``(n,)`` from 0.

    scale     the value of a raw pixel that counted as 1: an image is ``(raw / scale - mean) / std``
    targets   None, or values to be learnt in place of classes, as they are: float32 vectors ``(n, k)`` or fields
              ``(n, channels, height, width)``. There are no `class_names` then, and every label is -1, no class.
    Validated on construction; UserError if something is inconsistent.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    train_targets: np.ndarray | None = None
    test_targets: np.ndarray | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        train, test = (self.train_images, self.train_labels), (self.test_images, self.test_labels)
        _check_shapes(self.name, train, test)
        self._check_targets()
        for name in self.class_names:
            # Now, and not when the results are written.
            if not is_utf8(name):
                raise UserError(f"data set '{self.name}': the class name {name!a} is not UTF-8; rename the class")
        for split, (images, labels) in (("training", train), ("test", test)):
            where = f"data set '{self.name}', {split} images"
            if not all(np.isfinite(images[piece]).all() for piece in pieces(images)):
                raise UserError(f"{where}: some values are not finite; check the files")
            found = np.unique(labels)
            expected = np.arange(self.classes) if self.target_shape is None else np.array([NO_CLASS])
            if not np.array_equal(found, expected):
                wanted = f"every one of 0..{self.classes - 1}" if self.target_shape is None else f"{NO_CLASS} alone"
                raise UserError(f"{where}: the labels are {found.tolist()}, expected {wanted}; check the files")
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

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        """(k,) of a vector or (channels, height, width) of a field; None where classes are learnt."""
        return None if self.train_targets is None else self.train_targets.shape[1:]

    @property
    def outputs(self) -> int:
        """Outputs of a network that learns this: one for each class, or for each number of a target."""
        return self.classes if self.target_shape is None else prod(self.target_shape)

    @property
    def content(self) -> str:
        """What is to be learnt of the images, to stand behind their number: "of 10 classes"."""
        shape = self.target_shape
        return f"of {self.classes} classes" if shape is None else f"with values of shape {shape}"

    @property
    def problem(self) -> str:
        """``classification``, or ``regression`` where targets are values: a name in `analysis.problems`."""
        return problem_of_targets(self.train_targets)

    def _check_targets(self) -> None:
        train, test = self.train_targets, self.test_targets
        if train is None and test is None:
            return
        if train is None or test is None:
            raise UserError(f"data set '{self.name}': only one of training and test images has targets; give both")
        if self.class_names:
            raise UserError(f"data set '{self.name}' has targets and class names; leave out the one not to be learnt")
        for split, images, targets in (("training", self.train_images, train), ("test", self.test_images, test)):
            where = f"data set '{self.name}', {split} targets"
            if targets.ndim not in (2, 4) or not targets.size or len(targets) != len(images):
                raise UserError(
                    f"{where}: the shape {targets.shape} is none of a vector ({len(images)}, k) or a field "
                    f"({len(images)}, channels, height, width) for each of {len(images)} images; check the files"
                )
            if targets.dtype != np.float32 or not np.isfinite(targets).all():
                raise UserError(f"{where}: some values are no finite float32 numbers; check the files")
        if train.shape[1:] != test.shape[1:]:
            raise UserError(
                f"data set '{self.name}': training targets are {train.shape[1:]}, test targets {test.shape[1:]}; check "
                "the files"
            )


def make_dataset(
    name: str, train: Split, test: Split, class_names: tuple[str, ...] | None, scale: float = 1.0
) -> Dataset:
    """Make a data set from (images ``(n, C, H, W)`` or ``(n, steps, C, H, W)``, labels) pairs of any number type.

    class_names   None: the pairs hold images and target values, ``(n, k)`` or ``(n, channels, height, width)``
    scale         the value that counts as 1: 255 for bytes, so that `mean` and `std` are within 0..1
    """
    labels: list[np.ndarray] = [train[1], test[1]]
    targets: list[np.ndarray | None] = [None, None]
    if class_names is None:
        # What is too large for float32 becomes infinite, and is refused as such.
        with np.errstate(over="ignore"):
            targets = [values.astype(np.float32) for values in labels]
        labels = [np.full(len(images), NO_CLASS) for images in (train[0], test[0])]
    _check_shapes(name, (train[0], labels[0]), (test[0], labels[1]))
    mean, std = moments(train[0], scale)
    return Dataset(
        name,
        normalised(train[0], mean, std, scale),
        labels[0].astype(np.int64),
        normalised(test[0], mean, std, scale),
        labels[1].astype(np.int64),
        class_names or (),
        mean,
        std,
        train_targets=targets[0],
        test_targets=targets[1],
        scale=scale,
    )


def problem_of_targets(targets: np.ndarray | None) -> str:
    """Name of the problem that images with these target values, or with none, are for; see `analysis.problems`."""
    return "classification" if targets is None else "regression"


def require_classes(dataset: Dataset, what: str, remedy: str = _TRAIN_ON_VALUES) -> None:
    """UserError where a data set's targets are values; `what` it is that needs classes, such as "the method 'wa'"."""
    if dataset.target_shape is not None:
        raise UserError(
            f"{what} needs classes, but the targets of the data set '{dataset.name}' are values of shape "
            f"{dataset.target_shape}; {remedy}"
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
