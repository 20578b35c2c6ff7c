"""The records of spikes that a report shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alade_brian.errors import UserError
from alade_brian.spikes.task_record import TaskRecord, load_record


@dataclass(frozen=True)
class Record:
    """The spikes of the last task that has any."""

    task: int
    content: TaskRecord


def last_record(folder: Path) -> tuple[Record | None, str]:
    """The record of the highest task, or none, and a sentence on where the figures come from."""
    found = numbered(folder / "spikes")
    if not found:
        return None, "No spikes were recorded, so there is no raster and no interval histogram."
    task = max(found)
    try:
        record = load_record(found[task])
    except UserError as error:
        return None, f"There is no raster and no interval histogram: {error}"
    if not record.layers or len(record.tasks) == 0:
        return None, f"The spike record {found[task].name} is empty."
    text = f"Intervals, rasters and answers show the network after task {task} (spikes/{found[task].name})."
    return Record(task, record), text


def numbered(folder: Path) -> dict[int, Path]:
    """The records in a folder by the number of their task."""
    return {
        int(path.stem.removeprefix("task-")): path
        for path in folder.glob("task-*.npz")
        if path.stem.removeprefix("task-").isdigit()
    }
