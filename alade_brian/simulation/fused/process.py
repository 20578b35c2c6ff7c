"""A running program and its two pipes: it is fed through one while its answers are read from the other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from types import MappingProxyType
from typing import IO

import numpy as np

from alade_brian.errors import UserError
from alade_brian.simulation.cache.builds import PROGRAM, Arrays, write_numbers
from alade_brian.spikes.packed import PackedResponses

# The size of both pipes.
STREAM_BYTES = 2**20
# Blocks of images that may wait for their answers to be read.
BLOCKS_AHEAD = 4
Bytes = np.ndarray | bytes


class ProgramEnded(UserError):
    """A program that ended before it had answered."""


def check_interrupt(code: int) -> None:
    """Raise KeyboardInterrupt for the exit code of a program that an interrupt ended."""
    if code == -signal.SIGINT:
        raise KeyboardInterrupt


def counted(blocks: Iterable[np.ndarray], counts: Queue[int | BaseException | None]) -> Iterator[np.ndarray]:
    """The blocks, while their lengths go into a queue; None, or what went wrong, ends it."""
    try:
        for block in blocks:
            counts.put(len(block))
            yield block
    except Exception as error:
        counts.put(error)
    else:
        counts.put(None)


def answers_to(
    counts: Queue[int | BaseException | None], answer: Callable[[int], PackedResponses], close: Callable[[], None]
) -> Iterator[PackedResponses]:
    """What the program answers to blocks that `counted` sends it; `answer` reads the answers to so many images.

    close   ends the program: called where not everything was asked for, or something went wrong
    """
    whole = False
    try:
        while (images := counts.get()) is not None:
            if isinstance(images, BaseException):
                raise images
            yield answer(images)
        whole = True
    finally:
        if not whole:
            # What is still under way belongs to images that nobody asks about any more.
            close()
            # The thread that feeds may wait for room here, and must see that nobody reads any more.
            with suppress(Empty):
                while True:
                    counts.get_nowait()


def complaint(what: str, said: str) -> UserError:
    """What is raised for a program that writes on its standard error: its numbers may be wrong."""
    text = re.sub(r"\s+", " ", said).strip()[-2000:]
    return UserError(f"{what} reported: {text or 'nothing'}; its results are discarded")


class Child:
    """A running program and the thread that feeds it.

    scratch       a folder that is the program's as long as it runs
    name          of what it does, for the sentence when it ends too early
    environment   of the process (default: this one's)
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        scratch: tempfile.TemporaryDirectory[str],
        name: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self._errors = name, Path(scratch.name, "errors")
        with self._errors.open("wb") as errors:
            self._child = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0,
                env=environment,
            )  # fmt: skip
        assert self._child.stdin is not None and self._child.stdout is not None
        for pipe in (self._child.stdin, self._child.stdout):
            _enlarge(pipe)
        self._heard = 0
        self._feeder: threading.Thread | None = None
        self.close = weakref.finalize(self, _end, self._child, scratch)

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def feed(self, parts: Iterator[Bytes]) -> None:
        """Send arrays or bytes to the program while its answers are read."""
        pipe = self._child.stdin
        assert pipe is not None
        if self._feeder is not None:
            self._feeder.join()

        def send() -> None:
            for part in parts:
                view = memoryview(part if isinstance(part, bytes) else part.data).cast("B")
                try:
                    while len(view):
                        view = view[pipe.write(view) :]
                except (OSError, ValueError):
                    # The program ended, or was ended; who reads its answers will say so.
                    return

        self._feeder = threading.Thread(target=send, daemon=True)
        self._feeder.start()

    def read(self, size: int) -> np.ndarray:
        """So many bytes of answers (ProgramEnded where the program ends before, KeyboardInterrupt where it was
        interrupted).

        What the program wrote on its standard error before it gave them goes to `hear` first.
        """
        pipe = self._child.stdout
        assert pipe is not None
        found = np.empty(size, np.uint8)
        view, got = memoryview(found.data), 0
        while got < size:
            more = pipe.readinto(view[got:])  # type: ignore[attr-defined]
            if not more:
                code = self._child.wait()
                check_interrupt(code)
                raise self.ended(code, self._errors.read_text(errors="replace").strip())
            got += more
        said = self._complaints()
        if said:
            self.hear(said)
        return found

    def _complaints(self) -> str:
        """What the program newly wrote on its standard error. That is a file: a pipe would fill up unread."""
        # Asked with every answer, and nearly always there is nothing.
        if self._errors.stat().st_size == self._heard:
            return ""
        with self._errors.open("rb") as file:
            file.seek(self._heard)
            found = file.read()
        self._heard += len(found)
        return found.decode(errors="replace").strip()

    def hear(self, said: str) -> None:
        """Take what the program wrote on its standard error while it ran: a UserError, unless that is usual."""
        raise complaint(self.name, said)

    def ended(self, code: int, said: str) -> ProgramEnded:
        """What is raised for a program that ended too early."""
        return ProgramEnded(
            f"{self.name} ended with code {code} (killed? out of memory?): {said[-2000:] or 'it said nothing'}; run it "
            "again, with a smaller simulation.batch where memory is short"
        )


class Process(Child):
    """A compiled network that is running.

    numbers   what the program reads when it starts, by the names of its arrays
    arrays    all that it can read, see `builds.check_numbers`
    options   numbers that it takes as they are: whether spikes are wanted (``images.record``) and the like
    """

    # Variables that the program needs beside this process's.
    variables: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, folder: Path, numbers: Mapping[str, np.ndarray], options: Mapping[str, int], arrays: Arrays
    ) -> None:
        self.options, self.folder = options, folder
        scratch = tempfile.TemporaryDirectory(prefix="alade_brian_")
        arguments = write_numbers(Path(scratch.name), numbers, arrays)
        arguments += [f"{name}={value}" for name, value in options.items()]
        command = [str(folder / PROGRAM), "--results_dir", f"{scratch.name}{os.sep}", *arguments]
        super().__init__(command, folder, scratch, f"the simulation in {folder}", {**os.environ, **self.variables})


def _enlarge(pipe: IO[bytes]) -> None:
    """Ask for a pipe of `STREAM_BYTES`: it only spares waiting, and not every system has or grants it."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, STREAM_BYTES)


def _end(child: subprocess.Popen[bytes], scratch: tempfile.TemporaryDirectory[str]) -> None:
    child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    child.wait()
    scratch.cleanup()
