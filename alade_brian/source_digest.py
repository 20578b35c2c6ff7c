"""Digests of source code: nothing that another version of the code computed or compiled is taken for this one's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path


def source_files(folder: Path) -> list[Path]:
    """All files below a folder in a fixed order, compiled Python apart. Links to folders are not followed."""
    found = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def tree_digest(folders: Iterable[Path]) -> bytes:
    """A digest of the names and contents of all files below these folders."""
    found = hashlib.sha256()
    for folder in folders:
        for file in source_files(folder):
            content = file.read_bytes()
            found.update(f"{file.relative_to(folder).as_posix()} {len(content)} ".encode() + content)
    return found.digest()


@cache
def packages_digest(*packages: str) -> bytes:
    """A digest of the source of these packages, with everything below them."""
    return tree_digest(Path(str(files(package))) for package in packages)
