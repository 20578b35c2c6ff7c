"""Where in the user's own code something happens: file and line, for refusals."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import CodeType, FrameType

from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS

# Under which a node of a trace holds the file, the line and the function that it comes from.
SOURCE = "source"
# Frames of these packages are not the code that a user would change.
_MACHINERY = ("alade_brian", "torch", "contextlib", "importlib", "functools")
# Its module's name, its file, its line and its function.
_Frame = tuple[str, str, int, str]


def current_place(outermost: CodeType) -> str:
    """File and line of the forward that is running, empty if none is.

    outermost   code of the function that called the forward: what called that is no part of it
    """
    return described(current_line(outermost))


def current_line(outermost: CodeType) -> tuple[str, int, str] | None:
    """The same as the file's path, the line's number and the function's name; None if no forward is running."""
    frame: FrameType | None = sys._getframe(1)
    found: list[_Frame] = []
    while frame is not None and frame.f_code is not outermost:
        found.append(_frame(frame, frame.f_lineno))
        frame = frame.f_back
    return _innermost(found) if frame is not None else None


def described(line: tuple[str, int, str] | None) -> str:
    """A line as refusals name it; empty for none."""
    return "" if line is None else f"{Path(line[0]).name}, line {line[1]}"


def place_of(error: BaseException, outermost: CodeType) -> str:
    """File and line of the forward that an error comes from, empty if it comes from elsewhere."""
    frames = list(traceback.walk_tb(error.__traceback__))
    calls = [k for k, (frame, _) in enumerate(frames) if frame.f_code is outermost]
    inner = frames[calls[-1] + 1 :] if calls else []
    return described(_innermost([_frame(frame, line) for frame, line in reversed(inner)]))


def _frame(frame: FrameType, line: int) -> _Frame:
    return str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename, line, frame.f_code.co_qualname


def _innermost(frames: list[_Frame]) -> tuple[str, int, str] | None:
    """The innermost frame of the user's own code, or of a framework's where there is none."""
    own = [frame for frame in frames if not _from(frame, _MACHINERY) and not frame[1].startswith("<")]
    # Nor are those of frameworks, as long as the user's own are on the way to them.
    for packages in (tuple(FRAMEWORKS), ()):
        for frame in own:
            if not _from(frame, packages):
                return frame[1:]
    return None


def _from(frame: _Frame, packages: tuple[str, ...]) -> bool:
    return frame[0].split(".")[0] in packages
