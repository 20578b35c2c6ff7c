"""What a perturbation is, and the registry of all."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from alade_brian import plugins
from alade_brian.errors import UserError
from alade_brian.registry import Registry
from alade_brian.spec import NetworkSpec, NeuronEquations, Population, Projection


@dataclass(frozen=True, eq=False)
class Presentation:
    """A network, and images as it takes them: ``(n, ...)``, or by the name of the stimulus where there are several.

    `first` is the number of the first image among all that are shown: random numbers belong to an image, not to a
    batch. `uncounted_projections` are the numbers of projections that a perturbation added as a device: they are no
    synapses of the network, and spikes that pass them are no synaptic events.
    """

    spec: NetworkSpec
    images: np.ndarray | Mapping[str, np.ndarray]
    first: int = 0
    uncounted_projections: frozenset[int] = frozenset()


class Perturbation(ABC):
    """A change with a strength; at strength 0 the network spikes exactly as without it.

    name       on the command line and in results
    unit       of the strength, as a figure's axis says it
    highest    strengths are from 0 to this; whole says that they are whole numbers
    strengths  what a study tries when it is told nothing, 0 among them
    random     whether it draws random numbers, so that a repeat with another seed is another network
    version    of a plug-in, a digest of its file: what another content measured is another result
    """

    name: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    highest: ClassVar[float] = math.inf
    whole: ClassVar[bool] = False
    strengths: ClassVar[tuple[float, ...]] = ()
    random: ClassVar[bool] = False
    version: str = ""

    @property
    def label(self) -> str:
        """Name and options."""
        return self.name

    @property
    def key(self) -> str:
        """What results are filed under: the label, and the version of a plug-in."""
        return f"{self.label}@{self.version}" if self.version else self.label

    def __call__(self, shown: Presentation, strength: float, seed: int = 0) -> Presentation:
        """The perturbed network and images. UserError where the strength is out of range, or the network cannot have
        this perturbation."""
        self.check(strength)
        return self.apply(shown, float(strength), seed)

    def check(self, strength: float) -> None:
        """UserError where a strength is out of range."""
        if not (math.isfinite(strength) and 0 <= strength <= self.highest):
            end = "up" if math.isinf(self.highest) else f"to {self.highest:g}"
            raise UserError(f"'{self.name}' has no strength {strength:g}; use 0 {end} ({self.unit})")
        if self.whole and strength != int(strength):
            raise UserError(f"'{self.name}' has no strength {strength:g}; use a whole number ({self.unit})")

    @abstractmethod
    def apply(self, shown: Presentation, strength: float, seed: int) -> Presentation:
        """As `__call__`, for a strength in range."""

    def refuse(self, reason: str) -> UserError:
        """The error that this network cannot have the perturbation."""
        return UserError(f"'{self.name}' does not suit this network: {reason}")


class SpecPerturbation(Perturbation):
    """A perturbation of the network alone."""

    def apply(self, shown: Presentation, strength: float, seed: int) -> Presentation:
        return dataclasses.replace(shown, spec=self.changed(shown.spec, strength, seed))

    @abstractmethod
    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        """The perturbed network."""


PERTURBATIONS: Registry[str, type[Perturbation]] = Registry("perturbation", also=(plugins.FORM,))


def perturbation(name: str, **options: Any) -> Perturbation:
    """The perturbation of that name, or the one that a plug-in's file holds; UserError if there is none."""
    cls = plugins.find(PERTURBATIONS, name, Perturbation)
    if not cls.name:
        raise UserError(f"the perturbation {name} has no name to file its results under; give its class a 'name'")
    try:
        made = cls(**options)
    except TypeError:
        raise UserError(f"the perturbation '{name}' does not take {', '.join(options)}; leave it out") from None
    if plugins.is_plugin(name):
        made.version = plugins.digest(name)[:8]
    return made


def as_sequences(shown: Presentation) -> tuple[NetworkSpec, dict[str, np.ndarray]]:
    """The same network whose held images are shown anew in every step, and its images by stimulus."""
    spec = shown.spec
    given = shown.images if isinstance(shown.images, Mapping) else {spec.stimulus.name: shown.images}
    if spec.stimulus.coding != "direct":
        return spec, dict(given)
    stimuli = tuple(dataclasses.replace(s, coding="sequence") for s in spec.stimuli)
    images = {name: np.repeat(array[:, None], spec.steps, axis=1) for name, array in given.items()}
    return dataclasses.replace(spec, stimuli=stimuli), images


def image_numbers(shown: Presentation) -> range:
    """The numbers of the images that are shown."""
    given = shown.images if isinstance(shown.images, np.ndarray) else next(iter(shown.images.values()))
    return range(shown.first, shown.first + len(given))


def each_spiking(spec: NetworkSpec, change: Callable[[Population], NeuronEquations]) -> NetworkSpec:
    """The network with the neurons of every spiking population changed."""
    for population in spec.spiking:
        spec = spec.replace_population(population.name, neuron=change(population))
    return spec


def each_weighted(spec: NetworkSpec, change: Callable[[Projection, np.ndarray], np.ndarray]) -> NetworkSpec:
    """The network with the weights of every projection changed; what has none (pooling) stays."""

    def changed(projection: Projection) -> Projection:
        operator = projection.operator
        if not operator.has_weights:
            return projection
        return dataclasses.replace(projection, operator=operator.with_values(change(projection, operator.values())))

    return dataclasses.replace(spec, projections=tuple(changed(p) for p in spec.projections))


def generator(seed: int, *place: str | int) -> np.random.Generator:
    """Random numbers of a place in the network (a population's or projection's name, an image's number)."""
    name = hashlib.sha256("\0".join(map(str, place)).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(name)]))
