"""List the systems that can be trained: paper, neuron, learning rule, data, what is proved, minutes on two cores.

alade-brian systems
alade-brian run --method dsd
"""

from __future__ import annotations

import argparse

from alade_brian.systems import SYSTEMS


def parser(prog: str = "alade-brian systems") -> argparse.ArgumentParser:
    """The command line."""
    return argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)


def main(arguments: argparse.Namespace) -> int:
    """Print the table; the exit code."""
    for system in SYSTEMS:
        print(f"{system.name}: {system.paper}")
        for field in ("neuron", "rule", "data", "proves", "command"):
            print(f"  {field:<8}{getattr(system, field)}")
        print(f"  {'minutes':<8}{system.minutes:g}")
    return 0
