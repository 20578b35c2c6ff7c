"""A data set in one `.npz` file of numpy arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alade_brian.data.dataset import Split
from alade_brian.errors import UserError
from alade_brian.numpy_files import open_npz

IMAGES = ("train_images", "test_images")
# What is learnt of them: the one or the other.
LABELS = ("train_labels", "test_labels")
TARGETS = ("train_targets", "test_targets")
LAYOUTS = ("NCHW", "NHWC")
# With four axes, the axis this short is taken for the channels.
MOST_CHANNELS = 4


def read_npz(path: Path | None) -> tuple[Split, Split, tuple[str, ...] | None, float]:
    """Read (images, labels) for training and test, class names, and the pixel value that is scaled to 1; of a file with
    targets (images, targets), and None for the class names.

    The file holds
    train_images, test_images   uint8 (255 counts as 1) or float (as they are); ``(n, H, W)``, ``(n, C, H, W)``,
                                ``(n, H, W, C)``, or sequences of frames ``(n, steps, C, H, W)``
    train_labels, test_labels   whole numbers from 0, ``(n,)``; or in their place
    train_targets, test_targets float values to be learnt, vectors ``(n, k)`` or fields ``(n, channels, height, width)``
    class_names                 optional, text ``(classes,)``; the labels themselves where it is missing
    layout                      optional, "NCHW" or "NHWC": needed where four axes could be either
    Images given back are ``(n, C, H, W)`` or ``(n, steps, C, H, W)``. UserError for everything that does not fit.
    """
    arrays = _load(path)
    layout = str(arrays["layout"]) if "layout" in arrays else None
    if layout not in (None, *LAYOUTS):
        raise UserError(f"{path}: layout is '{layout}'; use {' or '.join(LAYOUTS)}")
    images = [_images(arrays[f"{split}_images"], f"{path}: {split}_images", layout) for split in ("train", "test")]
    is_bytes = [array.dtype == np.uint8 for array in images]
    if is_bytes[0] != is_bytes[1]:
        raise UserError(
            f"{path}: train_images are {images[0].dtype}, test_images {images[1].dtype}; save both as the same type"
        )
    scale = 255.0 if is_bytes[0] else 1.0
    if TARGETS[0] in arrays:
        values = [_targets(arrays[key], f"{path}: {key}") for key in TARGETS]
        return (images[0], values[0]), (images[1], values[1]), None, scale
    labels = [_labels(arrays[key], f"{path}: {key}") for key in LABELS]
    return (images[0], labels[0]), (images[1], labels[1]), _names(arrays, labels[0], path), scale


def _load(path: Path | None) -> dict[str, np.ndarray]:
    if path is None:
        raise UserError("the data set 'npz' is a file; give it with --data-root FILE.npz")
    if not path.is_file():
        raise UserError(f"{path} is not a file; give the .npz file with --data-root FILE.npz")
    try:
        with open_npz(path) as content:
            needed = _needed(set(content.files), path)
            return {key: content[key] for key in (*needed, "class_names", "layout") if key in content}
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read as an .npz file of plain arrays ({reason}); write it again with numpy.savez"
        ) from None


def _needed(found: set[str], path: Path) -> tuple[str, ...]:
    """Names of the arrays that a file of labels, or of targets, must hold; UserError where it does not."""
    has_targets = not found.isdisjoint(TARGETS)
    if has_targets and not found.isdisjoint((*LABELS, "class_names")):
        raise UserError(f"{path} holds classes and targets; keep those that are to be learnt")
    needed = sorted((*IMAGES, *(TARGETS if has_targets else LABELS)), key=lambda key: not key.startswith("train"))
    if missing := [key for key in needed if key not in found]:
        raise UserError(f"{path} lacks {', '.join(missing)}; write it with numpy.savez and these names")
    return tuple(needed)


def _images(images: np.ndarray, where: str, layout: str | None) -> np.ndarray:
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{where} are {images.dtype}; save them as uint8 (0..255) or as float")
    if images.ndim not in (3, 4, 5) or not images.size:
        raise UserError(
            f"{where} have the shape {images.shape}; give (n, H, W), (n, C, H, W), (n, H, W, C), or "
            "(n, steps, C, H, W) for sequences"
        )
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and _channels_last(images.shape, where, layout):
        return images.transpose(0, 3, 1, 2)
    return images


def _channels_last(shape: tuple[int, ...], where: str, layout: str | None) -> bool:
    if layout is not None:
        return layout == "NHWC"
    first, last = shape[1] <= MOST_CHANNELS, shape[3] <= MOST_CHANNELS
    if first == last:
        raise UserError(
            f"{where} have the shape {shape}, which could be (n, C, H, W) or (n, H, W, C); add layout='NCHW' or "
            "layout='NHWC' to the file"
        )
    return last


def _targets(targets: np.ndarray, where: str) -> np.ndarray:
    if targets.ndim not in (2, 4) or not np.issubdtype(targets.dtype, np.floating):
        raise UserError(
            f"{where} are {targets.dtype} of shape {targets.shape}; save floats, vectors (n, k) or fields "
            "(n, channels, height, width)"
        )
    return targets


def _labels(labels: np.ndarray, where: str) -> np.ndarray:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{where} are {labels.dtype} of shape {labels.shape}; save whole numbers from 0, one per image")
    if len(labels) and labels.min() < 0:
        raise UserError(f"{where} hold {labels.min()}; number the classes from 0")
    return labels


def _names(arrays: dict[str, np.ndarray], labels: np.ndarray, path: Path | None) -> tuple[str, ...]:
    classes = len(np.unique(labels))
    if "class_names" not in arrays:
        return tuple(str(label) for label in range(classes))
    names = arrays["class_names"]
    if names.shape != (classes,) or names.dtype.kind != "U":
        raise UserError(
            f"{path}: class_names are {names.dtype} of shape {names.shape}, but the labels need {classes} names; "
            "save one text per class"
        )
    found = tuple(str(name) for name in names)
    wrong = next((name for name in found if not name.isprintable()), None)
    if wrong is not None:
        raise UserError(f"{path}: the class name {wrong!a} holds characters that cannot be shown; rename the class")
    return found
