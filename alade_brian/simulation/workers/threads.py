"""Programs of one network side by side: all are fed from the same blocks without a pause; answers keep the order."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np

from alade_brian.simulation.engine import Engine
from alade_brian.simulation.fused.process import ProgramEnded
from alade_brian.spikes.packed import PackedResponses

# Blocks that are under way in one program: one is simulated while another waits.
BLOCKS_PER_PROGRAM = 2
# Blocks, for each program, that are under way, or answered and not yet taken.
BLOCKS_AHEAD = 4
# How often a block is tried whose program ended in the middle.
TRIES = 2


def stream(
    engine: Callable[[], AbstractContextManager[Engine]], size: int, blocks: Iterable[np.ndarray], record: bool
) -> Iterator[PackedResponses]:
    """Answers to blocks of images by so many engines that run in processes of their own, see `Engine.stream`.

    engine   lends one; called again, by the thread that used it, where its program ended
    """
    work = _Work(iter(blocks), BLOCKS_AHEAD * size)
    threads = [threading.Thread(target=_serve, args=(engine, work, record), daemon=True) for _ in range(size)]
    for thread in threads:
        thread.start()
    try:
        yield from work.answers()
    finally:
        work.stop()
        for thread in threads:
            thread.join()


def _serve(engine: Callable[[], AbstractContextManager[Engine]], work: _Work, record: bool) -> None:
    """What one thread does until there is nothing left: feed an engine, and another where its program ended."""
    try:
        while True:
            member = _Member()
            try:
                with engine() as lent:
                    for answer in lent.stream(work.blocks(member), record):
                        work.put(member, answer)
                return
            except ProgramEnded as error:
                work.take_back(member, error)
    except BaseException as error:
        work.fail(error)


@dataclass(eq=False)
class _Member:
    """The numbered blocks that one program was given and has not answered."""

    under_way: deque[tuple[int, np.ndarray]] = field(default_factory=deque)
    ended: bool = False


class _Work:
    """Blocks that are handed out, and their answers; at most `ahead` of both. All threads share one."""

    def __init__(self, blocks: Iterator[np.ndarray], ahead: int) -> None:
        self._blocks, self._ahead = enumerate(blocks), ahead
        # Blocks are prepared one after the other; whoever brings or takes an answer need not wait for that.
        self._source, self._changed = threading.Lock(), threading.Condition()
        self._answers: dict[int, PackedResponses] = {}
        self._returned: deque[tuple[int, np.ndarray]] = deque()
        self._tries: Counter[int] = Counter()
        self._handed_out, self._given = 0, 0
        self._exhausted, self._over = False, False
        self._error: BaseException | None = None

    def answers(self) -> Iterator[PackedResponses]:
        """In the order of the blocks; what went wrong in a thread is raised here."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._given in self._answers or self._error or self._done)
                if self._error is not None:
                    raise self._error
                if self._done:
                    return
                answer = self._answers.pop(self._given)
                self._given += 1
                self._changed.notify_all()
            yield answer

    @property
    def _done(self) -> bool:
        return self._exhausted and self._given == self._handed_out

    def blocks(self, member: _Member) -> Iterator[np.ndarray]:
        """Blocks for one program, as it has room for them."""
        while (block := self._take(member)) is not None:
            yield block

    def _take(self, member: _Member) -> np.ndarray | None:
        def room() -> bool:
            more = bool(self._returned) or self._handed_out - self._given < self._ahead
            return len(member.under_way) < BLOCKS_PER_PROGRAM and more

        with self._changed:
            self._changed.wait_for(lambda: room() or self._over or member.ended)
        task = self._next()
        with self._changed:
            if task is None:
                return None
            if member.ended:
                self._returned.append(task)
                self._changed.notify_all()
                return None
            member.under_way.append(task)
            return task[1]

    def _next(self) -> tuple[int, np.ndarray] | None:
        with self._source:
            if self._over:
                return None
            if self._returned:
                return self._returned.popleft()
            try:
                task = next(self._blocks, None)
            except BaseException as error:
                self.fail(error)
                return None
            with self._changed:
                self._exhausted = task is None
                self._handed_out += task is not None
                self._changed.notify_all()
            return task

    def put(self, member: _Member, answer: PackedResponses) -> None:
        """The answer to the block that a program was given first."""
        with self._changed:
            number, _ = member.under_way.popleft()
            self._answers[number] = answer
            self._changed.notify_all()

    def take_back(self, member: _Member, error: ProgramEnded) -> None:
        """What an ended program had not answered is for others; its error where that was tried too often."""
        with self._changed:
            member.ended = True
            first = member.under_way[0][0] if member.under_way else -1
            self._tries[first] += 1
            if self._tries[first] >= TRIES:
                raise error
            self._returned.extend(member.under_way)
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Let everything end with this error."""
        with self._changed:
            self._error = self._error or error
        self.stop()

    def stop(self) -> None:
        """Hand out no more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
