"""Where in the user's own code something happens: file and line, for refusals."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import CodeType, FrameType

from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS

# Frames of these packages are not the code that a user would change.
_MACHINERY = ("alade_brian", "torch", "contextlib", "importlib", "functools")


def current_place(outermost: CodeType) -> str:
    """File and line of the forward that is running, empty if none is.

    outermost   code of the function that called the forward: what called that is no part of it
    """
    frame: FrameType | None = sys._getframe(1)
    found: list[tuple[str, str, int]] = []
    while frame is not None and frame.f_code is not outermost:
        found.append((str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return _innermost(found) if frame is not None else ""


def place_of(error: BaseException, outermost: CodeType) -> str:
    """File and line of the forward that an error comes from, empty if it comes from elsewhere."""
    frames = list(traceback.walk_tb(error.__traceback__))
    calls = [k for k, (frame, _) in enumerate(frames) if frame.f_code is outermost]
    inner = frames[calls[-1] + 1 :] if calls else []
    return _innermost(
        [(str(f.f_globals.get("__name__", "")), f.f_code.co_filename, line) for f, line in reversed(inner)]
    )


def _innermost(frames: list[tuple[str, str, int]]) -> str:
    """The innermost frame of the user's own code, or of a framework's where there is none."""
    own = [frame for frame in frames if not _from(frame, _MACHINERY) and not frame[1].startswith("<")]
    # Nor are those of frameworks, as long as the user's own are on the way to them.
    for packages in (tuple(FRAMEWORKS), ()):
        for frame in own:
            if not _from(frame, packages):
                return f"{Path(frame[1]).name}, line {frame[2]}"
    return ""


def _from(frame: tuple[str, str, int], packages: tuple[str, ...]) -> bool:
    return frame[0].split(".")[0] in packages
