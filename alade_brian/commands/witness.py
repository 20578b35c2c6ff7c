"""Ask a second simulator: the same network in Brian2 and in NEST, every spike of both compared.

    alade-brian witness runs/digits-alade-1993/checkpoints/task-05.safetensors --images 100
    alade-brian witness --dense fashion-mnist --images 1000

The first reads the network of a checkpoint and shows it images that its run was evaluated on, of all classes it has
learnt. The second trains a fully connected network (pixels-256-128-classes) on a data set first. It ends with exit code
1 where a spike differs, or no neuron fired at all.
Needs NEST: pip install 'alade-brian[nest]'. docs/nest.md says what is simulated, and how its conventions differ.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from alade_brian.commands.options import (
    DATA_ROOT,
    IMAGES,
    OUT,
    SEED,
    add_checkpoint,
    add_simulation,
    simulation_settings,
)
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.learning.dense import accuracy, read_images, train_dense
from alade_brian.outputs import check_new_file
from alade_brian.runs.subject import read_trained_network
from alade_brian.simulation.nest import check_nest, find_nest
from alade_brian.verification.second_simulator import ComparedNetwork, compare


def parser(prog: str = "alade-brian witness") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint(p, nargs="?")
    p.add_argument("--dense", metavar="DATASET", help="instead: train a fully connected network on this data set")
    SEED.add(p, "of the training of --dense", default=1)
    IMAGES.add(p, "spread evenly", default=100)
    DATA_ROOT.add(p, "default: as in training")
    OUT.add(p, "default: nowhere", metavar="FILE.json")
    add_simulation(p, workers=1)
    return p


def main(arguments: argparse.Namespace) -> int:
    """Read or train, simulate twice, compare; the exit code."""
    if (arguments.checkpoint is None) == (arguments.dense is None):
        raise UserError("name either a CHECKPOINT or --dense DATASET")
    if arguments.images < 1:
        raise UserError(f"--images {arguments.images}: use at least 1")
    check_new_file(arguments.out, "--out")
    settings = simulation_settings(arguments)
    find_nest()
    subject = learnt(arguments) if arguments.dense is None else dense(arguments)
    check_nest(subject.spec)
    found = compare(subject, settings)
    print(found.table())
    if arguments.out is not None:
        write_json(arguments.out, found.record())
    return 0 if found.agrees else 1


def learnt(arguments: argparse.Namespace) -> ComparedNetwork:
    """The network of a checkpoint."""
    subject = read_trained_network(arguments.checkpoint, arguments.images, arguments.data_root)
    return ComparedNetwork(subject.name, subject.spec, subject.images.images, subject.problem.labels(subject.images))


def dense(arguments: argparse.Namespace) -> ComparedNetwork:
    """A fully connected network, trained now. One thread, so that it is the same network each time."""
    torch.set_num_threads(1)
    dataset = read_images(arguments.dense, arguments.data_root)
    network = train_dense(dataset, arguments.seed)
    reached = accuracy(network, dataset)
    print(f"trained on {dataset.name}: accuracy {reached:.4f} on all {len(dataset.test_labels):,} test images")
    count = min(arguments.images, len(dataset.test_labels))
    chosen = np.linspace(0, len(dataset.test_labels) - 1, count).round().astype(np.int64)
    return ComparedNetwork(
        f"{dataset.name}, fully connected",
        convert(network, dataset.image_shape),
        dataset.test_images[chosen],
        dataset.test_labels[chosen],
        {"seed": arguments.seed, "test_accuracy_in_torch": reached},
    )
