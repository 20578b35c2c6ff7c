"""A trained network and the test images of all its classes, read from a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.analysis.statistics.tuning import class_selectivity
from alade_brian.config.run import config_from
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.data import ImageSet
from alade_brian.learning.checkpoint import load_checkpoint
from alade_brian.runs.folder import RunFolder, read_json
from alade_brian.runs.incremental_run import evenly_spaced
from alade_brian.runs.setup import convert_options, load_images, make_scenario
from alade_brian.simulation import SimulationSettings, open_simulator
from alade_brian.spec.network import NetworkSpec

# One program for all extractors; what a perturbed one answers is never asked for again.
PARTS: dict[str, Any] = {"reuse": True, "keep_answers": False}


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network and the test images of all its classes.

    digest       of checkpoint and choice of images: what results belong to
    best         the best accuracy ever on each task's test images while the tasks were learnt; None where that is not
                 known
    class_names  in class order; empty where they are not known
    """

    name: str
    digest: str
    spec: NetworkSpec
    images: ImageSet
    classes: int
    best: list[float] | None = None
    class_names: tuple[str, ...] = ()

    @cached_property
    def selectivity(self) -> dict[str, np.ndarray]:
        """Class selectivity of every neuron of the unperturbed network, on the test images."""
        simulator = open_simulator(self.spec, SimulationSettings(**PARTS))
        found = [responses.spikes for _, responses in simulator.chunks(self.images.images)]
        return {
            p.name: class_selectivity(np.concatenate([s[p.name] for s in found]), self.images.labels)
            for p in self.spec.spiking
        }


def read_trained_network(checkpoint: Path, count: int | None, data_root: str | None = None) -> TrainedNetwork:
    """The network of a checkpoint and at most `count` test images of the classes it has seen, spread over them.

    UserError where the checkpoint or its data set cannot be read.
    """
    network, header = load_checkpoint(checkpoint)
    config = config_from({**header["config"], **({"data_root": data_root} if data_root else {})}, str(checkpoint))
    dataset = load_images(config)
    scenario = make_scenario(config, dataset)
    images = evenly_spaced(scenario.test_set(list(scenario)[header["task"] - 1]), count)
    digest = hashlib.sha256(checkpoint.read_bytes() + images.indices.tobytes()).hexdigest()
    spec = convert(network, dataset.image_shape, **convert_options(dataset))
    best = _best(RunFolder(checkpoint.parent.parent), header["task"])
    names = tuple(header.get("class_names", ()))
    return TrainedNetwork(
        f"{header['dataset']}, {header['method']}", digest, spec, images, header["outputs"], best, names
    )  # fmt: skip


def _best(run: RunFolder, task: int) -> list[float] | None:
    """From the metrics of the run that a checkpoint belongs to."""
    if not run.metrics.is_file():
        return None
    curves = [found["accuracy_per_task_brian2"] for found in read_json(run.metrics)["tasks"][:task]]
    return [max(curve[k] for curve in curves[k:]) for k in range(task)] if len(curves) == task else None
