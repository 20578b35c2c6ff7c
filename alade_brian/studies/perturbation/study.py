"""A study of perturbations: which strengths and repeats are measured, and the results, kept measurement by measurement.

`results.json` holds everything: the network and its images, the accuracy on each task's images without a perturbation
(the same for all: strength 0 changes no spike), and that for every perturbation, strength and repeat. It is whole after
each measurement, so that a study that was stopped can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.content import NOTHING, fault
from alade_brian.errors import UserError
from alade_brian.files import write_json
from alade_brian.outputs import is_unused
from alade_brian.perturbations import Perturbation, Presentation
from alade_brian.perturbations.neurons import SelectiveLesion
from alade_brian.runs.folder import read_json
from alade_brian.runs.subject import TrainedNetwork
from alade_brian.simulation import SimulationSettings, open_simulator

FORMAT = 2
_MEASURED = {str: object}
_RESULTS = {
    "format": int, "subject": str, "digest": str, "tasks": [int], "images_per_task": [int],
    "baseline": (_MEASURED, NOTHING),
    "perturbations": {str: {"unit": str, "strengths": {str: {str: _MEASURED}}}},
}  # fmt: skip
# Noise is drawn and shown for so many images at a time.
IMAGES_AT_ONCE = 250


@dataclass(frozen=True)
class Measurement:
    """One measurement. `repeat` seeds the perturbation. Without a perturbation: the network as it is."""

    perturbation: Perturbation | None = None
    strength: float = 0.0
    repeat: int = 0

    @property
    def keys(self) -> tuple[str, str, str]:
        assert self.perturbation is not None
        return self.perturbation.key, f"{self.strength:g}", str(self.repeat)


def measurements_of(perturbation: Perturbation, strengths: Sequence[float], repeats: int) -> Iterator[Measurement]:
    """Every strength but 0, as often as there are repeats, where repeats differ; 0 itself only if there is no other,
    since there every perturbation leaves the network as it is."""
    if not any(strengths):
        yield Measurement(perturbation)
    for strength in (s for s in strengths if s):
        perturbation.check(strength)
        yield from (
            Measurement(perturbation, strength, repeat) for repeat in range(repeats if perturbation.random else 1)
        )


class Study:
    """What is known of a subject, in a folder."""

    def __init__(self, folder: Path, subject: TrainedNetwork) -> None:
        self.file, self.subject = folder / "results.json", subject
        if self.file.is_file():
            self.results = read_study(folder, "choose another --out")
            if self.results.get("digest") != subject.digest:
                raise UserError(
                    f"{folder} holds a study of another network or of other images; choose another --out, or the "
                    "same checkpoint and --images"
                )
        elif not is_unused(folder):
            raise UserError(f"{folder} holds files but no study; choose another folder with --out")
        else:
            images = subject.images
            tasks, counts = np.unique(images.tasks, return_counts=True)
            self.results = {
                "format": FORMAT, "subject": subject.name, "digest": subject.digest,
                **subject.problem.study_facts(subject.outputs, images, subject.class_names),
                "tasks": tasks.tolist(), "images_per_task": counts.tolist(), "best": subject.best,
                "baseline": None, "perturbations": {},
            }  # fmt: skip

    def missing(self, wanted: list[Measurement]) -> list[Measurement]:
        """The measurements that are missing, that of the unchanged network first."""
        first = [Measurement()] if self.results["baseline"] is None else []
        return first + [measurement for measurement in wanted if self._find(measurement) is None]

    def keep(self, measurement: Measurement, found: dict[str, Any]) -> None:
        """Keep a measurement; the file is whole before and after."""
        if measurement.perturbation is None:
            self.results["baseline"] = found
        else:
            _, strength, repeat = measurement.keys
            self._place(measurement.perturbation)["strengths"].setdefault(strength, {})[repeat] = found
        self._write()

    def keep_unperturbed(self, perturbation: Perturbation) -> None:
        """Enter a perturbation at strength 0, where the measurement is that of the unchanged network."""
        self._place(perturbation)
        self._write()

    def _place(self, perturbation: Perturbation) -> dict[str, Any]:
        new = {"unit": perturbation.unit, "whole": perturbation.whole, "strengths": {}}
        return self.results["perturbations"].setdefault(perturbation.key, new)

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, self.results)

    def _find(self, measurement: Measurement) -> dict[str, Any] | None:
        name, strength, repeat = measurement.keys
        found = self.results["perturbations"].get(name, {}).get("strengths", {})
        return found.get(strength, {}).get(repeat)


def read_study(folder: Path, remedy: str = "measure it again with `alade-brian perturb`") -> dict[str, Any]:
    """What a folder of `alade-brian perturb` holds; UserError where it holds no study, none of this version, or a
    damaged one."""
    file = folder / "results.json"
    found = read_json(file)
    if not isinstance(found, dict) or "perturbations" not in found:
        raise UserError(f"{folder} holds no study of one network; {remedy}")
    if found.get("format") != FORMAT:
        raise UserError(f"{folder} holds a study of another version of this program; {remedy}")
    wrong = fault(found, _RESULTS)
    if wrong is not None:
        raise UserError(f"{file} is damaged ({wrong}); restore it, or {remedy}")
    return found


def measure_missing(
    study: Study,
    missing: Iterable[Measurement],
    settings: SimulationSettings,
    say: Callable[[str], None],
    pass_over: bool,
) -> None:
    """Make the missing measurements one by one.

    pass_over   a perturbation that the network cannot have is said and left out, instead of a UserError
    """
    refused: set[str] = set()
    for measurement in missing:
        name = "" if measurement.perturbation is None else measurement.perturbation.key
        if name in refused:
            continue
        try:
            if measurement.perturbation is not None and not measurement.strength:
                study.keep_unperturbed(measurement.perturbation)
                continue
            study.keep(measurement, measure(study.subject, measurement, settings))
        except UserError as error:
            if not pass_over or measurement.perturbation is None:
                raise
            refused.add(name)
            say(str(error))
    if not study.results["perturbations"]:
        raise UserError("no perturbation applies to this network; the reasons are above")


def measurements(
    perturbations: Iterable[Perturbation], repeats: int, strengths: Sequence[float] | None = None
) -> list[Measurement]:
    """All measurements of these perturbations; strengths None: their own."""
    return [
        measurement
        for known in perturbations
        for measurement in measurements_of(known, strengths or known.strengths, repeats)
    ]


def measure(subject: TrainedNetwork, measurement: Measurement, settings: SimulationSettings) -> dict[str, Any]:
    """Of the perturbed network: what `Problem.measurement` gives, and synaptic events per image."""
    images, events = subject.images, 0
    outputs = np.empty((len(images), subject.outputs))
    if isinstance(measurement.perturbation, SelectiveLesion):
        measurement.perturbation.selectivity = subject.selectivity(settings)
    simulator = None
    for start in range(0, len(images), IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        shown = Presentation(subject.spec, images.images[part], start)
        if measurement.perturbation is not None:
            shown = measurement.perturbation(shown, measurement.strength, measurement.repeat)
        # The network is the same for every part: what is drawn for it depends on the repeat alone.
        if simulator is None:
            simulator = open_simulator(shown.spec, settings)
        for chunk, found in simulator.packed_chunks(shown.images):
            outputs[part][chunk] = found.logits
            assert found.events is not None
            events += int(np.delete(found.events, sorted(shown.uncounted_projections), axis=1).sum())
    return {**subject.problem.measurement(outputs, images), "events_per_image": events / len(images)}
