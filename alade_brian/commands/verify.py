"""Compare a network of your own with its simulation: every spike of every layer, logits and predictions.

    alade-brian verify network.py:model images.npy
    alade-brian verify network.py:make_model events.npz --steps 10 --sequence --backend numpy
    alade-brian verify network.py:relu_network images.npy --relu --steps 32 --per channel

NETWORK is a torch module in the file, or a function that makes one without arguments; its code is run. IMAGES.npy holds
(images, ...) as the module takes them, an .npz one array or one called `images`; with --sequence (images, steps, ...).

With --relu the network has ReLU units. Spiking neurons take their places, with thresholds balanced on the images: an
approximation, whose gap is printed layer by layer. The spiking network is then compared with its simulation as any
other.

Exit code 0: every spike is the same; 1: some are not; 2: wrong use or input, or a layer that cannot be converted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from torch import nn

from alade_brian.commands.options import STEPS, add_simulation, simulation_settings
from alade_brian.conversion.from_torch.relu import convert_relu
from alade_brian.errors import UserError
from alade_brian.runs.own_network import read_images, read_labels, read_network
from alade_brian.simulation import SimulationSettings
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
    group = p.add_argument_group("a network with ReLU units")
    group.add_argument("--relu", action="store_true", help="put spiking neurons in the place of its ReLU units")
    group.add_argument(
        "--percentile", type=float, metavar="P", help="of the activations is the threshold (default: 99.9)"
    )
    group.add_argument("--per", choices=("layer", "channel"), help="what has a threshold of its own (default: layer)")
    group.add_argument("--labels", type=Path, metavar="FILE.npy", help="classes of the images, for accuracies")
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
    _check_relu(arguments)
    settings = simulation_settings(arguments)
    images = read_images(arguments.images)[: arguments.first]
    network = read_network(arguments.network)
    if arguments.relu:
        return _approximate(arguments, network, images, settings)
    found = verify(
        network, images, settings=settings, steps=arguments.steps,
        sequence=arguments.sequence, readout=arguments.readout, output=arguments.output,
    )  # fmt: skip
    print(found)
    return 0 if found.agrees else 1


def _check_relu(arguments: argparse.Namespace) -> None:
    """UserError where options of networks with ReLU units, and of others, meet."""
    own = {"--percentile": arguments.percentile, "--per": arguments.per, "--labels": arguments.labels}
    other = {"--sequence": arguments.sequence, "--readout": arguments.readout, "--output": arguments.output}
    for option, value in (other if arguments.relu else own).items():
        if value if arguments.relu else value is not None:
            raise UserError(f"{option} is {'not ' if arguments.relu else ''}for --relu; leave out one of the two")
    if arguments.relu and arguments.steps is None:
        raise UserError("--relu needs the number of time steps; add --steps N")


def _approximate(
    arguments: argparse.Namespace, network: nn.Module, images: np.ndarray, settings: SimulationSettings
) -> int:
    """Put spiking neurons in the place of ReLU units, print the gap, and compare with the simulation; the exit code."""
    given = {"percentile": arguments.percentile, "per": arguments.per}
    labels = None if arguments.labels is None else read_labels(arguments.labels)[: arguments.first]
    options = {key: value for key, value in given.items() if value is not None}
    made = convert_relu(network, images, steps=arguments.steps, **options)
    print(made.gap if labels is None else made.measure(images, labels))
    found = verify(made.network, images, made.spec, settings)
    print(found)
    return 0 if found.agrees else 1
