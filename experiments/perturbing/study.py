"""A study of perturbations: which strengths and repeats are measured, and what is found, kept cell by cell.

`results.json` holds everything: the network and its images, and for every perturbation, strength and repeat the
accuracy on each task's images. It is whole after each cell, so that a study that was stopped goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.config import config_from
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.conversion.torch_lower import convert
from alade_brian.data import ImageSet
from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.job import spread
from alade_brian.job_setup import coding, load_images, make_scenario
from alade_brian.learning.checkpoint import load_checkpoint
from alade_brian.perturbations import Perturbation, Shown
from alade_brian.runs import read_json
from alade_brian.simulation import SimulationSettings, open_simulator
from alade_brian.simulation.events import EventCounter

FORMAT = 1
# Noise is drawn and shown for so many images at a time.
IMAGES_AT_ONCE = 250


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network and the test images of all its classes.

    digest   of checkpoint and choice of images: what results belong to
    """

    name: str
    digest: str
    spec: NetworkSpec
    images: ImageSet
    classes: int


@dataclass(frozen=True)
class Cell:
    """One measurement. `repeat` seeds the perturbation."""

    perturbation: Perturbation
    strength: float
    repeat: int

    @property
    def keys(self) -> tuple[str, str, str]:
        return self.perturbation.name, f"{self.strength:g}", str(self.repeat)


def read_subject(checkpoint: Path, count: int | None, data_root: str | None = None) -> Subject:
    """The network of a checkpoint and at most `count` test images of the classes it has seen, spread over them.

    UserError where the checkpoint or its data set cannot be read.
    """
    network, header = load_checkpoint(checkpoint)
    config = config_from({**header["config"], **({"data_root": data_root} if data_root else {})}, str(checkpoint))
    dataset = load_images(config)
    scenario = make_scenario(config, dataset)
    images = spread(scenario.test_set(list(scenario)[header["task"] - 1]), count)
    digest = hashlib.sha256(checkpoint.read_bytes() + images.indices.tobytes()).hexdigest()
    spec = convert(network, dataset.image_shape, **coding(dataset))
    return Subject(f"{header['dataset']}, {header['method']}", digest, spec, images, network.classes)


def cells(perturbation: Perturbation, strengths: list[float], repeats: int) -> Iterator[Cell]:
    """Strength 0 always and once; others as often as there are repeats, where repeats differ."""
    for strength in [0.0, *(s for s in strengths if s)]:
        perturbation.check(strength)
        number = repeats if perturbation.random and strength else 1
        yield from (Cell(perturbation, strength, repeat) for repeat in range(number))


class Study:
    """What is known of a subject, in a folder."""

    def __init__(self, folder: Path, subject: Subject) -> None:
        self.file, self.subject = folder / "results.json", subject
        if self.file.is_file():
            self.results = read_json(self.file)
            if self.results.get("digest") != subject.digest:
                raise UserError(
                    f"{folder} holds a study of another network or of other images; choose another --out, or the "
                    "same checkpoint and --images"
                )
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} holds files but no study; choose another folder with --out")
        else:
            tasks, counts = np.unique(subject.images.tasks, return_counts=True)
            self.results = {
                "format": FORMAT, "subject": subject.name, "digest": subject.digest, "classes": subject.classes,
                "tasks": tasks.tolist(), "images_per_task": counts.tolist(), "perturbations": {},
            }  # fmt: skip

    def missing(self, wanted: list[Cell]) -> list[Cell]:
        """Those cells that are not known yet."""
        return [cell for cell in wanted if self._find(cell) is None]

    def keep(self, cell: Cell, found: dict[str, Any]) -> None:
        """Note a cell; the file is whole before and after."""
        name, strength, repeat = cell.keys
        place = self.results["perturbations"].setdefault(name, {"unit": cell.perturbation.unit, "strengths": {}})
        place["strengths"].setdefault(strength, {})[repeat] = found
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, self.results)

    def _find(self, cell: Cell) -> dict[str, Any] | None:
        name, strength, repeat = cell.keys
        found = self.results["perturbations"].get(name, {}).get("strengths", {})
        return found.get(strength, {}).get(repeat)


def measure(subject: Subject, cell: Cell, settings: SimulationSettings) -> dict[str, Any]:
    """Accuracy on each task's images, on all, and synaptic events per image of the perturbed network."""
    images, right, events = subject.images, [], 0
    simulator = None
    for start in range(0, len(images), IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        shown = cell.perturbation(Shown(subject.spec, images.images[part], start), cell.strength, cell.repeat)
        # The network is the same for every part: what is drawn for it depends on the repeat alone.
        if simulator is None:
            simulator, counter = open_simulator(shown.spec, settings), EventCounter(shown.spec)
        for chunk, found in simulator.packed_chunks(shown.images):
            labels = images.labels[part][chunk]
            right.append(found.logits.argmax(1) == labels)
            counted = found.events if found.events is not None else counter.count(found.unpacked())
            events += int(counted.sum())
    hit = np.concatenate(right)
    per_task = [float(hit[images.tasks == task].mean()) for task in np.unique(images.tasks)]
    return {"accuracy": float(hit.mean()), "per_task": per_task, "events_per_image": events / len(images)}
