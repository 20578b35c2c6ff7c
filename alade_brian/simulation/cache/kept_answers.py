"""What extractors answered to images, kept on disk: a frozen extractor is not simulated again.

Each extractor (a specification with its numbers) has a folder. Every process that adds to it appends to two files of
its own, so that no two processes append to the same: `*.answers` holds the records one behind the other, `*.keys` an
entry for each, the image's key and a digest of key and record. A record is on the disk before its entry is written. A
record that does not match its digest, as a power loss or a faulty disk may leave it, is never returned: it counts as
unknown, its entry is blanked, and the log says so.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from alade_brian.spec import NetworkSpec
from alade_brian.spec.file import spec_bytes

log = logging.getLogger(__name__)

KEY_BYTES = 16
DIGEST_BYTES = 16
ENTRY_BYTES = KEY_BYTES + DIGEST_BYTES
# What stands in the place of an entry whose record is damaged; zeros are also what a power loss may leave of a file.
BLANK = bytes(ENTRY_BYTES)
# What all kept answers may take on disk.
ANSWER_BYTES = 4 * 2**30
Key = bytes


@dataclass(frozen=True)
class Place:
    """Where a record lies: its file of answers, its row in it, and the entry that names it."""

    answers: Path
    row: int
    entry: bytes

    @property
    def keys(self) -> Path:
        return self.answers.with_suffix(".keys")

    def holds(self, record: bytes) -> bool:
        """Whether these are the bytes that were kept."""
        return _entry(self.entry[:KEY_BYTES], record) == self.entry

    def known(self) -> bool:
        """Whether the entry still stands there; not where another process has made room since."""
        try:
            with self.keys.open("rb") as stream:
                stream.seek(self.row * ENTRY_BYTES)
                return stream.read(ENTRY_BYTES) == self.entry
        except OSError:
            return False

    def forget(self) -> None:
        """Blank the entry, so that no process reads the record again; left alone where the cache cannot be written."""
        with suppress(OSError), self.keys.open("r+b") as stream:
            stream.seek(self.row * ENTRY_BYTES)
            stream.write(BLANK)


def _entry(key: Key, record: bytes) -> bytes:
    """A key, and a digest that fits this record under this key alone."""
    found = hashlib.blake2b(key, digest_size=DIGEST_BYTES)
    found.update(record)
    return key + found.digest()


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
        self.places: dict[Key, Place] = {}
        self._full = False
        self._warned: set[Path] = set()
        self._own = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.answers"
        # Another process may be making room, and delete what is read here.
        with suppress(FileNotFoundError):
            for file in sorted(folder.glob("*.keys")):
                self._read(file)
            if self.places:
                os.utime(folder)

    def _read(self, file: Path) -> None:
        raw, answers = file.read_bytes(), file.with_suffix(".answers")
        try:
            # Records are written before their entries: where there are fewer, some were lost.
            whole = answers.stat().st_size // self.size
        except FileNotFoundError:
            return
        places = [
            Place(answers, k, raw[k * ENTRY_BYTES : (k + 1) * ENTRY_BYTES]) for k in range(len(raw) // ENTRY_BYTES)
        ]
        for place in places:
            if place.entry == BLANK:
                continue
            if place.row < whole:
                self.places.setdefault(place.entry[:KEY_BYTES], place)
            else:
                self._damaged(place)

    def load(self, keys: Iterable[Key]) -> dict[Key, np.ndarray]:
        """The records, uint8 ``(size,)``, of those images that are known, each as it was kept."""
        by_file: dict[Path, dict[Key, Place]] = {}
        for key in keys:
            if key in self.places:
                place = self.places[key]
                by_file.setdefault(place.answers, {})[key] = place
        found: dict[Key, np.ndarray] = {}
        for file, places in by_file.items():
            found |= self._records(file, places)
        return found

    def _records(self, file: Path, places: Mapping[Key, Place]) -> dict[Key, np.ndarray]:
        """Records of one file, those that are damaged left out; none where another process has deleted it since."""
        found: dict[Key, np.ndarray] = {}
        with suppress(OSError), file.open("rb") as stream:
            for key, place in places.items():
                record = self._record(stream, place.row)
                if place.holds(record):
                    found[key] = np.frombuffer(record, np.uint8)
                else:
                    self._damaged(place)
        return found

    def _record(self, stream: BinaryIO, row: int) -> bytes:
        """The bytes in a row; none where the disk cannot read them."""
        try:
            stream.seek(row * self.size)
            return stream.read(self.size)
        except OSError:
            return b""

    def _damaged(self, place: Place) -> None:
        """Forget a record, and say so once for a file."""
        key = place.entry[:KEY_BYTES]
        if self.places.get(key) == place:
            del self.places[key]
        if not place.known():
            return
        if place.answers not in self._warned:
            self._warned.add(place.answers)
            log.warning("kept answers in %s are damaged; what they held is computed anew", place.answers)
        place.forget()

    def keep(self, records: Mapping[Key, np.ndarray]) -> None:
        """Add records, each uint8 ``(size,)``. Where the disk takes no more, they are not kept: a warning says so."""
        if self._full:
            return
        try:
            places = self._append({key: record.tobytes() for key, record in records.items()})
        except OSError as error:
            self._full = True
            log.warning("what extractors answer is not kept: %s (%s)", error.strerror, self.folder)
            return
        self.places |= places

    def _append(self, records: Mapping[Key, bytes]) -> dict[Key, Place]:
        """Write records behind those of before; where they lie."""
        try:
            return self._write(records)
        except FileNotFoundError:
            # Another process made room just now, and took this folder.
            return self._write(records)

    def _write(self, records: Mapping[Key, bytes]) -> dict[Key, Place]:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            prune(self.folder.parent, self.folder)
        with self._own.open("ab") as answers, self._own.with_suffix(".keys").open("ab") as keys:
            # A write that was stopped has left a record without an entry, or a part of one.
            first = min(keys.tell() // ENTRY_BYTES, answers.tell() // self.size)
            keys.truncate(first * ENTRY_BYTES)
            answers.truncate(first * self.size)
            places = {k: Place(self._own, first + n, _entry(k, r)) for n, (k, r) in enumerate(records.items())}
            answers.writelines(records.values())
            answers.flush()
            # Entries that name what a power loss can still take must not be there before it.
            os.fsync(answers.fileno())
            keys.write(b"".join(place.entry for place in places.values()))
        return places
