"""CIFAR-100's official binary files: found, read and fully validated."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alade_brian.data.dataset import Split
from alade_brian.data.places import cache_folder
from alade_brian.errors import UserError
from alade_brian.files import read_text

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
FOLDER = "cifar-100-binary"
TRAIN_FILE, TEST_FILE, NAMES_FILE = "train.bin", "test.bin", "fine_label_names.txt"
CLASSES = 100
# Coarse label, fine label, then a red, a green and a blue plane of 32x32 pixels.
RECORD_BYTES = 2 + 3 * 32 * 32


def read_cifar100(data_root: Path | None) -> tuple[Split, Split, tuple[str, ...]]:
    """Read (images uint8 ``(n, 3, 32, 32)``, fine labels), for training and for test, and the names of the 100 classes.

    Looked for in `data_root` or its folder ``cifar-100-binary``, without `data_root` in the user's cache. Fewer images
    are accepted where every class has as many. UserError where files are missing or damaged.

    Source: Krizhevsky, Learning multiple layers of features from tiny images (2009).
    """
    folder = _find(data_root)
    names = _read_names(folder / NAMES_FILE)
    return _read_split(folder / TRAIN_FILE), _read_split(folder / TEST_FILE), names


def _find(data_root: Path | None) -> Path:
    root = data_root if data_root is not None else cache_folder("cifar100")
    for folder in (root, root / FOLDER):
        if all((folder / name).is_file() for name in (TRAIN_FILE, TEST_FILE, NAMES_FILE)):
            return folder
    raise UserError(
        f"the CIFAR-100 files {TRAIN_FILE}, {TEST_FILE} and {NAMES_FILE} were not found (looked in {root} and "
        f"{root / FOLDER}); unpack {ADDRESS} there, which --download cannot do for this data set, or name their "
        "folder with --data-root"
    )


def _read_split(path: Path) -> Split:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); unpack {ADDRESS} again") from None
    if not len(content) or len(content) % RECORD_BYTES:
        raise UserError(
            f"{path} has {len(content)} bytes, not one or more images of {RECORD_BYTES} bytes each; unpack {ADDRESS} "
            "again"
        )
    records = content.reshape(-1, RECORD_BYTES)
    labels = records[:, 1]
    if labels.max() >= CLASSES:
        raise UserError(
            f"{path} holds the label {labels.max()}, beyond 0..{CLASSES - 1}; it is damaged, or not CIFAR-100: unpack "
            f"{ADDRESS} again"
        )
    counts = np.bincount(labels, minlength=CLASSES)
    if counts.min() != counts.max():
        raise UserError(
            f"{path} holds {counts.min()} images of one class and {counts.max()} of another; it is truncated, unpack "
            f"{ADDRESS} again"
        )
    return records[:, 2:].reshape(-1, 3, 32, 32), labels


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(read_text(path).split())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); unpack {ADDRESS} again") from None
    if len(set(names)) != CLASSES or len(names) != CLASSES:
        raise UserError(f"{path} holds {len(set(names))} class names, not {CLASSES}; unpack {ADDRESS} again")
    return names
