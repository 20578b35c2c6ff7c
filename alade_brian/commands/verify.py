"""Compare a network of your own with its simulation: every spike of every layer, logits and predictions.

    alade-brian verify network.py:model images.npy
    alade-brian verify network.py:make_model events.npz --steps 10 --sequence --backend numpy

NETWORK is a torch module in the file, or a function that makes one without arguments; its code is run. IMAGES.npy holds
(images, ...) as the module takes them, an .npz one array or one called `images`; with --sequence (images, steps, ...).

Exit code 0: every spike is the same; 1: some are not; 2: wrong use or input, or a layer that cannot be converted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alade_brian.commands.options import STEPS, add_simulation, simulation_settings
from alade_brian.errors import UserError
from alade_brian.runs.own_network import read_images, read_network
from alade_brian.verification.verify import verify


def parser(prog: str = "alade-brian verify") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("network", metavar="FILE.py:NETWORK", help="a torch module, or a function that makes one")
    p.add_argument("images", type=Path, metavar="IMAGES", help="an .npy or .npz file")
    STEPS.add(p, "if the forward itself does not fix them")
    p.add_argument("--sequence", action="store_true", help="another image in every step: (images, steps, ...)")
    p.add_argument("--readout", metavar="NAME", help="how every step that the forward returns is read (default: spikes "
                   "are counted, anything else is averaged)")  # fmt: skip
    p.add_argument("--output", type=_output, default=0, metavar="N", help="which of several tensors is the answer: its "
                   "number, or its key in a dict")  # fmt: skip
    p.add_argument("--first", type=int, metavar="N", help="only the first N images")
    add_simulation(p)
    return p


def _output(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def main(arguments: argparse.Namespace) -> int:
    """Convert, simulate, compare, print; the exit code."""
    if arguments.first is not None and arguments.first < 1:
        raise UserError(f"--first {arguments.first}: use at least 1")
    if arguments.steps is not None and arguments.steps < 1:
        raise UserError(f"--steps {arguments.steps}: use at least 1")
    settings = simulation_settings(arguments)
    images = read_images(arguments.images)[: arguments.first]
    found = verify(
        read_network(arguments.network), images, settings=settings, steps=arguments.steps,
        sequence=arguments.sequence, readout=arguments.readout, output=arguments.output,
    )  # fmt: skip
    print(found)
    return 0 if found.agrees else 1
