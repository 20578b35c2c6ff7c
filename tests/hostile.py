"""Commands that meet a damaged or hostile thing: each must end soon, in one sentence, with everything else untouched."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import call
from tiny_grid import RUN, learnt

# A refusal takes less than a second; the rest is for a busy machine.
PATIENCE = 60
QUICK: dict[str, Any] = {
    **RUN, "verify_images": 8, "finetuning": RUN["learning"], "simulation": {"backend": "numpy"},
}  # fmt: skip


class Hung(BaseException):
    """A command that did not end in time; no handler takes it for an error of the input."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise `Hung` in the block after `PATIENCE` seconds."""

    def end(*_: object) -> None:
        raise Hung(f"not ended after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(capsys: pytest.CaptureFixture[str], words: str | tuple[str, ...], command: str, *arguments: object) -> str:
    """The sentence with which a command refuses: exit code 2, all words in it, and nothing below it."""
    capsys.readouterr()
    with limited():
        code = call(command, *arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and lines, f"exit code {code}: {lines}"
    start = next(i for i, line in enumerate(lines) if line.startswith(f"alade-brian {command}") and ": error: " in line)
    sentence = "\n".join(lines[start:])
    assert "Traceback" not in sentence
    # A list of refused parts has a line for each, indented.
    assert all(line.startswith("  ") for line in lines[start + 1 :]), sentence
    for word in (words,) if isinstance(words, str) else words:
        assert word in sentence, f"{word!r} is not in: {sentence}"
    return sentence


def contents(folder: Path) -> dict[str, bytes | None]:
    """What lies in a folder: the content of every file, None for what is none."""
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in found if p.name != ".lock"}


def write_config(path: Path, changes: dict[str, Any] | None = None) -> Path:
    path.write_text(yaml.safe_dump({**QUICK, **(changes or {})}))
    return path


def finished_run(folder: Path) -> Path:
    """A run of both tasks."""
    learnt(folder, "alade", **QUICK)
    return folder


def ids(case: tuple[Any, ...]) -> str:
    """A short name of a case for pytest: its first entry."""
    text = case[0] if isinstance(case[0], str) else str(case[0])
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text[:50])
