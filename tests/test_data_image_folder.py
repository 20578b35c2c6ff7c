"""Image files in folders, written here through Pillow."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alade_brian.data import Dataset, load_dataset
from alade_brian.data.resampling import area_average
from alade_brian.errors import UserError

SIZE = (4, 5)


def image(seed: int, shape: tuple[int, ...] = (*SIZE, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def put(path: Path, content: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(content).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, of which the second comes first in the alphabet; colour, 5 wide and 4 high."""
    root = tmp_path / "pictures"
    for number, name in enumerate(("train/zebra/b.png", "train/zebra/a.bmp", "train/ant/x.PNG", "test/ant/1.png")):
        put(root / name, image(number))
    put(root / "test/zebra/deep/2.png", image(4))
    return root


def pixels(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    return (images * dataset.std[:, None, None] + dataset.mean[:, None, None]) * 255


def test_classes_and_files_in_sorted_order(root: Path) -> None:
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    (root / "train" / ".hidden").mkdir()
    (root / "train" / "ant" / "._x.png").write_bytes(b"what some systems leave behind")
    dataset = load_dataset("folder", root)
    assert (dataset.class_names, dataset.image_shape) == (("ant", "zebra"), (3, 4, 5))
    assert dataset.train_labels.tolist() == [0, 1, 1] and dataset.test_labels.tolist() == [0, 1]
    expected = [image(number).transpose(2, 0, 1) for number in (2, 1, 0)]
    np.testing.assert_allclose(pixels(dataset.train_images, dataset), expected, atol=1e-3)
    np.testing.assert_allclose(pixels(dataset.test_images, dataset)[1], image(4).transpose(2, 0, 1), atol=1e-3)


def test_grey_files_have_one_channel_unless_there_is_a_coloured_one(tmp_path: Path) -> None:
    for number, name in enumerate(("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")):
        put(tmp_path / name, image(number, SIZE))
    dataset = load_dataset("folder", tmp_path)
    assert dataset.image_shape == (1, 4, 5)
    np.testing.assert_allclose(pixels(dataset.train_images, dataset)[1, 0], image(1, SIZE), atol=1e-3)
    put(tmp_path / "test/b/2.png", image(9))
    dataset = load_dataset("folder", tmp_path)
    assert dataset.image_shape == (3, 4, 5)
    np.testing.assert_allclose(pixels(dataset.train_images, dataset)[1], [image(1, SIZE)] * 3, atol=1e-3)


def test_unequal_sizes_are_refused_or_resampled(root: Path) -> None:
    put(root / "train/zebra/c.png", image(7, (6, 9, 3)))
    with pytest.raises(UserError, match=r"c\.png has 9x6 pixels, .*x\.PNG has 5x4.*set image_size"):
        load_dataset("folder", root)
    dataset = load_dataset("folder", root, image_size=3)
    assert dataset.image_shape == (3, 3, 3)
    expected = area_average(image(7, (6, 9, 3)).transpose(2, 0, 1), 3)
    np.testing.assert_allclose(pixels(dataset.train_images, dataset)[3], expected, atol=1e-3)


def test_jpeg_is_read_too(root: Path) -> None:
    put(root / "train/zebra/c.jpg", np.full((*SIZE, 3), 200, np.uint8))
    dataset = load_dataset("folder", root)
    np.testing.assert_allclose(pixels(dataset.train_images, dataset)[3], 200, atol=2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "test").rename(root / "val"), "test is not a folder"),
        (lambda root: (root / "test" / "ant").rename(root / "test" / "bee"), r"not the same \(ant, bee\)"),
        (lambda root: (root / "train" / "ant" / "x.PNG").unlink(), "ant holds no image"),
        (lambda root: (root / "train" / "ant" / "x.PNG").write_bytes(b"text"), "x.PNG cannot be read as an image"),
        (
            lambda root: (root / "test/ant/1.png").write_bytes((root / "test/ant/1.png").read_bytes()[:60]),
            "1.png cannot be read as an image",
        ),
        (lambda root: put(root / "test/ant/1.png", image(0, SIZE).astype(np.uint16) * 200), "more than 8 bits"),
        (
            lambda root: os.rename(root / "train/ant", os.fsencode(root / "train") + b"/a\xff"),
            r"train/a\\udcff' has a name that is not UTF-8; rename it",
        ),
    ],
)
def test_faults_are_one_sentence_with_the_place(root: Path, damage, message: str) -> None:
    damage(root)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset("folder", root)
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_must_be_named() -> None:
    with pytest.raises(UserError, match="'folder' needs --data-root DIR"):
        load_dataset("folder")
