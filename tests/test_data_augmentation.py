"""Augmentation: every changed image is one that the change allows, and the generator decides which."""

from __future__ import annotations

import numpy as np
import pytest

from alade_brian.data import AUGMENTATIONS, Augmentation, Dataset, augmentation, make_dataset
from alade_brian.data.augmentation import Pixels, colour, crop, flip
from alade_brian.errors import UserError

MEAN, STD = np.array([0.5, 0.3], np.float32)[:, None, None], np.array([0.2, 0.4], np.float32)[:, None, None]
PIXELS = Pixels(MEAN, STD)
SHAPES = [(40, 2, 8, 8), (40, 3, 2, 8, 8)]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def batch(shape: tuple[int, ...] = SHAPES[0], seed: int = 1) -> np.ndarray:
    """Normalised images of random brightness within 0..1."""
    return ((np.random.default_rng(seed).random(shape, np.float32) - MEAN) / STD).astype(np.float32)


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """The image moved, black where nothing comes from."""
    result = np.empty_like(image)
    result[:] = -MEAN / STD
    height, width = image.shape[-2:]
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[..., row, column] = image[..., row - down, column - right]
    return result


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("shape", [*SHAPES, (0, 2, 8, 8), (3, 2, 5, 7)])
def test_shape_type_and_the_given_batch_stay(name: str, shape) -> None:
    images = batch(shape)
    before = images.copy()
    changed = Augmentation((name,), PIXELS)(images, generator())
    assert changed.shape == shape and changed.dtype == np.float32 and changed.flags.c_contiguous
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_a_run_is_a_function_of_its_generator(name: str, shape) -> None:
    change, images = Augmentation((name,), PIXELS), batch(shape)
    np.testing.assert_array_equal(change(images, generator(5)), change(images, generator(5)))
    assert not np.array_equal(change(images, generator(5)), change(images, generator(6)))
    going_on = generator(5)
    assert not np.array_equal(change(images, going_on), change(images, going_on))


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_shifts_by_every_offset_and_lets_black_in(shape) -> None:
    images = np.repeat(batch((1, *shape[1:])), 400, axis=0)
    changed = crop(images, generator(), PIXELS)
    # One pixel of eight: nine shifts, each about equally often, all frames of a sequence alike.
    allowed = {shifted(images[0], down, right).tobytes(): 0 for down in (-1, 0, 1) for right in (-1, 0, 1)}
    for image in changed:
        allowed[image.tobytes()] += 1
    assert len(allowed) == 9 and min(allowed.values()) > 20


@pytest.mark.parametrize(("side", "padding"), [(32, 4), (28, 4), (64, 8), (16, 2), (14, 2), (8, 1), (3, 1)])
def test_the_padding_is_4_of_32_pixels(side: int, padding: int) -> None:
    rows, columns = np.meshgrid(np.arange(1.0, side + 1), np.arange(1.0, side + 1), indexing="ij")
    images = np.repeat(np.stack([rows, columns])[None].astype(np.float32), 500, axis=0)
    # With mean 0, black is 0; where row 1 (column 1) is now tells the shift.
    changed = crop(images, generator(), Pixels(np.zeros((2, 1, 1), np.float32), np.ones((2, 1, 1), np.float32)))
    shifts = {int(image[channel].max()) - side for image in changed for channel in (0, 1)}
    assert min(shifts) == -padding
    first = {int(image[image > 0].min()) - 1 for image in changed[:, 0]}
    assert max(first) == padding


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_mirrors_about_half_of_the_images(shape) -> None:
    images = batch((400, *shape[1:]))
    changed = flip(images, generator(), PIXELS)
    mirrored = [np.array_equal(new, old[..., ::-1]) for new, old in zip(changed, images, strict=True)]
    same = [np.array_equal(new, old) for new, old in zip(changed, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 160 < sum(mirrored) < 240


@pytest.mark.parametrize("shape", SHAPES)
def test_colour_multiplies_the_brightness_of_each_image(shape) -> None:
    # Brightness up to 0.6 is never clipped: 0.6 * (1 + 63/255) < 1.
    brightness = 0.1 + 0.5 * np.random.default_rng(3).random((300, *shape[1:]), np.float32)
    changed = colour(((brightness - MEAN) / STD).astype(np.float32), generator(), PIXELS)
    factors = ((changed * STD + MEAN) / brightness).reshape(300, -1)
    np.testing.assert_allclose(factors, factors[:, :1].repeat(factors.shape[1], 1), rtol=1e-4)
    assert 1 - 63 / 255 - 1e-4 < factors.min() < 0.78 and 1.22 < factors.max() < 1 + 63 / 255 + 1e-4


def test_colour_stays_within_black_and_white() -> None:
    images = np.where(np.arange(800).reshape(50, 2, 2, 4) % 2, 1, 0)
    changed = colour(((images - MEAN) / STD).astype(np.float32), generator(), PIXELS) * STD + MEAN
    np.testing.assert_allclose(changed[images == 0], 0, atol=1e-6)
    assert changed.max() < 1 + 1e-6 and (changed[images == 1] > 1 - 1e-6).mean() > 0.3


def test_changes_are_applied_in_order() -> None:
    images, both = batch(), Augmentation(("crop", "flip"), PIXELS)
    numbers = generator(9)
    np.testing.assert_array_equal(both(images, generator(9)), flip(crop(images, numbers, PIXELS), numbers, PIXELS))
    assert not np.array_equal(both(images, generator(9)), Augmentation(("flip", "crop"), PIXELS)(images, generator(9)))


def dataset(scale: float) -> Dataset:
    images, labels = np.random.default_rng(0).random((6, 2, 4, 4)) * scale, np.arange(6) % 2
    return make_dataset("made", (images, labels), (images, labels), ("a", "b"))


def test_of_a_data_set() -> None:
    made = dataset(1.0)
    change = augmentation(("crop", "flip", "colour"), made)
    assert change.names == ("crop", "flip", "colour")
    np.testing.assert_allclose(change.pixels.mean[:, 0, 0], made.mean, rtol=1e-6)
    changed = change(made.train_images, generator())
    brightness = changed * made.std[:, None, None] + made.mean[:, None, None]
    assert brightness.min() > -1e-5 and brightness.max() < 1 + 1e-5


def test_an_unknown_change_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown augmentation 'color'; use crop, flip, colour"):
        augmentation(["flip", "color"], dataset(1.0))


@pytest.mark.parametrize("scale", [1.5, -1.0])
def test_colour_needs_brightness(scale: float) -> None:
    with pytest.raises(UserError, match="'colour'.*'made' are not within 0..1"):
        augmentation(["colour"], dataset(scale))
    augmentation(["crop", "flip"], dataset(scale))
