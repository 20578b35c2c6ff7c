"""Omniglot-242: handwritten characters that ship with the package."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np

from alade_brian.data.dataset import Split

FIRST_TEST_DRAWER = 16


def read_omniglot() -> tuple[Split, Split, tuple[str, ...]]:
    """Read (images uint8 ``(n, 1, 28, 28)``, labels) for training and test, and the names of the 242 characters.

    Twenty people drew every character. The split is fixed: people 1 to 15 are for training, 16 to 20 for test, so that
    a class has 15 and 5 images. Source and licence stand beside the file.
    """
    with as_file(files("alade_brian.data") / "files" / "omniglot242_28.npz") as path, np.load(path) as content:
        images, labels = content["x"][:, None], content["y"].astype(np.int64)
        is_test = content["drawer"] >= FIRST_TEST_DRAWER
        names = tuple(str(name) for name in content["names"])
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test]), names
