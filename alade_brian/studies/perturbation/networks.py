"""Studies of all networks of a grid under the same perturbations, computed in parallel."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib

from alade_brian.errors import UserError
from alade_brian.outputs import writing_to
from alade_brian.perturbations import perturbation
from alade_brian.runs.folder import read_json
from alade_brian.runs.subject import read_trained_network
from alade_brian.simulation import SimulationSettings
from alade_brian.studies.comparison.cells import end_with, in_processes
from alade_brian.studies.comparison.grid import Grid, GridCell
from alade_brian.studies.perturbation.study import Study, measure_missing, measurements

PERTURBED = "perturbed"


@dataclass(frozen=True)
class StudyPlan:
    """The perturbations applied to every network, see `perturb_study.py`, and how the networks are simulated.

    settings   whose `workers` None mean one for each core, or one if several networks are studied at once
    """

    names: tuple[str, ...]
    repeats: int
    images: int | None
    settings: SimulationSettings


def folder(cell: GridCell) -> Path:
    """Folder of the study of a cell's network, beside the rows of the grid."""
    return cell.folder.parent.parent / PERTURBED / cell.folder.parent.name / cell.folder.name


def study_all(
    grid_cells: Sequence[GridCell], plan: StudyPlan, jobs: int, parent: int
) -> Iterator[tuple[GridCell, list[str]]]:
    """Every network, `jobs` at once, as they end, with what was said of perturbations that it cannot have. UserError
    where a network cannot be studied at all."""
    yield from in_processes(
        jobs, (joblib.delayed(_study)(cell, plan, parent if jobs > 1 else None) for cell in grid_cells)
    )


def _study(cell: GridCell, plan: StudyPlan, parent: int | None) -> tuple[GridCell, list[str]]:
    if parent is not None:
        end_with(parent)
    # A worker is a new process and has not heard what the command set.
    logging.getLogger("brian2").setLevel(logging.ERROR)
    said: list[str] = []
    checkpoint = sorted((cell.folder / "checkpoints").glob("task-*.safetensors"))[-1]
    subject, wanted = (
        read_trained_network(checkpoint, plan.images),
        measurements(map(perturbation, plan.names), plan.repeats),
    )
    alone = parent is None or plan.settings.workers is not None
    settings = plan.settings if alone else replace(plan.settings, workers=1)
    with writing_to(folder(cell)):
        study = Study(folder(cell), subject)
        measure_missing(study, study.missing(wanted), settings, said.append, pass_over=True)
    return cell, said


def collect(grid: Grid, grid_cells: Sequence[GridCell]) -> dict[str, Any]:
    """Collect the studies of all networks by row and seed; UserError if there is none."""
    rows: dict[str, dict[str, Any]] = {}
    for cell in grid_cells:
        file = folder(cell) / "results.json"
        if file.is_file():
            rows.setdefault(cell.row, {})[str(cell.seed)] = _rounded(read_json(file))
    if not rows:
        raise UserError("no network has been studied yet; run the study without --report-only")
    return {"format": 1, "grid": grid.name, "reference": grid.reference, "rows": rows}


def _rounded(found: Any) -> Any:
    """Round to six digits, more than any number of images resolves."""
    if isinstance(found, dict):
        return {key: _rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    return float(f"{found:.6g}") if isinstance(found, float) else found
