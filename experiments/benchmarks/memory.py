"""Memory of this process and all that it started, looked at again and again."""

from __future__ import annotations

import os
import sys
import threading

import psutil

SECONDS_BETWEEN_LOOKS = 0.02


class Memory:
    """Use as a context; afterwards, in bytes:

    process   the most that this process ever held
    whole     the most that this process and its descendants (simulations, compilers) were seen to hold together; pages
              that they share count once for each
    parts     what it was made of, by the name of the program
    """

    def __init__(self) -> None:
        self.process, self.whole = 0, 0
        self.parts: dict[str, int] = {}
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Memory:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()
        self.process = peak()
        self.whole = max(self.whole, self.process)

    def _look(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            found = {pid: resident(pid) for pid in (os.getpid(), *descendants(os.getpid()))}
            if sum(found.values()) > self.whole:
                self.whole, self.parts = sum(found.values()), {}
                for pid, held in found.items():
                    self.parts[program(pid)] = self.parts.get(program(pid), 0) + held


def peak() -> int:
    """The most bytes that this process ever held in memory."""
    held = psutil.Process().memory_info()
    if hasattr(held, "peak_wset"):  # Windows, which has no `resource`
        return int(held.peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def program(pid: int) -> str:
    """What a process runs."""
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "ended"


def resident(pid: int) -> int:
    """Bytes that a process holds in memory; 0 where it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and that those started."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
