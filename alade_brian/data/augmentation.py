"""Random augmentation of training images, as in the class-incremental protocols: crop, flip, brightness.

All images of a batch are changed at once, the frames of a sequence alike. What a run sees follows from its generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from alade_brian.data.dataset import Dataset, require_classes
from alade_brian.data.normalisation import pieces
from alade_brian.errors import UserError

# Padding on each side, in parts of the image's side: 4 pixels of 32.
CROP_PADDING = 4 / 32
# Brightness factors lie within 1 - this and 1 + this, as in DER's transform.
BRIGHTNESS = 63 / 255


@dataclass(frozen=True, eq=False)
class Pixels:
    """Normalisation of the pixels: `mean` and `std`, float32 ``(C, 1, 1)``."""

    mean: np.ndarray
    std: np.ndarray


Change = Callable[[np.ndarray, np.random.Generator, Pixels], np.ndarray]


@dataclass(frozen=True, eq=False)
class Augmentation:
    """Named augmentations, applied in order to a batch of normalised images."""

    names: tuple[str, ...]
    pixels: Pixels

    def __call__(self, batch: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Augment copies of images, float32 ``(n, C, H, W)`` or ``(n, steps, C, H, W)``; the same shape and type."""
        for name in self.names:
            batch = AUGMENTATIONS[name](batch, generator, self.pixels)
        return batch


def augmentation(names: Sequence[str], dataset: Dataset) -> Augmentation:
    """Look up the named augmentations for the images of a data set.

    UserError where a name is unknown, `colour` is asked of pixels that are no brightness within 0..1, or targets are
    values: they would stay as they are while the images change.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise UserError(f"unknown augmentation '{name}'; use {', '.join(AUGMENTATIONS)}")
    if names:
        what = f"augmentation ({', '.join(names)}), which changes an image and not what is to be learnt of it,"
        require_classes(dataset, what, "leave it out")
    if "colour" in names:
        _check_brightness(dataset)
    mean, std = (values.astype(np.float32)[:, None, None] for values in (dataset.mean, dataset.std))
    return Augmentation(tuple(names), Pixels(mean, std))


def crop(batch: np.ndarray, generator: np.random.Generator, pixels: Pixels) -> np.ndarray:
    """Shift each image by up to 4 of 32 pixels (in proportion, at least 1) in any direction.

    What comes in from outside is black: pixel value 0 before normalisation, -mean/std after it, as where an image is
    padded before it is normalised.
    """
    height, width = batch.shape[-2:]
    pads = [max(1, int(side * CROP_PADDING + 0.5)) for side in (height, width)]
    padded = np.empty((*batch.shape[:-2], height + 2 * pads[0], width + 2 * pads[1]), dtype=batch.dtype)
    padded[:] = -pixels.mean / pixels.std
    padded[..., pads[0] : pads[0] + height, pads[1] : pads[1] + width] = batch
    top, left = (generator.integers(0, 2 * pad + 1, len(batch)) for pad in pads)
    last_two: Any = (-2, -1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=last_two)
    return np.ascontiguousarray(windows[np.arange(len(batch)), ..., top, left, :, :])


def flip(batch: np.ndarray, generator: np.random.Generator, pixels: Pixels) -> np.ndarray:
    """Mirror each image left to right with probability 0.5."""
    mirrored, result = generator.random(len(batch)) < 0.5, batch.copy()
    result[mirrored] = batch[mirrored][..., ::-1]
    return result


def colour(batch: np.ndarray, generator: np.random.Generator, pixels: Pixels) -> np.ndarray:
    """Multiply each image's brightness by a factor of 1 ± 63/255; pixels stay within 0..1.

    Source: Yan, Xie, He, DER (CVPR 2021), whose training images are changed by ``ColorJitter(brightness=63/255)``.
    """
    factor = generator.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS, len(batch)).astype(batch.dtype)
    brightness = (batch * pixels.std + pixels.mean) * factor.reshape(-1, *[1] * (batch.ndim - 1))
    return (np.clip(brightness, 0, 1) - pixels.mean) / pixels.std


AUGMENTATIONS: Mapping[str, Change] = MappingProxyType({"crop": crop, "flip": flip, "colour": colour})


def _check_brightness(dataset: Dataset) -> None:
    images, slack = dataset.train_images, 1e-4
    channels = tuple(a for a in range(images.ndim) if a != images.ndim - 3)
    for piece in pieces(images):
        for extreme in (images[piece].min(channels), images[piece].max(channels)):
            brightness = extreme * dataset.std + dataset.mean
            if brightness.min() < -slack or brightness.max() > 1 + slack:
                raise UserError(
                    f"augmentation 'colour' changes brightness, but the pixels of '{dataset.name}' are not within "
                    "0..1; leave it out"
                )
