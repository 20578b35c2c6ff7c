"""Configurations and grids that come with the package, by their names."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from alade_brian.errors import UserError

Kind = Literal["configs", "grids"]
_WORDS = {"configs": ("configuration file", "--config"), "grids": ("grid file", "GRID")}


def shipped_files(kind: Kind) -> dict[str, Path]:
    """The files of a kind that come with the package, by their names, sorted."""
    folder = Path(__file__).resolve().parent.parent / kind
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def find_file(given: Path | str, kind: Kind) -> Path:
    """The file that a path or the name of a shipped file stands for; a file of the user goes first.

    UserError where there is neither; it offers the shipped file that may be meant.
    """
    path, shipped = Path(given), shipped_files(kind)
    if path.is_file():
        return path
    if str(given) in shipped:
        return shipped[str(given)]
    what, option = _WORDS[kind]
    if path.exists():
        raise UserError(f"{given} is no {what}; give {option} a YAML file or one of {', '.join(shipped)}")
    close = difflib.get_close_matches(path.stem, shipped, 1)
    remedy = f"'{close[0]}' comes with this program" if close else f"with this program come {', '.join(shipped)}"
    raise UserError(f"there is no {what} {given}; check the path, or give {option} the name of a shipped one: {remedy}")
