"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def user_cache() -> Path:
    """This package's folder in the user's cache (on Linux in `$XDG_CACHE_HOME`, else ``~/.cache``)."""
    import platformdirs  # not needed by another Python that only simulates: it is told the folder

    return platformdirs.user_cache_path("alade_brian", appauthor=False)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the place of `path` when the block ends and vanishes when it fails.

    The temporary file lies in the folder of `path` (made when missing), since a rename is atomic only inside one file
    system. Raises OSError as the file system does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
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
