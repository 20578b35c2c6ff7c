"""Folders that compiled programs are run from: nobody else can write there, and a damaged program is noticed.

A build's folder holds the program and `build.json`: what its maker noted about it, and the digest of the program.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from alade_brian.errors import UserError
from alade_brian.files import user_cache

log = logging.getLogger("alade_brian")

MANIFEST = "build.json"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private_folder(folder: Path) -> None:
    """Make a folder that only this user can write to, or check one that exists.

    The usual cache folder, if it is this user's own, is closed to others. Raises UserError where others can write to
    any other, OSError where it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_own_and_open(folder):
        folder.chmod(0o700)
        log.warning("others could write to the cache folder %s; now only you can", folder)
    check_private(folder)


def _is_own_and_open(folder: Path) -> bool:
    """Whether a folder is this user's, in the usual place, and others can write to it."""
    if not hasattr(os, "geteuid"):
        return False
    found = folder.stat()
    if found.st_uid != os.geteuid() or not found.st_mode & OTHERS_WRITE:
        return False
    try:
        usual = user_cache()
    except ImportError:  # another Python that only simulates
        return False
    return usual in (folder, *folder.parents)


def check_private(folder: Path) -> None:
    """UserError where somebody else than this user and root can change what is in the folder."""
    if not hasattr(os, "geteuid"):
        return  # a platform without owners and modes
    found = folder.stat()
    danger = "and could change the programs that are run from it"
    if found.st_uid not in (os.geteuid(), 0):
        raise UserError(
            f"the cache folder {folder} belongs to {_user(found.st_uid)}, who can write to it {danger}; set "
            "ALADE_BRIAN_CACHE to a folder of your own"
        )
    if found.st_mode & OTHERS_WRITE:
        raise UserError(
            f"others can write to the cache folder {folder} of {_user(found.st_uid)} (mode "
            f"{stat.S_IMODE(found.st_mode):o}) {danger}; remove it, or, if you trust what is in it, run 'chmod 700 "
            f"{folder}'"
        )


def read_build(folder: Path, program: str) -> dict[str, Any] | None:
    """The notes of a build whose program has the file name `program`; None where there is none, or where it is not
    whole, which removes it. UserError where others can write to its folder; in the usual cache folder one that is this
    user's own is removed instead."""
    try:
        if _is_own_and_open(folder):
            log.warning("others could write to the compiled program in %s; it is built anew", folder)
            shutil.rmtree(folder)
            return None
        check_private(folder)
        found = json.loads((folder / MANIFEST).read_text())
        whole = found["program"] == _digest(folder / program)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        log.warning("the compiled program in %s is damaged; it is built anew", folder)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return dict(found["notes"])


def finish_build(scratch: Path, folder: Path, program: str, notes: dict[str, Any]) -> None:
    """Note the program's digest in its folder `scratch`, and only then put that in the place of `folder`."""
    text = json.dumps({"notes": notes, "program": _digest(scratch / program)})
    (scratch / MANIFEST).write_text(text)
    try:
        os.rename(scratch, folder)
    except OSError:
        # Another process built the same meanwhile; its folder is as good.
        if not (folder / MANIFEST).is_file():
            raise


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _user(number: int) -> str:
    import pwd  # not on every platform

    try:
        return f"{pwd.getpwuid(number).pw_name} (user {number})"
    except KeyError:
        return f"user {number}"
