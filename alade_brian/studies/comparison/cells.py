"""Cells of a grid: find the complete ones and compute the others in parallel, each in its run folder."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import joblib
import torch
from joblib.externals.loky.process_executor import BrokenProcessPool

from alade_brian.analysis.metrics.metrics_file import read_metrics
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.data import require_classes
from alade_brian.errors import UserError
from alade_brian.outputs import is_unused, writing_to
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.incremental_run import IncrementalJob
from alade_brian.safe_path import safe_path
from alade_brian.spec import SpecError
from alade_brian.studies.comparison.grid import GridCell

# What `joblib.delayed` makes: a function, its arguments and its keywords.
Task = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """Result of computing a cell.

    error   one sentence, where it failed; trace is added where that was nobody's fault but the program's
    """

    cell: GridCell
    error: str | None = None
    trace: str | None = None


def check_cell(cell: GridCell, threads: int) -> bool:
    """Whether a cell is complete; UserError if its folder holds anything other than (part of) this run."""
    if not begun(cell):
        return False
    folder = RunFolder(cell.folder)
    if not (cell.folder / "config.yaml").is_file():
        raise UserError(f"{cell.folder} holds files but no run; remove it, or choose another folder with --out")
    folder.check_same(cell.config)
    used = folder.threads()
    if used is not None and used != threads:
        raise UserError(
            f"the run in {cell.folder} was started with threads: {used}, but the grid has threads: {threads}, which "
            "changes the last digits; change the grid, or choose another folder with --out"
        )
    if not folder.metrics.is_file():
        return False
    metrics = read_metrics(folder.metrics)
    return len(metrics["tasks"]) == metrics.get("tasks_planned")


def begun(cell: GridCell) -> bool:
    """Whether a cell was started."""
    return not is_unused(cell.folder)


def try_rows(cells: Sequence[GridCell], download: bool) -> None:
    """Raise UserError if a row cannot be run, before any starts: its job is set up for one seed and discarded."""
    for cell in {cell.row: cell for cell in cells}.values():
        try:
            job = IncrementalJob(cell.config, cell.folder, download=download, progress=False)
            require_classes(job.dataset, "a comparison, which is of accuracies,")
        except UserError as error:
            raise UserError(f"row '{cell.row}': {error}") from None


def in_processes(jobs: int, tasks: Iterable[Task]) -> Iterator[Any]:
    """Results of tasks (see `joblib.delayed`) as they end, each computed by one of `jobs` processes."""
    # A worker that has grown is replaced by a new one and nothing is lost; loky's warning would make a user doubt it.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    with safe_path():
        yield from joblib.Parallel(n_jobs=jobs, backend="loky", return_as="generator_unordered", batch_size=1)(tasks)


def compute(cells: Sequence[GridCell], threads: int, jobs: int) -> Iterator[Outcome]:
    """Compute cells, `jobs` in parallel, and yield them as they finish. A failed cell does not stop the others.

    A worker that was killed mostly ran out of memory: what is left then goes on with half as many.
    """
    left = list(cells)
    while left:
        try:
            parent = os.getpid() if jobs > 1 else None
            tasks = (joblib.delayed(compute_cell)(cell, threads, parent) for cell in tuple(left))
            for outcome in in_processes(jobs, tasks):
                left.remove(outcome.cell)
                yield outcome
        except BrokenProcessPool:
            jobs = max(1, jobs // 2)


def compute_cell(cell: GridCell, threads: int, parent: int | None) -> Outcome:
    """Start or resume a cell's run and complete it.

    parent   process that this one works for, beside others; None: it has the machine for itself, simulates on all cores
             and shows its progress
    """
    alone = parent is None
    if parent is not None:
        end_with(parent)
    # A worker is a new process and has not heard what the command set.
    logging.getLogger("brian2").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    try:
        with writing_to(cell.folder):
            job = IncrementalJob(cell.config, cell.folder, progress=alone, workers=None if alone else 1)
            job.resume() if begun(cell) else job.start()
            job.run()
    except (UserError, SpecError, RefusedLayers) as error:
        return Outcome(cell, str(error))
    except Exception as error:  # whatever stops one cell must not cost the others' results
        return Outcome(cell, f"{type(error).__name__}: {error}", traceback.format_exc())
    return Outcome(cell)


@cache
def end_with(parent: int) -> None:
    """End this process as soon as its parent has ended (it may have been killed): its result is no longer needed.

    Called once or often, it watches once. What is written is whole or not there, so that no moment is a bad one.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Estimate:
    """Estimate of the remaining time from the cells computed so far."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began = total, 0, time.monotonic()

    def after_one(self) -> str:
        """Count a finished cell and describe the remaining time."""
        self.done += 1
        if self.done == self.total:
            return "none left"
        seconds = (time.monotonic() - self.began) / self.done * (self.total - self.done)
        return f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
