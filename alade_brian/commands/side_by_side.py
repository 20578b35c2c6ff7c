"""Several trained networks under the same perturbations: one figure and one table of what was measured on each.

    alade-brian perturb runs/dsr/checkpoints/task-01.safetensors --perturb weight-noise delay
    alade-brian perturb runs/tandem/checkpoints/task-01.safetensors --perturb weight-noise delay
    alade-brian side-by-side runs/dsr/perturbed/task-01 runs/tandem/perturbed/task-01 --out runs/side-by-side

Nothing is simulated. The folder --out then holds perturbed.png and .svg, table.md and table.csv, of all perturbations
that were measured on every network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alade_brian.analysis.figures.style import write_figure
from alade_brian.analysis.problems import problem_of
from alade_brian.commands.options import OUT
from alade_brian.errors import UserError
from alade_brian.files import write_text
from alade_brian.outputs import is_unused, writing_to
from alade_brian.studies.perturbation.curves import csv_text
from alade_brian.studies.perturbation.side_by_side import markdown, plot_side_by_side, read_studies, table


def parser(prog: str = "alade-brian side-by-side") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="where `alade-brian perturb` wrote to")
    OUT.add(p, required=True)
    return p


def main(arguments: argparse.Namespace) -> int:
    """Write figure and tables; the exit code."""
    out = arguments.out
    if not is_unused(out) and not (out / "perturbed.svg").is_file():
        raise UserError(f"{out} holds other files; choose another folder with --out")
    studies = read_studies(arguments.folders)
    found, measure = table(studies), problem_of(next(iter(studies.values()))).measure
    with writing_to(out):
        write_figure(plot_side_by_side(studies).axes[0], out / "perturbed")
        write_text(out / "table.md", markdown(found, measure))
        write_text(out / "table.csv", csv_text(found))
    print(markdown(found, measure))
    print(f"figure and tables: {out}")
    return 0
