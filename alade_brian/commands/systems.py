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
from typing import Any

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
    p.add_argument("--prove", type=Path, metavar="RUN", help="run folder of the system; measure what its rule rests on")
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


def prove(chosen: list[System], run: Path) -> int:
    """Measure what a system's rule rests on in the network of a run; the exit code."""
    provable = [system.name for system in SYSTEMS if system.proof is not None]
    if len(chosen) != 1 or chosen[0].proof is None:
        raise UserError(f"--prove measures one system; name one of {', '.join(provable)}")
    # The table of systems needs none of what a measurement does.
    from alade_brian.runs.folder import RunFolder

    folder = RunFolder(run)
    method = folder.stored_config().get("method")
    if method != chosen[0].name:
        raise UserError(
            f"the run in {run} is of the method '{method}', not '{chosen[0].name}'; choose another run folder"
        )
    found = import_module(chosen[0].proof).prove(folder)
    _write(found, run)
    print(_table(found))
    return 0


def _write(found: dict[str, Any], run: Path) -> None:
    from alade_brian.analysis.figures import plot_representation
    from alade_brian.analysis.figures.style import new_axes, write_figure

    with writing_to(run):
        _, ax = new_axes()
        write_figure(plot_representation(found, ax), run / "figures" / "proof")
        write_json(run / "proof.json", found)


def _table(found: dict[str, Any]) -> str:
    rows = [("steps", *(str(t) for t in found["steps"])), ("accuracy", *(f"{a:.4f}" for a in found["accuracy"]))]
    rows += [(name, *(f"{error:.5f}" for error in errors)) for name, errors in found["layers"].items()]
    cost = found["training"]
    of_training = [("steps", *(str(t) for t in cost["steps"]))]
    for key, name in (("kept_bytes", "kept by autograd"), ("cpu_seconds", "processor time")):
        pairs = zip(cost[key]["dsr"], cost[key]["bptt"], strict=True)
        of_training.append((name, *(f"{dsr / bptt:.3f}" for dsr, bptt in pairs)))
    width = max(len(row[0]) for row in (*rows, *of_training))
    lines = [f"{row[0]:<{width}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in (*rows, *of_training)]
    text = [*lines[:2], "mean error of the representation, in thresholds:", *lines[2 : len(rows)]]
    return "\n".join([*text, "a training step, relative to backpropagation through time:", *lines[len(rows) :]])
