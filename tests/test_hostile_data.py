"""Image files, IDX files and archives of data sets that are damaged or hostile."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import ids, refused, write_config
from PIL import Image

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
LABELS = np.arange(40) % 10
SPLITS = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES, "test_labels": LABELS}


def run(tmp_path: Path, dataset: str, root: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    config = write_config(tmp_path / "run.yaml", {"dataset": dataset, "data_root": str(root)})
    refused(capsys, words, "run", "--config", config, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


ARRAYS: list[tuple[str, dict[str, Any], str]] = [
    ("no labels", {"train_labels": ...}, "lacks train_labels"),
    ("labels are text", {"train_labels": np.full(40, "x")}, "whole numbers"),
    ("labels are negative", {"train_labels": LABELS - 1}, "from 0"),
    ("labels leave a class out", {"train_labels": LABELS * 2, "test_labels": LABELS * 2}, ""),
    ("labels are huge", {"train_labels": LABELS + 10**15}, ""),
    ("fewer labels", {"train_labels": LABELS[:9]}, ""),
    ("labels in two columns", {"train_labels": np.zeros((40, 2), int)}, "whole numbers"),
    ("images are text", {"train_images": np.full((40, 8, 8), "x")}, "train_images are"),
    ("images are complex", {"train_images": np.ones((40, 8, 8), complex)}, "train_images are"),
    ("images are lists", {"train_images": np.zeros(40, np.uint8)}, "have the shape"),
    ("no images", {"train_images": np.zeros((0, 8, 8), np.uint8)}, "have the shape"),
    ("images without pixels", {"train_images": np.zeros((40, 0, 8), np.uint8)}, "have the shape"),
    ("images are nan", {"train_images": np.full((40, 8, 8), np.nan), "test_images": np.ones((40, 8, 8))}, ""),
    ("images of objects", {"train_images": np.full((40, 8, 8), None)}, "objects"),
    ("names are numbers", {"class_names": np.arange(10)}, "class_names"),
    ("too few names", {"class_names": np.array(["a"])}, "class_names"),
    ("names of half characters", {"class_names": np.array([f"\ud800{n}" for n in range(10)])}, "cannot be shown"),
    ("names that move the cursor", {"class_names": np.array([f"\x1b[2J{n}" for n in range(10)])}, "cannot be shown"),
    ("an unknown layout", {"layout": np.array("x")}, "layout"),
    ("classes and targets", {"train_targets": np.ones((40, 2))}, "classes and targets"),
]


@pytest.mark.parametrize("case", ARRAYS, ids=ids)
def test_an_archive_is_refused(
    case: tuple[str, dict[str, Any], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = {key: value for key, value in {**SPLITS, **case[1]}.items() if value is not ...}
    np.savez(tmp_path / "x.npz", **arrays)
    run(tmp_path, "npz", tmp_path / "x.npz", capsys, case[2])


def png(path: Path, size: tuple[int, int] = (8, 8)) -> None:
    Image.new("L", size, 3).save(path)


def announcing(path: Path, side: int) -> None:
    """A PNG file of a few bytes whose header announces an image of that many pixels a side."""
    png(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", side, side)
    path.write_bytes(content)


PICTURES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a pipe", lambda path: os.mkfifo(path), "pipe or a device"),
    ("a device", lambda path: path.symlink_to("/dev/zero"), "pipe or a device"),
    ("a folder", lambda path: path.mkdir(), "cannot be read"),
    ("a link to itself", lambda path: path.symlink_to(path), "cannot be read"),
    ("text", lambda path: path.write_text("x"), "cannot be read"),
    ("empty", lambda path: path.write_bytes(b""), "cannot be read"),
    ("cut off", lambda path: (png(path), path.write_bytes(path.read_bytes()[:40])), "cannot be read"),
    ("of another size", lambda path: png(path, (9, 8)), "9x8 pixels"),
    ("announces 10^18 pixels", lambda path: announcing(path, 10**9), "cannot be read"),
    ("announces 10^8 pixels", lambda path: announcing(path, 10**4), ""),
    ("16 bits", lambda path: Image.new("I;16", (8, 8)).save(path), "more than 8 bits"),
]


@pytest.mark.parametrize("case", PICTURES, ids=ids)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_is_refused(
    case: tuple[str, Callable[[Path], object], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        for name in "ab":
            (tmp_path / "data" / split / name).mkdir(parents=True)
            png(tmp_path / "data" / split / name / "0.png")
    case[1](tmp_path / "data" / "test" / "b" / "1.png")
    run(tmp_path, "folder", tmp_path / "data", capsys, case[2])


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


PIXELS = np.zeros((20, 28, 28), np.uint8)
IDX: list[tuple[str, bytes, str]] = [
    ("announces more than memory", bytes((0, 0, 8, 3)) + 12 * b"\xff", "truncated"),
    ("announces nothing", bytes((0, 0, 8, 3)) + bytes(12), ""),
    ("unpacks to a lot", idx(PIXELS) + bytes(2**20), "truncated or too long"),
    ("cut off", idx(PIXELS)[:-1], "truncated"),
    ("too long", idx(PIXELS) + b"x", "too long"),
    ("of another type", b"\0\0\x0d\3" + idx(PIXELS)[4:], "magic number"),
    ("labels", idx(np.zeros(20, np.uint8)), "magic number"),
    ("no header", b"\0\0\x08", "magic number"),
    ("other pixels", idx(np.zeros((20, 27, 28), np.uint8)), "27, 28"),
    ("more images than labels", idx(np.zeros((21, 28, 28), np.uint8)), "21 images"),
]


@pytest.mark.parametrize("case", IDX, ids=ids)
def test_an_idx_file_is_refused(
    case: tuple[str, bytes, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "t10k"):
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS), 1))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(20, np.uint8)), 1))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(case[1], 1))
    run(tmp_path, "fashion-mnist", folder, capsys, case[2])


def test_a_file_that_is_no_gzip_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    whole = gzip.compress(idx(PIXELS))
    damaged = whole[:20] + bytes((whole[20] ^ 255,)) + whole[21:]
    for content in (b"", b"x", whole[:30], damaged):
        for split in ("train", "t10k"):
            for kind in ("images-idx3", "labels-idx1"):
                (folder / f"{split}-{kind}-ubyte.gz").write_bytes(content)
        run(tmp_path, "fashion-mnist", folder, capsys, "train-images")
