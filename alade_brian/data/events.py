"""Recordings of event cameras, read with the optional package tonic and binned into frames."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.data.dataset import Split
from alade_brian.data.places import cache_folder
from alade_brian.data.resampling import area_average
from alade_brian.data.splits import last_of_each
from alade_brian.errors import UserError

DEFAULT_STEPS = 10
# Of data sets that are published without a split, this part of every class is for test.
TEST_FRACTION = 0.1


def read_events(
    name: str, data_root: Path | None, download: bool, steps: int | None, image_size: int | None
) -> tuple[Split, Split, tuple[str, ...]]:
    """Read (frames float32 ``(n, steps, polarities, H, W)``, labels) for training and test, and the class names.

    name         a data set of ``tonic.datasets``, for instance NMNIST, DVSGesture, CIFAR10DVS
    data_root    where tonic keeps its files; none: the user's cache
    steps        frames of a recording (`bin_events`), 10 where none is given
    image_size   pixels a side, by area averaging; none: the sensor's own
    The split is the published one; where there is none, the last tenth of every class, in the sorted order of files, is
    for test. UserError where tonic is missing, or does not know the data set, or its files are missing or damaged.
    """
    kind = _kind(name)
    folder = data_root if data_root is not None else cache_folder("events")
    frames, labels = [], []
    train, test = _open(kind, folder, download)
    for recordings, chosen in (train, test):
        read = _read(recordings, chosen, f"tonic:{name}", steps or DEFAULT_STEPS, image_size)
        frames.append(read[0])
        labels.append(read[1])
    values = sorted(set(labels[0]) | set(labels[1]))
    position = {value: index for index, value in enumerate(values)}
    numbers = [np.array([position[value] for value in part], dtype=np.int64) for part in labels]
    return (frames[0], numbers[0]), (frames[1], numbers[1]), _names(train[0], values)


def bin_events(events: np.ndarray, sensor_size: tuple[int, int, int], steps: int) -> np.ndarray:
    """Bin events into frames of counts, float32 ``(steps, polarities, H, W)``.

    events        a structured array ``(n,)`` with the fields t, x, p, and y where the sensor has rows
    sensor_size   (W, H, polarities); with one polarity, p is not looked at
    The time from the first event to the last is cut into `steps` equal parts, and every event counts in one of them.
    ValueError where an event lies outside the sensor.
    """
    width, height, polarities = sensor_size
    shape = (steps, polarities, height, width)
    if not len(events):
        return np.zeros(shape, dtype=np.float32)
    time = events["t"].astype(np.float64)
    span = time.max() - time.min()
    part = np.floor((time - time.min()) * (steps / span)) if span else np.zeros(len(time))
    axes = (
        np.minimum(part, steps - 1).astype(np.int64),
        events["p"].astype(np.int64) if polarities > 1 else np.zeros(len(time), np.int64),
        events["y"].astype(np.int64) if "y" in (events.dtype.names or ()) else np.zeros(len(time), np.int64),
        events["x"].astype(np.int64),
    )
    # ValueError where an index is out of range.
    flat = np.ravel_multi_index(axes, shape)
    return np.bincount(flat, minlength=steps * polarities * height * width).astype(np.float32).reshape(shape)


def _kind(name: str) -> type:
    try:
        datasets = importlib.import_module("tonic.datasets")
    except ImportError as error:
        raise UserError(
            f"'tonic:{name}' needs the package tonic, which cannot be imported ({error}); pip install "
            "'alade-brian[events]'"
        ) from None
    known = sorted(datasets.__all__)
    if name not in known:
        raise UserError(f"tonic has no data set '{name}'; use tonic: and one of {', '.join(known)}")
    kind = getattr(datasets, name)
    needed = [
        parameter.name
        for parameter in list(inspect.signature(kind).parameters.values())[1:]
        if parameter.default is parameter.empty
    ]
    if needed:
        raise UserError(f"'tonic:{name}' has no class labels (it asks for {', '.join(needed)}); use another")
    return kind


def _open(kind: type, folder: Path, download: bool) -> tuple[tuple[Any, Sequence[int]], tuple[Any, Sequence[int]]]:
    """Open the recordings for training and test, and list which of them to use, in order."""

    def refuse(recordings: Any) -> None:
        raise UserError(
            f"the files of 'tonic:{kind.__name__}' were not found in {folder}; name their folder with --data-root, or "
            "fetch them with --download"
        )

    # tonic fetches what it misses without asking; the class keeps its name, which is that of its folder.
    asked = kind if download else type(kind.__name__, (kind,), {"download": refuse})
    parameters = inspect.signature(kind).parameters
    choices = {"train": (True, False), "split": ("train", "test")}
    key = next((key for key in choices if key in parameters), None)
    try:
        if key is not None:
            train, test = (asked(str(folder), **{key: choice}) for choice in choices[key])
            return (train, _in_order(train)), (test, _in_order(test))
        recordings = asked(str(folder))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _unreadable(f"tonic:{kind.__name__}", error) from None
    order = np.array(_in_order(recordings))
    _, labels = np.unique(np.array(recordings.targets)[order], return_inverse=True)
    held = last_of_each(labels, TEST_FRACTION)
    return (recordings, order[~held].tolist()), (recordings, order[held].tolist())


def _in_order(recordings: Any) -> list[int]:
    """Sort by file name if there are files: tonic lists them in the file system's order."""
    files = getattr(recordings, "data", [])
    named = len(files) == len(recordings) and all(isinstance(file, str) for file in files)
    return sorted(range(len(recordings)), key=lambda index: files[index] if named else index)


def _read(
    recordings: Any, chosen: Sequence[int], where: str, steps: int, image_size: int | None
) -> tuple[np.ndarray, list[Any]]:
    frames: np.ndarray | None = None
    labels = []
    for row, index in enumerate(chosen):
        try:
            events, label = recordings[index]
            # Some data sets have a sensor size of their own for every recording.
            sensor = recordings.sensor_size or (int(events["x"].max()) + 1, int(events["y"].max()) + 1, 2)
            recording = bin_events(events, sensor, steps)
        except (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
            raise _unreadable(f"{where}, recording {index}", error) from None
        label = label.item() if isinstance(label, np.generic) else label
        if not isinstance(label, int | str):
            raise UserError(f"'{where}' has no class labels (a label is {type(label).__name__}); use another")
        if image_size is not None:
            recording = area_average(recording, image_size)
        elif recordings.sensor_size is None:
            raise UserError(f"the recordings of '{where}' are not all of one size; set image_size")
        if frames is None:
            frames = np.empty((len(chosen), *recording.shape), dtype=np.float32)
        frames[row] = recording
        labels.append(label)
    if frames is None:
        raise UserError(f"'{where}' has no recordings; check its files")
    return frames, labels


def _names(recordings: Any, values: Sequence[Any]) -> tuple[str, ...]:
    """Class names from tonic, or else the labels themselves."""
    known = getattr(recordings, "classes", None)
    if isinstance(known, dict) or known is None or not all(isinstance(value, int) for value in values):
        return tuple(str(value) for value in values)
    if not 0 <= values[0] <= values[-1] < len(known):
        return tuple(str(value) for value in values)
    texts = (known[value] for value in values)
    return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in texts)


def _unreadable(where: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"'{where}' could not be read ({type(error).__name__}: {reason}); download its files again")
