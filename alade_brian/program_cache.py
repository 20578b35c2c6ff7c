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

log = logging.getLogger("alade_brian")

MANIFEST = "build.json"


def private_folder(folder: Path) -> None:
    """Make a folder that only this user can write to, or check one that exists.

    Raises UserError where others can write to it, OSError where it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(folder)


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
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(
            f"others can write to the cache folder {folder} of {_user(found.st_uid)} (mode "
            f"{stat.S_IMODE(found.st_mode):o}) {danger}; remove it, or, if you trust what is in it, run 'chmod 700 "
            f"{folder}'"
        )


def read_build(folder: Path, program: str) -> dict[str, Any] | None:
    """The notes of a build whose program has the file name `program`; None where there is none, or where it is not
    whole, which removes it. UserError where others can write to its folder."""
    try:
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
