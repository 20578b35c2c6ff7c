"""Read `.npy` and `.npz` files that come from outside: what they announce is checked before memory is taken for it.

An `.npy` header and a ZIP directory say how large an array is. A damaged or hostile file says anything there, so the
sizes are held against each other, against the file and against this machine's memory first.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from alade_brian.files import check_plain
from alade_brian.machine import available_bytes

ENDING = ".npy"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
# What numpy, zipfile and zlib raise while they read a member that is damaged.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, MemoryError, OverflowError, NotImplementedError, SyntaxError)


@contextmanager
def open_numpy(path: Path) -> Iterator[np.ndarray | np.lib.npyio.NpzFile]:
    """Yield the array of an `.npy` file, or the arrays of an `.npz` file by name, which are read when asked for.

    Raises OSError if it is no plain file that can be read, and ValueError if it is damaged, encrypted, holds Python
    objects, or announces more than it holds or than the memory takes; also while its arrays are read.
    """
    try:
        size = check_plain(path)
        if zipfile.is_zipfile(path):
            _check_members(path)
        else:
            _check_single(path, size)
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            yield content
        else:
            with content:
                yield content
    except _DAMAGED as error:
        raise ValueError(f"it is damaged: {str(error) or type(error).__name__}") from error


@contextmanager
def open_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Like `open_numpy`, and ValueError for a single array."""
    with open_numpy(path) as content:
        if isinstance(content, np.ndarray):
            raise ValueError("it is a single array, not an npz archive")
        yield content


def _check_members(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if len(set(names)) < len(names):
            raise ValueError("it holds two arrays of one name")
        needed = 0
        for member in members:
            if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
                raise ValueError(f"{member.filename!r} is encrypted, or packed in a way that numpy does not use")
            if not member.filename.endswith(ENDING):
                raise ValueError(f"{member.filename!r} is no array")
            with archive.open(member) as stream:
                needed += _check_header(stream, member.file_size, member.filename)
        _check_memory(needed)


def _check_single(path: Path, size: int) -> None:
    with path.open("rb") as stream:
        _check_memory(_check_header(stream, size, path.name))


def _check_header(stream: IO[bytes], size: int, name: str) -> int:
    """The bytes of an array, of which a stream of `size` bytes holds the header and nothing but the array."""
    try:
        version = np.lib.format.read_magic(stream)
        read: Any = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        # Version 3 differs from 2 in the text of its header alone, and is written for names of fields only.
        if version not in read:
            raise ValueError(f"it is of the format {version}")
        shape, _, dtype = read[version](stream)
    except ValueError as error:
        raise ValueError(f"{name!r} is no array ({error})") from None
    if dtype.hasobject:
        raise ValueError(f"{name!r} holds Python objects, which are never read")
    if dtype.names is not None:
        raise ValueError(f"{name!r} holds records, not numbers or text")
    held, announced = size - stream.tell(), math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or announced != held:
        raise ValueError(f"{name!r} announces {announced:,} bytes, and {held:,} follow")
    return announced


def _check_memory(needed: int) -> None:
    available = available_bytes()
    if available is not None and needed > available:
        raise ValueError(f"its arrays take {needed:,} bytes, and this machine has {available:,} free")
