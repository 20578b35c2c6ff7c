"""Compare methods: every row of a grid file with every seed, each trained, converted, simulated and verified.

    alade-brian compare fashion-mnist --jobs 2
    alade-brian compare fashion-mnist --report-only

The same command goes on where it was stopped. Exit code 0: done; 1: a cell failed, or a simulated network does not
agree with the trained one or no neuron of either fired; 2: wrong use or input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from alade_brian.commands.options import DOWNLOAD, OUT, SET, add_grid
from alade_brian.config.shipped import find_file
from alade_brian.errors import UserError
from alade_brian.outputs import check_not_locked, writing_to
from alade_brian.studies.comparison.cells import Estimate, Outcome, check_cell, compute, try_rows
from alade_brian.studies.comparison.grid import Grid, GridCell, read_grid
from alade_brian.studies.comparison.report import write_comparison
from alade_brian.studies.comparison.results import check_earlier, collect, disagreeing, read_cell, unproven
from alade_brian.studies.comparison.table import markdown


def parser(prog: str = "alade-brian compare") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_grid(p)
    SET.add(p, "of all rows, added to the grid's 'set'", default=[])
    DOWNLOAD.add(p)
    OUT.add(p, "default: runs/<grid>")
    p.set_defaults(interrupted="the same command continues")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Compute what is missing, then write table and figures; the exit code."""
    if arguments.jobs < 1:
        raise UserError(f"--jobs {arguments.jobs}: use at least 1")
    grid = read_grid(find_file(arguments.grid, "grids"), arguments.set)
    out = arguments.out or Path("runs") / grid.name
    cells = grid.cells(out)
    check_not_locked(out)
    missing = [cell for cell in cells if not check_cell(cell, grid.threads)]
    check_earlier(out / "results.json", grid, cells)
    chosen = [] if arguments.report_only else grid.choose(missing, arguments.rows, arguments.seeds)
    try_rows(chosen, arguments.download)
    with writing_to(out):
        failed = _compute(chosen, grid, arguments.jobs)
        return _report(grid, out, cells, failed, arguments.prog)


def _compute(cells: Sequence[GridCell], grid: Grid, jobs: int) -> list[Outcome]:
    """Those that failed; a line for each cell as it ends."""
    failed, estimate = [], Estimate(len(cells))
    for outcome in compute(cells, grid.threads, jobs):
        left = estimate.after_one()
        if outcome.error is None:
            found = read_cell(outcome.cell)
            text = "average {average_incremental_accuracy_brian2:.4f}, last {last_accuracy_brian2:.4f}".format(**found)
        else:
            text = "FAILED"
            failed.append(outcome)
        print(f"[{estimate.done}/{len(cells)}] {outcome.cell}: {text}; {left}", flush=True)
    return failed


def _report(grid: Grid, out: Path, cells: Sequence[GridCell], failed: Sequence[Outcome], prog: str) -> int:
    """Write and show what there is, and say what went wrong; the exit code."""
    complete = [cell for cell in cells if check_cell(cell, grid.threads)]
    for outcome in failed:
        sys.stderr.write(f"{outcome.trace or ''}{prog}: {outcome.cell} failed: {outcome.error}\n")
    if failed and not complete:
        return 1
    results = collect(grid, complete)
    write_comparison(results, out)
    print(markdown(results))
    if len(complete) < len(cells):
        print(f"{len(cells) - len(complete)} of {len(cells)} cells are not complete")
    print(f"table, numbers and figures: {out}")
    wrong = [f"{name}: the simulated network DIFFERS from the trained one" for name in disagreeing(results)]
    for sentence in (wrong := [*wrong, *unproven(results)]):
        sys.stderr.write(f"{prog}: {sentence}\n")
    return 1 if failed or wrong else 0
