"""A data set as folders of image files: one folder per split, and in it one per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alade_brian.data.dataset import Split
from alade_brian.data.resampling import area_average
from alade_brian.errors import UserError
from alade_brian.files import check_plain, is_utf8
from alade_brian.machine import available_bytes

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
GREY_MODES = frozenset({"1", "L"})
# What Pillow calls 16-bit and float pixels, which it would cut to bytes without a word.
WIDE_MODES = ("I", "F")


def read_image_folder(data_root: Path | None, image_size: int | None) -> tuple[Split, Split, tuple[str, ...]]:
    """Read (images, labels) of ``data_root/train/<class>/`` and ``data_root/test/<class>/``, and the class names.

    Images are ``(n, 1, H, W)`` where every file is grey, else ``(n, 3, H, W)``, with values 0..255; classes and files
    come in the sorted order of their names, files of folders within a class too. Files that are no images (`SUFFIXES`)
    are left out. With `image_size` every image is brought to so many pixels a side by area averaging (float32);
    without, all must have the same size (uint8). UserError where something is missing, damaged or unequal.
    """
    if data_root is None:
        raise UserError(
            "the data set 'folder' needs --data-root DIR, with the images in DIR/train/<class>/ and DIR/test/<class>/"
        )
    classes = _classes(data_root)
    files = {split: _files(data_root / split, classes) for split in ("train", "test")}
    every = [path for paths, _ in files.values() for path in paths]
    sizes, modes = zip(*(_size_and_mode(path) for path in every), strict=True)
    if image_size is None:
        _check_sizes(every, sizes)
    _check_memory(data_root, sizes, image_size)
    mode = "L" if GREY_MODES.issuperset(modes) else "RGB"
    train, test = ((_read(paths, mode, image_size), labels) for paths, labels in files.values())
    return train, test, classes


def _classes(root: Path) -> tuple[str, ...]:
    found = {}
    for split in ("train", "test"):
        if not (root / split).is_dir():
            raise UserError(
                f"{root / split} is not a folder; put the images into {root}/train/<class>/ and .../test/<class>/"
            )
        for path in (root / split).iterdir():
            if path.is_dir() and not is_utf8(path.name):
                raise UserError(f"the folder {str(path)!a} has a name that is not UTF-8; rename it")
        found[split] = {p.name for p in (root / split).iterdir() if p.is_dir() and not p.name.startswith(".")}
    unequal = sorted(found["train"] ^ found["test"])
    if unequal or not found["train"]:
        raise UserError(
            f"{root}: the classes in train and test are not the same ({', '.join(unequal) or 'there are none'}); give "
            "each class a folder in both"
        )
    return tuple(sorted(found["train"]))


def _files(folder: Path, classes: tuple[str, ...]) -> tuple[list[Path], np.ndarray]:
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(
            p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
        )
        if not found:
            raise UserError(f"{folder / name} holds no image ({', '.join(sorted(SUFFIXES))}); add images to it")
        paths += found
        labels += [label] * len(found)
    return paths, np.array(labels, dtype=np.int64)


def _size_and_mode(path: Path) -> tuple[tuple[int, int], str]:
    """Read (width, height) and Pillow's mode from the file's header."""
    from PIL import Image

    try:
        check_plain(path)
        with Image.open(path) as image:
            size, mode = image.size, image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}); replace or remove it") from None
    if mode.startswith(WIDE_MODES):
        raise UserError(f"{path} has more than 8 bits per channel ('{mode}'); save it with 8")
    return size, mode


def _check_memory(root: Path, sizes: Sequence[tuple[int, int]], image_size: int | None) -> None:
    """UserError if this machine lacks the memory for all images, or for the largest of those that are resized."""
    colours, available = 3, available_bytes()
    pixels = [width * height for width, height in sizes]
    needed = colours * sum(pixels)
    if image_size is not None:
        # One at a time, as float64 too.
        needed = colours * (9 * max(pixels) + 4 * image_size**2 * len(pixels))
    if available is not None and needed > available:
        raise UserError(
            f"the {len(pixels)} images in {root} take {needed / 2**30:,.1f} GiB, and this machine has "
            f"{available / 2**30:,.1f} GiB free; set image_size, or leave some out"
        )


def _check_sizes(paths: list[Path], sizes: tuple[tuple[int, int], ...]) -> None:
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            raise UserError(
                f"{path} has {size[0]}x{size[1]} pixels, {paths[0]} has {sizes[0][0]}x{sizes[0][1]}; make all images "
                "the same size, or set image_size"
            )


def _read(paths: list[Path], mode: str, image_size: int | None) -> np.ndarray:
    images: np.ndarray | None = None
    for index, path in enumerate(paths):
        image = _pixels(path, mode)
        if image_size is not None:
            image = area_average(image, image_size)
        if images is None:
            images = np.empty((len(paths), *image.shape), dtype=image.dtype)
        images[index] = image
    assert images is not None
    return images


def _pixels(path: Path, mode: str) -> np.ndarray:
    """Pixels of an image file, uint8 ``(C, H, W)``."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}); replace or remove it") from None
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
