"""A simulation in another Python: the network goes there as files, images and spikes through pipes.

Nobody who uses it need know: it is an engine like the others.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from queue import Queue

import numpy as np

from alade_brian.errors import UserError
from alade_brian.simulation.fused.process import BLOCKS_AHEAD, Child, ProgramEnded, answers_to, counted
from alade_brian.simulation.other_python.find import ended_sentence, environment
from alade_brian.simulation.other_python.messages import SETTINGS, SPEC, Message, answer_from, frame, read_frame
from alade_brian.simulation.plan import SimulationPlan
from alade_brian.spec.file import save_spec
from alade_brian.spikes.packed import PackedResponses

log = logging.getLogger(__name__)


class OtherPythonEngine:
    """A network that the Python at that path simulates by this plan; see `engine.Engine`.

    images   how many it is given at a time
    """

    own_process = True

    def __init__(self, plan: SimulationPlan, traces: Sequence[str], python: Path) -> None:
        self.plan, self.traces, self.python = plan, tuple(traces), python
        self._child: _Python | None = None
        ready = self._started().ready
        self.compiled, self.images = bool(ready["compiled"]), int(ready["images"])

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        """See `engine.Engine`."""
        child, counts = self._started(), Queue[int | BaseException | None](BLOCKS_AHEAD)
        child.feed(_question(counted(blocks, counts), record))
        yield from answers_to(counts, lambda images: answer_from(child.message()), self.close)

    def close(self) -> None:
        """End the other Python; it is started anew when it is needed."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _started(self) -> _Python:
        if self._child is None or not self._child.alive:
            self.close()
            self._child = _Python(self.plan, self.traces, self.python)
        return self._child


def _question(blocks: Iterator[np.ndarray], record: bool) -> Iterator[bytes]:
    yield frame(record=record)
    for block in blocks:
        yield frame(pixels=block)
    yield frame(over=True)


class _Python(Child):
    """The other Python, ready with a network."""

    def __init__(self, plan: SimulationPlan, traces: Sequence[str], python: Path) -> None:
        self.python = python
        scratch = tempfile.TemporaryDirectory(prefix="alade_brian_")
        folder = Path(scratch.name)
        save_spec(plan.spec, folder / SPEC)
        given = dataclasses.asdict(plan.settings) | {"cache": str(plan.cache.absolute()), "python": None}
        (folder / SETTINGS).write_text(json.dumps({"settings": given, "traces": list(traces)}))
        command = [str(python), "-m", "alade_brian.simulation.workers.other_python_server", str(folder)]
        super().__init__(command, folder, scratch, f"the simulation in {python}", environment())
        self.ready = self.message()

    def message(self) -> Message:
        """What it says next (UserError with its sentence where it gives up)."""
        found = read_frame(self.read)
        if "error" in found:
            raise UserError(f"{found['error']} (in {self.python})")
        return found

    def hear(self, said: str) -> None:
        """See `Child`. The programs that it runs are heard there; what is written here are warnings of libraries."""
        log.warning("the simulation in %s reports: %s", self.python, said)

    def ended(self, code: int, said: str) -> ProgramEnded:
        """See `Child`."""
        return ProgramEnded(ended_sentence(self.python, code, said))
