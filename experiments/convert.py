"""Take a trained network elsewhere: a NIR graph, a Brian2 script, a specification file, or the table of its layers.

    python experiments/convert.py runs/digits-alade-1993/checkpoints/task-05.safetensors --table
    python experiments/convert.py runs/digits-alade-1993/checkpoints/task-05.safetensors --to model.py

The ending of --to decides: .nir (Neuromorphic Intermediate Representation), .py (a Brian2 script that needs brian2 and
numpy only, with its numbers in an .npz of the same name), .npz (this program's own specification).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alade_brian.cli import run_command
from alade_brian.conversion.brian2_script import write_script
from alade_brian.conversion.nir_write import write_nir
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.conversion.spec_file import save_spec
from alade_brian.conversion.table import format_rows, lowering_table
from alade_brian.conversion.torch_lower import convert
from alade_brian.errors import UserError
from alade_brian.learning.checkpoint import load_checkpoint

WRITERS = {".nir": write_nir, ".py": write_script, ".npz": save_spec}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="convert.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a run's checkpoints/task-NN.safetensors")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", type=Path, metavar="FILE", help="write model.nir, model.py or model.npz")
    what.add_argument("--table", action="store_true", help="print layers, neurons, synapses, bytes and path")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Convert; the exit code."""
    target = arguments.to
    if target is not None and target.suffix not in WRITERS:
        raise UserError(f"--to {target}: the ending decides what is written; use one of {', '.join(WRITERS)}")
    written = [target, *([target.with_suffix(".npz")] if target.suffix == ".py" else [])] if target else []
    for path in written:
        if path.exists():
            raise UserError(f"{path} is there already; remove it, or write to another file")
    network, header = load_checkpoint(arguments.checkpoint)
    spec = convert(network, tuple(header["image_shape"]))
    if target is None:
        print(format_rows(lowering_table(spec)))
        return 0
    _write(spec, target)
    print(f"wrote {' and '.join(map(str, written))}")
    return 0


def _write(spec: NetworkSpec, target: Path) -> None:
    try:
        WRITERS[target.suffix](spec, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror}); choose another folder") from None


if __name__ == "__main__":
    run_command(parser(), main)
