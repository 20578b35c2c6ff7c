"""A running program and its two pipes: arrays go in on one, answers come out on the other."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from alade_brian.errors import UserError
from alade_brian.simulation.builds import PROGRAM, write_numbers

# The size of both pipes.
STREAM_BYTES = 2**20


class ProgramEnded(UserError):
    """A program that ended before it had answered."""


class Process:
    """The running program and the thread that feeds it.

    numbers   arrays that the program reads when it starts, by their names
    options   numbers that it takes as they are: whether spikes are wanted (``images.record``) and the like
    """

    def __init__(self, folder: Path, numbers: dict[str, np.ndarray], options: Mapping[str, int]) -> None:
        self.options, self.folder = options, folder
        self._scratch = tempfile.TemporaryDirectory(prefix="alade_brian_")
        self._errors = Path(self._scratch.name, "errors")
        arguments = write_numbers(Path(self._scratch.name), numbers)
        command = [str(folder / PROGRAM), "--results_dir", f"{self._scratch.name}{os.sep}", *arguments]
        with self._errors.open("wb") as errors:
            self._child = subprocess.Popen(
                [*command, *(f"{name}={value}" for name, value in options.items())], cwd=folder,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0,
            )  # fmt: skip
        assert self._child.stdin is not None and self._child.stdout is not None
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):
                # A larger pipe only spares waiting; not every system grants it.
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, STREAM_BYTES)
        self._feeder: threading.Thread | None = None
        self.close = weakref.finalize(self, _end, self._child, self._scratch)

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def feed(self, arrays: Iterator[np.ndarray]) -> None:
        """Send arrays to the program while its answers are read."""
        pipe = self._child.stdin
        assert pipe is not None
        if self._feeder is not None:
            self._feeder.join()

        def send() -> None:
            for array in arrays:
                view = memoryview(array.data).cast("B")
                try:
                    while len(view):
                        view = view[pipe.write(view) :]
                except (OSError, ValueError):
                    # The program ended, or was ended; who reads its answers will say so.
                    return

        self._feeder = threading.Thread(target=send, daemon=True)
        self._feeder.start()

    def read(self, size: int) -> np.ndarray:
        """So many bytes of answers (ProgramEnded where the program ends before)."""
        pipe = self._child.stdout
        assert pipe is not None
        found = np.empty(size, np.uint8)
        view, got = memoryview(found.data), 0
        while got < size:
            more = pipe.readinto(view[got:])  # type: ignore[attr-defined]
            if not more:
                said = self._errors.read_text(errors="replace").strip()[-2000:] or "it said nothing"
                raise ProgramEnded(
                    f"the simulation in {self.folder} ended with code {self._child.wait()} (killed? out of memory?): "
                    f"{said}; run it again, with a smaller simulation.batch where memory is short"
                )
            got += more
        return found


def _end(child: subprocess.Popen[bytes], scratch: tempfile.TemporaryDirectory[str]) -> None:
    child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    child.wait()
    scratch.cleanup()
