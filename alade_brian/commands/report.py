"""Write the reports of run folders again, from what the runs kept: report.html and the figures.

    alade-brian report runs/digits-alade-1993 runs/digits-der-1993

Exit code 0: all were written; 2: a folder holds no finished task, or cannot be written; the others are written all the
same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from alade_brian.analysis.report.report import write_report
from alade_brian.errors import UserError
from alade_brian.outputs import writing_to


def parser(prog: str = "alade-brian report") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run folder")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Write all that can be written; the exit code."""
    code = 0
    for run in arguments.runs:
        try:
            print(f"wrote {_written(run)}")
        except UserError as error:
            sys.stderr.write(f"{arguments.prog}: error: {error}\n")
            code = 2
    return code


def _written(run: Path) -> Path:
    if not run.is_dir():
        raise UserError(f"there is no run folder {run}; check the path")
    with writing_to(run):
        return write_report(run)
