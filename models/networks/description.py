"""What a backbone is built from: one frozen description of its layers and neurons, ready for JSON."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from alade_brian.models.layers.first_to_fire import FirstToFire
from alade_brian.models.layers.readouts import LeakyMean, MeanOverSteps, OverSteps
from alade_brian.models.neurons import NEURONS
from alade_brian.models.neurons.latency import RelPspIF
from alade_brian.models.neurons.neuron import SpikingNeuron
from alade_brian.models.neurons.quantal import QuantalLIF
from alade_brian.models.neurons.surrogate import surrogate_of

Norm = Literal["batch", "none"]


@dataclass(frozen=True)
class BackboneDescription:
    """The numbers of a backbone.

    image_shape      (channels, height, width)
    backbone         a name that `make_backbone` knows
    width            multiplies the channels of a ResNet (rounded, at least 1)
    channels, strides   of each stage of the small network
    pool             window of the average pooling behind its last stage, which must fit into its image
    hidden           units of each fully connected layer behind it, for a backbone that has such layers
    norm             ``batch``, or ``none``: a bias instead
    steps            time steps of a presentation
    decay            of the membrane, for neurons that have a constant of this name
    threshold        of the neurons
    neuron           class of the neurons: the name of a spiking one of `NEURONS`
    neuron_options   further keywords of that class
    surrogate        of the neurons: a name of `SURROGATES`
    sequence         images are ``(steps, n, C, H, W)``
    """

    image_shape: tuple[int, int, int]
    backbone: str = "small"
    width: float = 1.0
    channels: tuple[int, ...] = (16, 32, 64)
    strides: tuple[int, ...] = (1, 2, 1)
    pool: int = 2
    hidden: tuple[int, ...] = ()
    norm: Norm = "batch"
    steps: int = 4
    decay: float = 0.5
    threshold: float = 1.0
    neuron: str = "LIF"
    neuron_options: Mapping[str, Any] = field(default_factory=dict)
    surrogate: str = "triangle"
    sequence: bool = False

    def make_neuron(self) -> SpikingNeuron:
        """A layer of these neurons; ValueError if the class does not exist or does not take the options."""
        cls = spiking_class(self.neuron)
        known = _keywords(cls)
        given: dict[str, Any] = {"decay": self.decay} if "decay" in known else {}
        given |= {"threshold": self.threshold, "surrogate": surrogate_of(self.surrogate), **self.neuron_options}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"the neuron {self.neuron} takes no '{unknown[0]}'; it takes {', '.join(known)}")
        return cls(self.steps, **given)

    def make_decision(self) -> OverSteps | FirstToFire:
        """The mean over the steps that fits these neurons; of neurons that fire once, which is the first."""
        neuron = self.make_neuron()
        if isinstance(neuron, RelPspIF):
            return FirstToFire(neuron)
        if isinstance(neuron, QuantalLIF):
            # `neuron_options` may replace the description's decay.
            return LeakyMean(self.steps, float(neuron.decay))
        return MeanOverSteps(self.steps)

    def record(self) -> dict[str, Any]:
        """The numbers, JSON-ready; `described` reads them. Hidden layers are recorded where there are any."""
        return {key: value for key, value in asdict(self).items() if key != "hidden" or value}


def described(record: Mapping[str, Any]) -> BackboneDescription:
    """The description that `BackboneDescription.record` gave; TypeError where keys are unknown or missing."""
    lists = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
    return BackboneDescription(**{**record, **lists})


def spiking_neurons() -> dict[str, type[SpikingNeuron]]:
    """All spiking neuron classes by name."""
    return {name: cls for name, cls in NEURONS.items() if issubclass(cls, SpikingNeuron)}


def spiking_class(name: str) -> type[SpikingNeuron]:
    """The spiking neuron class of that name; ValueError where there is none."""
    classes = spiking_neurons()
    if name not in classes:
        raise ValueError(f"there is no spiking neuron '{name}'; use one of {', '.join(sorted(classes))}")
    return classes[name]


def _keywords(cls: type[SpikingNeuron]) -> list[str]:
    """Names of the constants and conventions that a class and those it is derived from take."""
    taken: list[str] = []
    for each in (c for c in cls.__mro__ if issubclass(c, SpikingNeuron) and "__init__" in vars(c)):
        for name, parameter in inspect.signature(each.__init__).parameters.items():
            plain = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if plain and name not in ("self", "steps", *taken):
                taken.append(name)
    return taken
