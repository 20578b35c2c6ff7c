"""How time is measured: competitors take turns, round after round, and the median over the rounds counts.

A machine's speed drifts while others use it; whoever is compared must therefore have run in the same minutes.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

log = logging.getLogger("alade_brian.benchmark")

# Between two competitors: threads of the first that still wait busily fall asleep.
PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Competitor:
    """name        key in `images_per_second`
    processes   how many, where the name is measured with several numbers of processes; None otherwise
    run         is busy for about so many seconds and says images per second
    """

    name: str
    processes: int | None
    run: Callable[[float], float]

    @property
    def label(self) -> str:
        return self.name if self.processes is None else f"{self.name} in {self.processes} process(es)"


def timed(step: Callable[[], int], seconds: float) -> float:
    """Images per second of a step that says how many images it did, repeated for at least so many seconds."""
    images, began = 0, time.perf_counter()
    while True:
        images += step()
        used = time.perf_counter() - began
        if used >= seconds:
            return images / used


def measure(competitors: Sequence[Competitor], rounds: int, seconds: float) -> list[list[float]]:
    """Images per second of every competitor in every round; a competitor that fails once has none.

    Every round begins with another competitor, so that nobody always runs behind the same one.
    """
    found: list[list[float]] = [[] for _ in competitors]
    failed: set[int] = set()
    for turn in range(rounds):
        for place in range(len(competitors)):
            number = (turn + place) % len(competitors)
            if number in failed:
                continue
            time.sleep(PAUSE_SECONDS)
            try:
                found[number].append(competitors[number].run(seconds))
            except Exception as error:  # whatever stops one competitor must not cost the others' results
                log.warning("%s failed and is left out: %s", competitors[number].label, first_line(error))
                failed.add(number)
    return [[] if number in failed else speeds for number, speeds in enumerate(found)]


def summary(speeds: Sequence[float]) -> tuple[float | None, list[float] | None]:
    """Median, and least and greatest; None where nothing was measured."""
    return (statistics.median(speeds), [min(speeds), max(speeds)]) if speeds else (None, None)


def first_line(error: BaseException) -> str:
    """An error in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
