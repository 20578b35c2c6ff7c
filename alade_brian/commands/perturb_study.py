"""Which knowledge breaks first: all networks of a grid under the same perturbations, task by task and age by age.

    alade-brian compare biology-digits --jobs 2
    alade-brian study biology-digits --jobs 2

The first command trains the networks and verifies them; the second perturbs the last network of every row and seed.
Both go on where they were stopped. Tables, figures and all numbers are then beside the grid's, in the folder
`perturbed`: table.md and table.csv say which tasks broke first, answers.md and answers.csv whether a preference of the
failing networks for some answers explains it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alade_brian.commands.options import (
    IMAGES,
    OUT,
    PERTURB,
    REPEATS,
    add_grid,
    add_simulation,
    simulation_settings,
)
from alade_brian.config.shipped import find_file
from alade_brian.errors import UserError
from alade_brian.files import write_json, write_text
from alade_brian.outputs import check_not_locked, writing_to
from alade_brian.perturbations import PERTURBATIONS, perturbation
from alade_brian.runs.subject import PARTS
from alade_brian.studies.comparison.cells import Estimate, check_cell
from alade_brian.studies.comparison.grid import Grid, GridCell, read_grid
from alade_brian.studies.comparison.results import check_earlier
from alade_brian.studies.perturbation import answer_tables
from alade_brian.studies.perturbation.networks import PERTURBED, StudyPlan, collect, study_all
from alade_brian.studies.perturbation.trend_figures import write_figures
from alade_brian.studies.perturbation.trend_tables import csv_text, markdown


def parser(prog: str = "alade-brian study") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_grid(p)
    PERTURB.add(p, "default: all")
    REPEATS.add(p, default=2)
    IMAGES.add(p, "of those that the run was evaluated on, spread over the classes; default: all")
    OUT.add(p, "the folder of the trained grid; default: runs/<grid>")
    add_simulation(p, cores="one for each core, or one beside other --jobs")
    p.set_defaults(interrupted="the same command continues")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Measure what is missing, then write tables and figures; the exit code."""
    for option in ("repeats", "jobs", "images"):
        if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
            raise UserError(f"--{option} {getattr(arguments, option)}: use at least 1")
    names = tuple(arguments.perturb or sorted(PERTURBATIONS))
    for name in names:
        perturbation(name)
    grid = read_grid(find_file(arguments.grid, "grids"))
    out = arguments.out or Path("runs") / grid.name
    networks = grid.choose(grid.cells(out), arguments.rows, arguments.seeds)
    cells, folder = grid.cells(out), out / PERTURBED
    check_not_locked(folder)
    check_earlier(folder / "results.json", grid, cells)
    plan = None
    if not arguments.report_only:
        _check_trained(networks, grid, arguments.grid, out)
        settings = simulation_settings(arguments, **PARTS)
        plan = StudyPlan(names, arguments.repeats, arguments.images, settings)
    with writing_to(folder):
        if plan is not None:
            _study(networks, plan, arguments.jobs)
        # Also what was studied before: the tables only ever grow.
        table = _write(collect(grid, cells), folder)
    print(table)
    print(f"tables, numbers and figures: {folder}")
    return 0


def _write(results: Mapping[str, Any], folder: Path) -> str:
    """Write tables, numbers and figures; the table for people."""
    write_json(folder / "results.json", results)
    table = markdown(results)
    write_text(folder / "table.md", table)
    write_text(folder / "table.csv", csv_text(results))
    if biases := answer_tables.all_biases(results):
        write_text(folder / "answers.md", answer_tables.markdown(results, biases))
        write_text(folder / "answers.csv", answer_tables.csv_text(biases))
    write_figures(results, folder / "figures")
    return table


def _check_trained(networks: list[GridCell], grid: Grid, file: str, out: Path) -> None:
    missing = [cell for cell in networks if not check_cell(cell, grid.threads)]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(networks)} networks are not trained yet, {missing[0]} among them; first run "
            f"alade-brian compare {file} --out {out}"
        )


def _study(networks: list[GridCell], plan: StudyPlan, jobs: int) -> None:
    """A line for each network as it ends; what a network cannot have is said once."""
    estimate, told = Estimate(len(networks)), set()
    for cell, said in study_all(networks, plan, jobs, os.getpid()):
        left = estimate.after_one()
        print(f"[{estimate.done}/{len(networks)}] {cell}; {left}", flush=True)
        for sentence in said:
            if (cell.row, sentence) not in told:
                told.add((cell.row, sentence))
                print(f"{cell.row}: {sentence}", flush=True)
