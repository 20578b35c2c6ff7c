"""What extractors answered to images, kept on disk: a frozen extractor is not simulated again.

Of each extractor (a specification with its numbers) there is a folder; whoever adds to it writes a file of its own, so
that two processes never write to the same. An answer counts when its key is complete, and keys are written last.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from alade_brian.conversion.spec import NetworkSpec
from alade_brian.conversion.spec_file import spec_bytes

log = logging.getLogger(__name__)

KEY_BYTES = 16
# What all kept answers may take on disk.
ANSWER_BYTES = 4 * 2**30
Key = bytes


def keys_of(images: np.ndarray) -> list[Key]:
    """A name for every image's content."""
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=KEY_BYTES).digest() for image in images]


def digest(spec: NetworkSpec, dtype: str, generator: str) -> str:
    """A name for a network with all its numbers, and for the code that simulates it."""
    return hashlib.sha256(spec_bytes(spec) + f"{dtype} {generator}".encode()).hexdigest()[:32]


def prune(folder: Path, kept: Path) -> None:
    """Delete the answers that were not used for longest until the rest fits, but not those in `kept`."""
    found = sorted(((used, f) for f in folder.iterdir() if f != kept and (used := _used(f)) is not None), reverse=True)
    total = _bytes(kept)
    for _, each in found:
        total += _bytes(each)
        if total > ANSWER_BYTES:
            shutil.rmtree(each, ignore_errors=True)


def _used(folder: Path) -> float | None:
    """When a folder was used last; None where another process has deleted it since."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return None


def _bytes(folder: Path) -> int:
    """What is in a folder, as far as another process has not deleted it since."""
    total = 0
    for file in folder.glob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


class KeptAnswers:
    """Records of `size` bytes by image.

    folder   of this extractor; made when something is kept
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.places: dict[Key, tuple[Path, int]] = {}
        self._full = False
        self._own = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.answers"
        # Another process may be making room, and delete what is read here.
        with suppress(FileNotFoundError):
            for file in sorted(folder.glob("*.keys")):
                self._read(file)
            if self.places:
                os.utime(folder)

    def _read(self, file: Path) -> None:
        answers = file.with_suffix(".answers")
        raw = file.read_bytes()
        whole = answers.stat().st_size // self.size if answers.is_file() else 0
        for row in range(min(len(raw) // KEY_BYTES, whole)):
            self.places.setdefault(raw[row * KEY_BYTES : (row + 1) * KEY_BYTES], (answers, row))

    def load(self, keys: Iterable[Key]) -> dict[Key, np.ndarray]:
        """The records, uint8 ``(size,)``, of those images that are known."""
        by_file: dict[Path, dict[Key, int]] = {}
        for key in keys:
            if key in self.places:
                file, row = self.places[key]
                by_file.setdefault(file, {})[key] = row
        found: dict[Key, np.ndarray] = {}
        for file, rows in by_file.items():
            found |= self._records(file, rows)
        return found

    def _records(self, file: Path, rows: Mapping[Key, int]) -> dict[Key, np.ndarray]:
        """Records of one file; none where another process has deleted it since."""
        try:
            with file.open("rb") as stream:
                return {key: self._record(stream, row) for key, row in rows.items()}
        except OSError:
            return {}

    def _record(self, stream: BinaryIO, row: int) -> np.ndarray:
        stream.seek(row * self.size)
        return np.frombuffer(stream.read(self.size), np.uint8)

    def keep(self, records: Mapping[Key, np.ndarray]) -> None:
        """Add records, each uint8 ``(size,)``. Where the disk takes no more, they are not kept: a warning says so."""
        if self._full:
            return
        try:
            row = self._append(records)
        except OSError as error:
            self._full = True
            log.warning("what extractors answer is not kept: %s (%s)", error.strerror, self.folder)
            return
        for number, key in enumerate(records):
            self.places[key] = (self._own, row + number)

    def _append(self, records: Mapping[Key, np.ndarray]) -> int:
        """Write records behind those of before; the place of the first."""
        try:
            return self._write(records)
        except FileNotFoundError:
            # Another process made room just now, and took this folder.
            return self._write(records)

    def _write(self, records: Mapping[Key, np.ndarray]) -> int:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            prune(self.folder.parent, self.folder)
        row = self._own.stat().st_size // self.size if self._own.exists() else 0
        with self._own.open("ab") as answers:
            answers.writelines(record.tobytes() for record in records.values())
        with self._own.with_suffix(".keys").open("ab") as keys:
            keys.write(b"".join(records))
        return row
