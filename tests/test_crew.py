"""Programs fed side by side: every block answered once, in order, whatever becomes of the programs and of who asks."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest

from alade_brian.simulation.fused.process import ProgramEnded
from alade_brian.simulation.workers import threads as crew
from alade_brian.spikes.packed import PackedResponses


def block(number: int) -> np.ndarray:
    return np.full((1, 1, 1), number, dtype=np.float64)


def numbers(answers: Iterable[PackedResponses]) -> list[int]:
    return [int(answer.logits[0, 0]) for answer in answers]


class Program:
    """Answers with the block's own number; takes blocks in a thread of its own, as a real one does.

    ends   numbers of blocks, and how often each of them ends the program that was given it
    """

    compiled, own_process = False, True

    def __init__(self, ends: dict[int, int]) -> None:
        self.ends, self.asked = ends, []  # type: ignore[var-annotated]

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        fed: list[np.ndarray | None] = []
        more = threading.Semaphore(0)

        def feed() -> None:
            for each in itertools.chain(blocks, [None]):
                fed.append(each)
                more.release()

        threading.Thread(target=feed, daemon=True).start()
        for place in itertools.count():
            more.acquire()
            if (given := fed[place]) is None:
                return
            number = int(given[0, 0, 0])
            if self.ends.get(number, 0):
                self.ends[number] -= 1
                raise ProgramEnded(f"ended at {number}")
            self.asked.append(number)
            yield PackedResponses({}, {}, given[:, 0])


def asked(size: int, count: int, ends: dict[int, int] | None = None) -> tuple[list[int], list[int]]:
    """The answers in their order, and what all programs together were asked."""
    program = Program(ends or {})
    found = numbers(crew.stream(lambda: nullcontext(program), size, map(block, range(count)), True))
    return found, program.asked


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_block_once_and_in_order(size: int, count: int) -> None:
    found, made = asked(size, count)
    assert found == sorted(made) == list(range(count))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_an_ended_program_had_not_answered_is_answered_by_another(size: int) -> None:
    """Also the last block, when all others have nothing left to do."""
    found, made = asked(size, 20, {0: 1, 7: 1, 8: 1, 19: 1})
    assert found == sorted(made) == list(range(20))


def test_a_block_that_ends_every_program_is_an_error() -> None:
    with pytest.raises(ProgramEnded, match="ended at 7"):
        asked(2, 20, {7: crew.TRIES})


def test_blocks_that_cannot_be_made_are_an_error() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from map(block, range(3))
        raise ValueError("no fourth block")

    with pytest.raises(ValueError, match="no fourth block"):
        numbers(crew.stream(lambda: nullcontext(Program({})), 2, broken(), True))


def test_an_engine_that_cannot_be_made_is_an_error() -> None:
    def broken() -> AbstractContextManager[Program]:
        raise OSError("no program")

    with pytest.raises(OSError, match="no program"):
        numbers(crew.stream(broken, 2, map(block, range(3)), True))


def test_no_more_is_prepared_than_is_soon_taken() -> None:
    prepared = []

    def source() -> Iterator[np.ndarray]:
        for number in range(100):
            prepared.append(number)
            yield block(number)

    answers = crew.stream(lambda: nullcontext(Program({})), 2, source(), True)
    for taken in range(1, 40):
        next(answers)
        assert len(prepared) <= taken + 2 * crew.BLOCKS_AHEAD + 2
    before = threading.active_count()
    answers.close()
    assert threading.active_count() < before and len(prepared) < 100
