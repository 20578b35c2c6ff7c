"""List the systems that can be trained, or measure what the rule of one rests on in a trained network.

    alade-brian systems
    alade-brian train dsr --out runs/dsr
    alade-brian systems dsr --prove runs/dsr

With --prove the measurement is written to RUN/proof.json, its figure to RUN/figures/proof.png and .svg.
Exit code 0: done; 2: wrong use or input.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.outputs import writing_to
from alade_brian.systems import SYSTEMS, System


def parser(prog: str = "alade-brian systems") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "name", nargs="?", metavar="NAME", choices=[s.name for s in SYSTEMS], help="one system (default: all)"
    )
    p.add_argument(
        "--prove", type=Path, nargs="+", metavar="RUN", help="run folders of the system; measure what its rule rests on"
    )
    return p


def main(arguments: argparse.Namespace) -> int:
    """Print the table, or measure; the exit code."""
    chosen = [system for system in SYSTEMS if arguments.name in (None, system.name)]
    if arguments.prove is not None:
        return prove(chosen, arguments.prove)
    for system in chosen:
        print(f"{system.name}: {system.paper}")
        for field in ("neuron", "rule", "data", "proves", "command"):
            print(f"  {field:<8}{getattr(system, field)}")
        print(f"  {'minutes':<8}{system.minutes:g}")
    return 0


def prove(chosen: list[System], runs: list[Path]) -> int:
    """Measure what a system's rule rests on in the networks of runs; the exit code."""
    provable = [system.name for system in SYSTEMS if system.proof is not None]
    if len(chosen) != 1 or chosen[0].proof is None:
        raise UserError(f"--prove measures one system; name one of {', '.join(provable)}")
    # The table of systems needs none of what a measurement does.
    from alade_brian.analysis.figures.style import write_figure
    from alade_brian.runs.folder import RunFolder

    folders = [RunFolder(run) for run in runs]
    for folder in folders:
        method = folder.stored_config().get("method")
        if method != chosen[0].name:
            raise UserError(
                f"the run in {folder.path} is of the method '{method}', not '{chosen[0].name}'; choose another run "
                "folder"
            )
    proof = import_module(chosen[0].proof)
    found = proof.prove(folders)
    with writing_to(runs[0]):
        write_figure(proof.draw(found), runs[0] / "figures" / "proof")
        write_json(runs[0] / "proof.json", found)
    print(proof.table(found))
    return 0
