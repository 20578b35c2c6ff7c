"""A trained network and the test images of all its classes, read from a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.analysis.metrics.metrics_file import read_metrics
from alade_brian.analysis.problems import PROBLEMS, Problem, problem_of
from alade_brian.analysis.statistics.tuning import class_selectivity
from alade_brian.config.run import config_from
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.data import Dataset, ImageSet
from alade_brian.errors import UserError
from alade_brian.learning.checkpoint import check_of_run, load_checkpoint
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.incremental_run import evenly_spaced
from alade_brian.runs.setup import convert_options, load_images, make_scenario
from alade_brian.simulation import SimulationSettings, open_simulator
from alade_brian.spec import NetworkSpec

# One program for all extractors; what a perturbed one answers is never asked for again.
PARTS: dict[str, Any] = {"reuse": True, "keep_answers": False}


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network and the test images of all its classes.

    digest       of checkpoint and choice of images: what results belong to
    outputs      as many as it has classes, or values
    best         the best accuracy (of values: R2) ever on each task's test images while the tasks were learnt; None
                 where that is not known
    class_names  in class order; empty where they are not known, or values were learnt
    """

    name: str
    digest: str
    spec: NetworkSpec
    images: ImageSet
    outputs: int
    best: list[float] | None = None
    class_names: tuple[str, ...] = ()
    _selectivity: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    @property
    def problem(self) -> Problem:
        """What the network learnt: classes, or values."""
        return PROBLEMS.find(self.images.problem)

    def selectivity(self, settings: SimulationSettings) -> dict[str, np.ndarray]:
        """Class selectivity of every neuron of the unperturbed network, on the test images; simulated once. UserError
        where these have no classes."""
        if self.problem.labels(self.images) is None:
            raise UserError(
                f"neurons are selective for classes, and '{self.name}' learnt values; use another perturbation than "
                "'selective-lesion'"
            )
        if not self._selectivity:
            simulator = open_simulator(self.spec, settings)
            found = [responses.spikes for _, responses in simulator.chunks(self.images.images)]
            for p in self.spec.spiking:
                spikes = np.concatenate([s[p.name] for s in found])
                self._selectivity[p.name] = class_selectivity(spikes, self.images.labels)
        return self._selectivity


def read_trained_network(checkpoint: Path, count: int | None, data_root: str | None = None) -> TrainedNetwork:
    """The network of a checkpoint and at most `count` test images of the classes it has seen, spread over them.

    UserError where the checkpoint or its data set cannot be read.
    """
    network, header = load_checkpoint(checkpoint)
    dataset, images = evaluated_images(header, str(checkpoint), count, data_root)
    digest = hashlib.sha256(checkpoint.read_bytes() + images.indices.tobytes()).hexdigest()
    spec = convert(network, dataset.image_shape, **convert_options(dataset, network))
    best = _best(RunFolder(checkpoint.parent.parent), header["task"])
    names = tuple(header.get("class_names", ()))
    return TrainedNetwork(
        f"{header['dataset']}, {header['method']}", digest, spec, images, header["outputs"], best, names
    )  # fmt: skip


def evaluated_images(
    header: Mapping[str, Any], origin: str, count: int | None, data_root: str | None = None
) -> tuple[Dataset, ImageSet]:
    """The data set of a checkpoint's header, and at most `count` of the images that its run was evaluated on after its
    task, spread over them; `origin` is named where something is wrong. UserError if the data set cannot be read."""
    check_of_run(header, origin)
    config = config_from({**header["config"], **({"data_root": data_root} if data_root else {})}, origin)
    dataset = load_images(config)
    scenario = make_scenario(config, dataset)
    if not 1 <= header["task"] <= len(scenario):
        raise UserError(
            f"{origin} is of task {header['task']}, and its run has {len(scenario)}; use another checkpoint"
        )
    if tuple(header["image_shape"]) != dataset.image_shape:
        raise UserError(
            f"{origin} takes images of {tuple(header['image_shape'])}, and those of '{dataset.name}' have "
            f"{dataset.image_shape}; use another checkpoint or data set"
        )
    return dataset, evenly_spaced(scenario.test_set(list(scenario)[header["task"] - 1]), count)


def _best(run: RunFolder, task: int) -> list[float] | None:
    """From the metrics of the run that a checkpoint belongs to."""
    if not run.metrics.is_file():
        return None
    metrics = read_metrics(run.metrics)
    curves = [problem_of(metrics).by_task(found) for found in metrics["tasks"][:task]]
    return [max(curve[k] for curve in curves[k:]) for k in range(task)] if len(curves) == task else None
