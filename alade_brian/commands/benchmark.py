"""Measured comparisons, each a ratio taken in one run on one machine.

    alade-brian benchmark engine --json engine.json --figure engine.png
    alade-brian benchmark agreement

Exit code 0: done; 2: wrong use or input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from alade_brian.benchmarks import agreement, build, engine, growth, recording, training

# What adds a command's options to its parser and says what runs it.
Command = Callable[[argparse.ArgumentParser], Callable[[argparse.Namespace], int]]
COMMANDS: Mapping[str, Command] = {
    "engine": engine.command,
    "recording": recording.command,
    "build": build.command,
    "growth": growth.command,
    "agreement": agreement.command,
    "training": training.command,
}


def parser(prog: str = "alade-brian benchmark") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = p.add_subparsers(required=True, metavar="NAME", dest="name")
    for name, command in COMMANDS.items():
        description = sys.modules[command.__module__].__doc__ or ""
        sub = names.add_parser(
            name,
            help=description.partition(": ")[2].partition("\n")[0],
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=command(sub))
    return p


def main(arguments: argparse.Namespace) -> int:
    """Run the benchmark asked for; the exit code."""
    return arguments.run(arguments)
