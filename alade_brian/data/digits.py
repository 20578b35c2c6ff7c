"""The digits of scikit-learn, and what can be made of them to learn values: where a digit lies, and what it looks like
without noise."""

from __future__ import annotations

import numpy as np

from alade_brian.data.dataset import Split

# Every so-many-th image of a class is a test image.
TEST_EVERY = 5
# The largest value of a pixel.
INK = 16.0
# Empty pixels on each side of a digit that lies in the middle: it moves by less than so many.
MARGIN = 3
# Standard deviation of the noise; ink is 1.
NOISE = 0.3
# What is drawn is the same in every run.
SEED = 1998


def read_digits() -> tuple[Split, Split]:
    """Training and test images ``(n, 1, 8, 8)``, 0 to 16, with their labels.

    The 1,797 handwritten digits (8x8) of scikit-learn (UCI, Alpaydin & Kaynak 1998). The split is fixed: within each
    class every fifth image, in file order, is a test image.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images[:, None], bunch.target
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        is_test[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])


def digit_positions() -> tuple[Split, Split]:
    """Digits somewhere on a larger canvas, ``(n, 1, 14, 14)``, ink 1; the target ``(n, 2)`` is where: row and column of
    the digit's middle, from -1 to 1 where it touches the canvas's border.

    A digit moves by any distance, not by whole pixels alone (bilinear interpolation).
    """
    generator = np.random.default_rng(SEED)
    train, test = read_digits()
    return _moved(train[0], generator), _moved(test[0], generator)


def noisy_digits() -> tuple[Split, Split]:
    """Digits in Gaussian noise, ``(n, 1, 8, 8)``; the target, of the same shape, is the digit without it, ink 1."""
    generator = np.random.default_rng(SEED)
    train, test = read_digits()
    return _noisy(train[0], generator), _noisy(test[0], generator)


def _moved(digits: np.ndarray, generator: np.random.Generator) -> Split:
    where = generator.uniform(-1, 1, (len(digits), 2))
    side = digits.shape[-1]
    corner, part = np.divmod((where + 1) * MARGIN, 1.0)
    canvas = np.zeros((len(digits), 1, side + 2 * MARGIN, side + 2 * MARGIN))
    for row in (0, 1):
        for column in (0, 1):
            weight = np.abs(1 - row - part[:, 0]) * np.abs(1 - column - part[:, 1])
            for image, digit, (top, left), share in zip(canvas, digits, corner.astype(int), weight, strict=True):
                rows, columns = (slice(start, start + side) for start in (top + row, left + column))
                image[:, rows, columns] += share * digit / INK
    return canvas, where


def _noisy(digits: np.ndarray, generator: np.random.Generator) -> Split:
    clean = digits / INK
    return clean + generator.normal(0.0, NOISE, clean.shape), clean
