"""What benchmarks say of the machine: memory of all processes, and what a second core is worth."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from alade_brian.benchmarks.engine import doubled, twice
from alade_brian.benchmarks.memory import Memory, descendants, resident
from alade_brian.benchmarks.rounds import Competitor

HOLDS = "held = bytearray(200_000_000); held[::4096] = b'x' * len(held[::4096]); print('ready', flush=True); input()"


def test_memory_of_descendants_counts() -> None:
    """A child of a child holds 200 MB."""
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS!r}])"
    with Memory() as memory:
        child = subprocess.Popen([sys.executable, "-c", inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        found = descendants(os.getpid())
        assert child.pid in found and sum(map(resident, found)) > 200_000_000
        before, deadline = resident(os.getpid()), time.monotonic() + 20
        while memory.whole < before + 200_000_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        child.communicate(b"\n")
    assert sum(memory.parts.values()) > before + 150_000_000
    # Other tests may have let this process hold more than both together hold now.
    assert memory.whole >= memory.process
    assert child.pid not in descendants(os.getpid()) and resident(child.pid) == 0


def test_two_at_once_add_up() -> None:
    both = twice(Competitor("limit_float32", None, lambda seconds: 10 * seconds))
    assert both.processes == 2 and both.run(3) == 60


def test_what_a_second_core_is_worth() -> None:
    def competitor(name: str, processes: int | None) -> Competitor:
        return Competitor(name, processes, lambda seconds: 0.0)

    competitors = [competitor("limit_float32", None), competitor("shared_float32", 2), competitor("limit_float32", 2)]
    assert doubled(competitors, [[10, 20, 30], [1, 1, 1], [30, 36, 90]]) == {
        "ratio_two_limit_float32": 36 / 20,
        "ratio_two_limit_float64": None,
    }
