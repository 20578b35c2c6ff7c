"""What all benchmarks do with what they find: files that can be written, progress, warnings."""

from __future__ import annotations

import logging
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alade_brian.benchmarks.rounds import log
from alade_brian.commands.options import JSON, ROUNDS, SEED
from alade_brian.errors import UserError
from alade_brian.outputs import check_new_file


def add_options(parser: ArgumentParser, rounds: int) -> None:
    """The options that all small benchmarks have."""
    JSON.add(parser)
    ROUNDS.add(parser, default=rounds)
    SEED.add(parser, default=1993)


def check_options(json: Path | None, rounds: int) -> None:
    """UserError where they make no sense, before anything takes time."""
    if rounds < 1:
        raise UserError(f"{rounds} rounds: use at least 1")
    check_new_file(json, "--json")
    if json is not None:
        check_folder(json.parent)


def check_folder(folder: Path) -> None:
    """UserError where no file can be written, now rather than after minutes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be written ({error.strerror}); name another") from None


@contextmanager
def progress_shown() -> Iterator[list[str]]:
    """Progress on stderr; the warnings, collected."""
    warnings: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                warnings.append(record.getMessage())

    handlers: list[logging.Handler] = [logging.StreamHandler(), Collect()]
    log.setLevel(logging.INFO)
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield warnings
    finally:
        for handler in handlers:
            log.removeHandler(handler)
