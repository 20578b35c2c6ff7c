"""Take a trained network elsewhere: a NIR graph, a Brian2 script, a specification file, or the table of its layers.

    alade-brian convert runs/digits-alade-1993/checkpoints/task-05.safetensors --table
    alade-brian convert runs/digits-alade-1993/checkpoints/task-05.safetensors --to model.py
    alade-brian convert model.nir --steps 10 --to model.py

MODEL is a checkpoint, a NIR graph (.nir) or a specification (.npz). The ending of --to decides what is written: .nir
(Neuromorphic Intermediate Representation), .py (a Brian2 script that needs brian2 and numpy only, with its numbers in
an .npz of the same name; it can be imported, and of a run's checkpoint it names the classes and normalises raw images),
.npz (this program's own specification).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from alade_brian.commands.options import STEPS, TO, add_nir_reading
from alade_brian.conversion.nir_graphs.write import reader_warnings, write_nir
from alade_brian.conversion.to_brian2.script import write_script
from alade_brian.errors import UserError
from alade_brian.outputs import check_new_file
from alade_brian.runs.model_file import load, trained_on
from alade_brian.simulation import SimulationSettings, advice
from alade_brian.spec import NetworkSpec
from alade_brian.spec.cost_table import format_rows, lowering_table
from alade_brian.spec.file import save_spec

ENDINGS = (".nir", ".py", ".npz")


def parser(prog: str = "alade-brian convert") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "model", type=Path, metavar="MODEL", help="a run's checkpoints/task-NN.safetensors, a .nir or an .npz"
    )
    what = p.add_mutually_exclusive_group(required=True)
    TO.add(what, ".nir, .py or .npz")
    what.add_argument("--table", action="store_true", help="print layers, neurons, synapses, bytes and path")
    nir = p.add_argument_group("a NIR graph that does not say it itself")
    STEPS.add(nir)
    add_nir_reading(nir)
    return p


def main(arguments: argparse.Namespace) -> int:
    """Convert; the exit code."""
    target = arguments.to
    if target is not None and target.suffix not in ENDINGS:
        raise UserError(f"--to {target}: the ending decides what is written; use one of {', '.join(ENDINGS)}")
    written = [target, *([target.with_suffix(".npz")] if target.suffix == ".py" else [])] if target else []
    for path in written:
        check_new_file(path, "--to")
    spec = load(
        arguments.model,
        steps=arguments.steps,
        dt=None if arguments.dt is None else arguments.dt * 1e-3,
        discretisation=arguments.discretisation,
        reset=arguments.reset,
        reset_timing=arguments.reset_timing,
    )
    if target is None:
        print(format_rows(lowering_table(spec)))
        print(advice(spec, SimulationSettings()))
        return 0
    _write(spec, target, arguments.model)
    print(f"wrote {' and '.join(map(str, written))}")
    if target.suffix == ".nir":
        for warning in reader_warnings(spec):
            print(f"a reader that ignores the metadata will not see: {warning}")
    return 0


def _write(spec: NetworkSpec, target: Path, model: Path) -> None:
    writers: dict[str, Callable[[], object]] = {
        ".nir": lambda: write_nir(spec, target),
        ".py": lambda: write_script(spec, target, trained_on(model)),
        ".npz": lambda: save_spec(spec, target),
    }
    try:
        writers[target.suffix]()
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}); choose another folder") from None
