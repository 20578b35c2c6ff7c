"""A small comparison, the command that runs it and the modules it is made of, for the tests of that command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from command_line import call

from alade_brian.config.run import config_from
from alade_brian.runs.incremental_run import IncrementalJob
from alade_brian.studies.comparison import cells, grid, table

PROGRAMS = Path(__file__).resolve().parent.parent / "experiments"


__all__ = ["GRID", "PROGRAMS", "RUN", "cells", "compare", "grid", "learnt", "table", "write_grid"]

# Two tasks of the digits, an epoch each: about a second.
RUN: dict[str, Any] = {
    "dataset": "digits",
    "init_cls": 5,
    "increment": 5,
    "memory_size": 60,
    "network": {"channels": [4], "strides": [2], "pool": 2, "steps": 2},
    "learning": {"epochs": 1, "milestones": [], "align_from": 1},
}
# Two methods and two seeds of it.
GRID: dict[str, Any] = {
    "seeds": [1, 2],
    "reference": "Grown, DER",
    "set": {**RUN, "verify_images": 40, "finetuning.epochs": 1, "simulation.backend": "numpy"},
    "rows": {"Grown, DER": {"method": "der"}, "finetune": {"method": "finetune", "memory_size": 0}},
}


def learnt(folder: Path, method: str, **changes: Any) -> Path:
    """A run of that grid's two tasks of the digits in `folder`, one epoch a stage; its last checkpoint."""
    keys = {**RUN, "verify_images": 40, "finetuning": RUN["learning"], "method": method, **changes}
    job = IncrementalJob(config_from(keys, "a tiny run"), folder, progress=False)
    job.start()
    job.run()
    return folder / "checkpoints" / "task-02.safetensors"


def write_grid(folder: Path, **changes: Any) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
    return path


def compare(*arguments: object) -> int:
    """The command in this process; its exit code."""
    return call("compare", *arguments)
