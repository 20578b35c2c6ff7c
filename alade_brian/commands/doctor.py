"""Check this machine, a line for each: compiler, packages, a small simulation, GPU, data sets, cache, disk, memory.

    alade-brian doctor

Exit code 0: the simulation on the processor works; 1: something that it needs is missing.
"""

from __future__ import annotations

import argparse

from alade_brian.runs.doctor import findings


def parser(prog: str = "alade-brian doctor") -> argparse.ArgumentParser:
    """The command line."""
    return argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)


def main(arguments: argparse.Namespace) -> int:
    """Print a line for each finding as it is made; the exit code."""
    code = 0
    for finding in findings():
        print(finding, flush=True)
        if finding.needed and not finding.present:
            code = 1
    return code
