"""Memory of this process and all that it started, looked at again and again."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

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
        self.process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.whole = max(self.whole, self.process)

    def _look(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            found = {pid: resident(pid) for pid in (os.getpid(), *descendants(os.getpid()))}
            if sum(found.values()) > self.whole:
                self.whole, self.parts = sum(found.values()), {}
                for pid, held in found.items():
                    self.parts[program(pid)] = self.parts.get(program(pid), 0) + held


def program(pid: int) -> str:
    """What a process runs."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ended"


def resident(pid: int) -> int:
    """Bytes that a process holds in memory; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and that those started."""
    found: list[int] = []
    try:
        lists = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return found
    for child in (int(word) for text in lists for word in text.split()):
        found += [child, *descendants(child)]
    return found
