"""What is sent to the workers of a cluster.

It imports next to nothing: on its way a task is unpacked by processes that cannot import everything (Ray's server does
so in a thread, where Brian2 cannot set its signals), and that have no need to.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Block:
    """Images ``(n, rows, pixels)`` as part of a task. joblib would put a bare array into the memory of one of Dask's
    workers, where it is lost when that worker dies."""

    pixels: np.ndarray


# Several threads of a worker may begin at once.
_importing = threading.Lock()


def serve(work: bytes, block: Block, record: bool) -> Any:
    """What a worker process does with a block; see `alade_brian.simulation.workers.shards.serve`."""
    with _importing:
        shards = _import_in_any_thread("alade_brian.simulation.workers.shards")
    return shards.serve(work, block.pixels, record)


def record_states(work: bytes, block: Block, wanted: Any) -> Any:
    """What a worker process does with its images; see `alade_brian.simulation.states.serve`."""
    with _importing:
        states = _import_in_any_thread("alade_brian.simulation.states")
    return states.serve(work, block.pixels, wanted)


def _import_in_any_thread(name: str) -> Any:
    """A module that imports Brian2, which sets a handler of Ctrl-C as it is imported. Python allows that in the main
    thread alone, a worker runs its tasks in others, and has no use for the handler."""
    if name in sys.modules or threading.current_thread() is threading.main_thread():
        return importlib.import_module(name)
    set_handler, signal.signal = signal.signal, lambda *_: None
    try:
        return importlib.import_module(name)
    finally:
        signal.signal = set_handler
