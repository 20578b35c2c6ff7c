"""Where a command writes: one process per folder at a time, and results that are there already are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from alade_brian.errors import UserError

LOCK = ".lock"
# A process that was killed while it wrote `name` leaves this behind, see `alade_brian.files.replacing`.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if missing, while a command writes to it.

    The lock belongs to the process: if that is killed, the kernel releases it, and the file that is left behind blocks
    nobody. A folder that was made here and got no file is removed again. UserError if another process holds the lock
    or the folder cannot be written.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquired(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}); choose another --out") from None
    try:
        yield
    finally:
        if made and {path.name for path in folder.iterdir()} == {LOCK}:
            with suppress(OSError):
                (folder / LOCK).unlink()
                folder.rmdir()
        lock.release()


def check_not_locked(folder: Path) -> None:
    """UserError if another process is writing to the folder now; a quick check before anything takes time."""
    if (folder / LOCK).is_file():
        # A folder of someone else can be read; whether it can be written is found out when it is.
        with suppress(OSError):
            _acquired(folder).release()


def is_unused(folder: Path) -> bool:
    """Whether a folder is missing or holds nothing of value: it is empty, or a command was killed at its first write.

    A lock, an empty log and unfinished temporary files are of no value.
    """
    return not folder.exists() or (folder.is_dir() and all(map(_worthless, folder.iterdir())))


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that a killed process left directly in a folder; hold its lock."""
    for path in list(folder.iterdir()):
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def check_new_file(path: Path | None, option: str, also: str = "") -> None:
    """UserError if a file that a command is to write exists already; None is always right.

    option   where another can be named, for example ``--json``
    also     what else can be done, after a comma
    """
    if path is not None and path.exists():
        what = "is a folder" if path.is_dir() else "already exists"
        raise UserError(f"{path} {what}; choose another {option} or remove it{also}")


def _acquired(folder: Path) -> FileLock:
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process is writing to {folder}; wait for it or choose another --out") from None
    return lock


def _worthless(path: Path) -> bool:
    empty_log = path.name == "run.log" and path.is_file() and path.stat().st_size == 0
    return path.name == LOCK or empty_log or _UNFINISHED.fullmatch(path.name) is not None
