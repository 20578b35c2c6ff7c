"""Fashion-MNIST's IDX files: located, downloaded on request, read and fully validated."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import struct
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType

import numpy as np

from alade_brian.data.dataset import Split
from alade_brian.data.places import cache_folder
from alade_brian.errors import UserError
from alade_brian.files import check_plain

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"
# Of one file, far above the largest data set in this format.
MOST_VALUES = 2**32
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class RemoteFile:
    """Published size and checksum of a file."""

    size: int
    md5: str


# Sizes and checksums as published with the data set (github.com/zalandoresearch/fashion-mnist).
FILES: Mapping[str, RemoteFile] = MappingProxyType(
    {
        "train-images-idx3-ubyte.gz": RemoteFile(26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "train-labels-idx1-ubyte.gz": RemoteFile(29515, "25c81989df183df01b3e8a0aad5dffbe"),
        "t10k-images-idx3-ubyte.gz": RemoteFile(4422102, "bef4ecab320f06d8554ea6380940ec79"),
        "t10k-labels-idx1-ubyte.gz": RemoteFile(5148, "bb300cfdad3c16e7a12a480ee83cd310"),
    }
)


def read_fashion_mnist(
    data_root: Path | None, download: bool = False, address: str = ADDRESS, files: Mapping[str, RemoteFile] = FILES
) -> tuple[Split, Split]:
    """Read (images uint8 ``(n, 28, 28)``, labels uint8 ``(n,)``) of the training and of the test split.

    Looked for in `data_root` (or its folder ``fashion-mnist``) where one is given, else in the user's cache and where
    Debian's package puts them; with `download` fetched where they are not found.
    """
    folder = _find(data_root, files)
    if folder is None:
        target = data_root if data_root is not None else cache_folder("fashion-mnist")
        if not download:
            raise UserError(_not_found(data_root))
        fetch(target, address, files)
        folder = target
    return _read_split(folder, "train"), _read_split(folder, "t10k")


def _places(data_root: Path | None) -> list[Path]:
    return (
        [data_root, data_root / "fashion-mnist"]
        if data_root is not None
        else [cache_folder("fashion-mnist"), DEBIAN_FOLDER]
    )


def _find(data_root: Path | None, files: Mapping[str, RemoteFile]) -> Path | None:
    for folder in _places(data_root):
        if all(_existing(folder, name) for name in files):
            return folder
    return None


def _existing(folder: Path, name: str) -> Path | None:
    """Find a file, compressed or not."""
    return next((p for p in (folder / name, folder / name.removesuffix(".gz")) if p.is_file()), None)


def _not_found(data_root: Path | None) -> str:
    places = ", ".join(str(p) for p in _places(data_root))
    return (
        f"the Fashion-MNIST files were not found (all four are needed; looked in {places}); name their folder with "
        "--data-root, "
        f"or install Debian's package {DEBIAN_PACKAGE}, or fetch them with --download"
    )


def fetch(folder: Path, address: str = ADDRESS, files: Mapping[str, RemoteFile] = FILES) -> None:
    """Download missing files into `folder` and check size and checksum; either all files are installed or none."""
    missing = {name: remote for name, remote in files.items() if not _is_whole(folder / name, remote)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            for name, remote in missing.items():
                _fetch_one(f"{address.rstrip('/')}/{name}", Path(scratch, name), remote)
            for name in missing:
                os.replace(Path(scratch, name), folder / name)
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be written ({error.strerror}); choose another with --data-root"
        ) from None


def _fetch_one(url: str, path: Path, remote: RemoteFile) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            content = response.read(remote.size + 1)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        # What a server sends may hold line breaks.
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise UserError(
            f"{url} could not be downloaded ({reason}); try again, or install Debian's package {DEBIAN_PACKAGE}"
        ) from None
    path.write_bytes(content)
    if not _is_whole(path, remote):
        raise UserError(
            f"{url} gave {len(content)} bytes that are not the published file ({remote.size} bytes, MD5 "
            f"{remote.md5}); try again later"
        )


def _is_whole(path: Path, remote: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != remote.size:
        return False
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == remote.md5


def _read_split(folder: Path, prefix: str) -> Split:
    paths = [_existing(folder, f"{prefix}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")]
    assert paths[0] is not None and paths[1] is not None
    images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
    if images.shape[1:] != (28, 28):
        raise UserError(
            f"{paths[0]} holds images of {images.shape[1:]} pixels, not 28x28; it is not Fashion-MNIST, replace it"
        )
    if len(images) != len(labels):
        raise UserError(f"{paths[0]} holds {len(images)} images, {paths[1]} {len(labels)} labels; replace both files")
    if len(labels) and labels.max() > 9:
        raise UserError(f"{paths[1]} holds the label {labels.max()}, beyond 0..9; replace it")
    return images, labels


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes with the given number of dimensions, gzipped or not; uint8.

    Format: two zero bytes, type code 8, number of dimensions, big-endian 32-bit sizes, values.
    """
    header = 4 + 4 * dimensions
    try:
        check_plain(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(header)
            # A small file may unpack to more than any memory holds: no more is unpacked than its header announces.
            announced = prod(struct.unpack(f">{dimensions}I", content[4:])) if len(content) == header else 0
            content += file.read(min(announced, MOST_VALUES) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is truncated or not a gzip file ({error}); replace it") from None
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        kind = "images" if dimensions == 3 else "labels"
        raise UserError(
            f"{path} does not begin like an IDX file of {kind} (magic number {content[:4].hex() or 'missing'}); "
            "replace it"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) != header + prod(shape):
        raise UserError(
            f"{path} is truncated or too long: its header announces {prod(shape)} values, but "
            f"{len(content) - header} follow; replace it"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
