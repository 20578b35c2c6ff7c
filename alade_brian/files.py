"""Files that are whole or not there, and the one door by which files from outside are read.

What reads here is a plain file, and small enough; every reader turns the OSError or ValueError into its own sentence.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from alade_brian.errors import RunStopped

# Text that people or programs write by hand or as a summary; no such file comes near it.
MOST_TEXT_BYTES = 256 * 2**20
MOST_YAML_BYTES = 4 * 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class CannotWrite(RunStopped, OSError):
    """A file that could not be written: a full disk, a quota, no permission, a folder that is gone.

    It is an OSError, with its `errno` and `strerror`, for those who can do without the file.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(path, error)
        self.errno, self.strerror = error.errno, error.strerror
        remedy = "free some space" if error.errno in _FULL else "check the folder and its permissions"
        self._sentence = f"{path} cannot be written ({error.strerror or error}); {remedy}, or write elsewhere"

    def __str__(self) -> str:
        return self._sentence


def user_cache() -> Path:
    """This package's folder in the user's cache (on Linux in `$XDG_CACHE_HOME`, else ``~/.cache``)."""
    import platformdirs  # not needed by another Python that only simulates: it is told the folder

    return platformdirs.user_cache_path("alade_brian", appauthor=False)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the place of `path` when the block ends and vanishes when it fails.

    The temporary file lies in the folder of `path` (made when missing), since a rename is atomic only inside one file
    system. Raises CannotWrite where the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except CannotWrite:
        raise
    except OSError as error:
        raise CannotWrite(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def is_utf8(text: str) -> bool:
    """Whether a text can be written: a name of a file that is not UTF-8 is read with lone surrogates, which cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def check_plain(path: str | os.PathLike[str]) -> int:
    """The size of a plain file in bytes. Raises OSError if it is missing, or a folder, a pipe or a device, of which
    reading might never end; ValueError if the path is none."""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
    return found.st_size


def is_there(path: Path) -> bool:
    """Whether a file exists. Raises OSError if there is something else of that name, which must not pass for none."""
    try:
        check_plain(path)
    except FileNotFoundError:
        return False
    return True


def read_bytes(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """The content of a plain file, of at most so many bytes. Raises OSError, as `check_plain` does."""
    size = check_plain(path)
    if most is not None and size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and such a file has at most {most:,}", str(path))
    return Path(path).read_bytes()


def read_text(path: str | os.PathLike[str]) -> str:
    """The content of a plain UTF-8 file. Raises OSError, as `check_plain` does, and ValueError if it is no UTF-8."""
    return read_bytes(path, MOST_TEXT_BYTES).decode("utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file. Raises OSError and ValueError, as `read_text` and `parse_json` do."""
    return parse_json(read_text(path))


def parse_json(text: str) -> Any:
    """The content of JSON text, whose numbers are finite. Raises ValueError if it is no JSON, holds other numbers, or
    is nested too deeply."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {text}, which is not finite")
    return value
