"""The waist of the project: a spiking network as frozen dataclasses and numpy arrays, without torch and without Brian2.

Whatever decides a spike is written here and nowhere else: the comparison sign, the reset rule, the order of leak and
reset, the bias, the order of channels, the order of layers within a step. A specification checks itself when it is
made.

Shapes are channels-first, ``(features,)``, ``(channels, length)`` or ``(channels, height, width)``; a neuron's index is
its position in the C-ordered array of that shape, as in PyTorch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

import numpy as np

from alade_brian.spec.errors import LARGEST, Shape, SpecError, check_name, check_shape, float64, integer, require
from alade_brian.spec.neuron import NeuronEquations
from alade_brian.spec.operators import Operator
from alade_brian.spec.readouts import DECODINGS
from alade_brian.spec.release import Release

Coding = Literal["direct", "sequence", "spikes"]


@dataclass(frozen=True)
class Stimulus:
    """What is shown to the network. Its values act as a current.

    coding   ``direct``: one array of `shape`, held for all steps of its presentation; ``sequence``: one array per step;
             ``spikes``: one array per step, of zeros and ones
    """

    shape: Shape
    name: str = "image"
    coding: Coding = "direct"

    def __post_init__(self) -> None:
        require(
            self.coding in get_args(Coding),
            f"unknown coding '{self.coding}' of the stimulus: use one of {', '.join(get_args(Coding))}",
        )
        check_name(self.name, "a stimulus")
        object.__setattr__(self, "shape", check_shape(self.shape, "the stimulus"))

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one type. `bias` (same shape, or None) is added to its input in every step."""

    name: str
    shape: Shape
    neuron: NeuronEquations
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "a population")
        object.__setattr__(self, "shape", check_shape(self.shape, f"population '{self.name}'"))
        require(isinstance(self.neuron, NeuronEquations), f"population '{self.name}' has no neuron: give it equations")
        if self.bias is not None:
            object.__setattr__(self, "bias", float64(self.bias))
            require(
                self.bias.shape == self.shape,
                f"the bias of '{self.name}' has shape {self.bias.shape}, not {self.shape}",
            )
            require(bool(np.all(np.isfinite(self.bias))), f"the bias of '{self.name}' holds a value that is not finite")
        for key, parameter in self.neuron.parameters.items():
            try:
                np.broadcast_to(parameter.value, self.shape)
            except ValueError:
                raise SpecError(
                    f"parameter '{key}' of population '{self.name}' has shape {parameter.value.shape}, "
                    f"which does not fit the population's {self.shape}"
                ) from None

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def amplitude(self) -> np.ndarray:
        """What a spike counts for its targets, one number per neuron in the population's shape."""
        parameter = self.neuron.parameters.get("amplitude")
        return np.broadcast_to(1.0 if parameter is None else parameter.value, self.shape)


@dataclass(frozen=True, eq=False)
class Projection:
    """From the stimulus or a population to a population.

    `delay` counts steps: 0 delivers in the step of the spike. `target_offset` is the index of the target's neuron that
    takes the operator's first output; it differs from 0 if several projections were concatenated. For a projection that
    sends spikes, `target_variable` names the target's variable that they add to (empty: the one that takes the input),
    and `release` gives the chance that they pass (None: all do).
    """

    source: str
    target: str
    operator: Operator
    delay: int = 0
    target_offset: int = 0
    target_variable: str = ""
    release: Release | None = None

    def __post_init__(self) -> None:
        check_name(self.source, "the source of a projection")
        check_name(self.target, "the target of a projection")
        require(isinstance(self.operator, Operator), f"the projection {self.name} has no operator: give it one")
        require(
            self.release is None or isinstance(self.release, Release),
            f"the release of the projection {self.name} is {self.release!r}: use a Release, or None",
        )
        for field, what in (("delay", "the delay"), ("target_offset", "the first target neuron")):
            number = integer(getattr(self, field), f"{what} of the projection {self.name}")
            object.__setattr__(self, field, number)
        values = self.operator.values()
        require(values.size <= LARGEST, f"the projection {self.name} has {values.size} weights: use at most {LARGEST}")
        require(bool(np.all(np.isfinite(values))), f"the projection {self.name} holds a weight that is not finite")

    @property
    def name(self) -> str:
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True)
class Readout:
    """How the answer is read from a population.

    `neurons_per_output` is the size of a group in a population code: ``spike_count`` adds up a group, the others
    average it.

    decoding   the name of an entry of `spec.readouts.DECODINGS`, which says what is read and how
    sampled    the membrane before (``before_reset``) or after the reset of its step (``after_reset``)
    decision   ``class``: the answer is the largest logit; ``value``: the logits are the answer (regression)
    """

    population: str
    decoding: str = "mean_input"
    neurons_per_output: int = 1
    sampled: Literal["before_reset", "after_reset"] = "before_reset"
    decision: Literal["class", "value"] = "class"

    def __post_init__(self) -> None:
        require(self.decoding in DECODINGS, f"unknown decoding '{self.decoding}': use one of {', '.join(DECODINGS)}")
        require(self.sampled in ("before_reset", "after_reset"), f"unknown moment '{self.sampled}' of the readout")
        require(self.decision in ("class", "value"), f"unknown decision '{self.decision}': use 'class' or 'value'")
        group = integer(self.neurons_per_output, "the number of neurons per answer of a population code", least=1)
        object.__setattr__(self, "neurons_per_output", group)

    @property
    def reads_spikes(self) -> bool:
        """Whether the answer is made of spikes alone, whatever the population."""
        return DECODINGS[self.decoding].reads in ("spikes", "firing")


@dataclass(frozen=True, eq=False)
class NetworkSpec:
    """A whole network. The order of `populations` is the order within a time step.

    steps   length of one presentation, in time steps
    dt      one time step in seconds: the only place where steps become time

    >>> from torch import nn
    >>> from alade_brian import NetworkSpec, convert
    >>> from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
    >>> model = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))
    >>> spec = convert(model, (6,))
    >>> isinstance(spec, NetworkSpec), [(p.source, p.target) for p in spec.projections]
    (True, [('image', '2'), ('2', '4')])
    """

    stimuli: tuple[Stimulus, ...]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    readout: Readout
    steps: int
    dt: float = 1e-3

    def __post_init__(self) -> None:
        self._check_parts()
        object.__setattr__(self, "steps", integer(self.steps, "the number of steps of a presentation", least=1))
        require(isinstance(self.dt, int | float | np.number), f"a time step of {self.dt!r}: use a number of seconds")
        require(bool(0 < self.dt < np.inf), f"a time step of {self.dt} s: use a positive one")
        object.__setattr__(self, "dt", float(self.dt))
        require(len(self.stimuli) > 0, "the network has no stimulus: give it at least one")
        require(len({s.coding for s in self.stimuli}) == 1, "the stimuli differ in their coding: use one for all")
        require(len(self.populations) > 0, "the network has no population: give it at least one")
        names = [*(s.name for s in self.stimuli), *(p.name for p in self.populations)]
        doubles = sorted({n for n in names if names.count(n) > 1})
        require(not doubles, f"the name {', '.join(doubles)} is used twice")
        for projection in self.projections:
            self._check_projection(projection, names)
        self._check_readout()

    def _check_parts(self) -> None:
        for name, cls in (("stimuli", Stimulus), ("populations", Population), ("projections", Projection)):
            parts = getattr(self, name)
            ok = isinstance(parts, tuple | list) and all(isinstance(part, cls) for part in parts)
            require(ok, f"the {name} of a network are no tuple of `{cls.__name__}`: give it one")
            object.__setattr__(self, name, tuple(parts))
        require(isinstance(self.readout, Readout), "the network has no `Readout`: give it one")

    def _check_readout(self) -> None:
        readout = self.readout
        require(
            any(p.name == readout.population for p in self.populations),
            f"the readout reads '{readout.population}', which is no population",
        )
        population = self.population(readout.population)
        if DECODINGS[readout.decoding].reads == "input":
            require(not population.neuron.spiking, "the readout's population must not spike")
        require(
            population.neuron.spiking or not readout.reads_spikes,
            f"the readout counts spikes of '{population.name}', which never spikes: read its membrane",
        )
        require(
            population.size % readout.neurons_per_output == 0,
            f"the readout's {population.size} neurons do not divide into groups of {readout.neurons_per_output}",
        )

    def _check_projection(self, projection: Projection, names: list[str]) -> None:
        name = projection.name
        require(projection.source in names, f"the projection {name} comes from an unknown population")
        require(projection.target in names[len(self.stimuli) :], f"the projection {name} goes to an unknown population")
        forward = names.index(projection.source) < names.index(projection.target)
        require(
            forward or projection.delay > 0,
            f"the projection {name} goes against the step order without a delay: give it one, or reorder",
        )
        if not self.sends_spikes(projection.source):
            require(
                not projection.target_variable and projection.release is None,
                f"the projection {name} is a current: `target_variable` and `release` are for projections that send "
                "spikes",
            )
            require(
                projection.delay == (0 if forward else 1),
                f"the projection {name} delays a current by {projection.delay} step(s): a current goes forward "
                "without delay or backward with one step's",
            )
        variables = self.population(projection.target).neuron.states
        require(
            projection.target_variable in ("", *variables),
            f"the projection {name} adds to '{projection.target_variable}', its target has {', '.join(variables)}",
        )
        # The spikes of all steps back to the oldest that is still to be delivered are kept at once.
        require(
            (projection.delay + 1) * prod(self.shape(projection.source)) <= LARGEST
            and self.steps + projection.delay <= LARGEST,
            f"the projection {name} delays by {projection.delay} steps, more than can be kept: use a shorter delay",
        )
        self._check_ticket(projection)
        try:
            shape = projection.operator.output_shape(self.shape(projection.source))
        except SpecError as error:
            raise SpecError(f"projection {name}: {error}") from None
        target = self.shape(projection.target)
        if not projection.operator.linear:
            self._check_maximum(projection, shape == target, forward)
        whole = projection.target_offset == 0 and prod(shape) == prod(target)
        part = prod(shape[1:]) == prod(target[1:]) and projection.target_offset + prod(shape) <= prod(target)
        require(whole or part, f"the projection {name} makes {shape}, its target has the shape {target}")

    def _check_maximum(self, projection: Projection, fits: bool, forward: bool) -> None:
        """What a maximum reads and reaches: values of the same step, and a target that has them alone in its shape."""
        require(
            forward and not self.is_stimulus(projection.source) and not self.sends_spikes(projection.source),
            f"the projection {projection.name} is a maximum: let it read a population before its target that never "
            "spikes",
        )
        require(
            fits and projection.target_offset == 0,
            f"the projection {projection.name} is a maximum, which fills its target: give that the shape of the "
            "maximum",
        )

    def _check_ticket(self, projection: Projection) -> None:
        if projection.release is not None:
            ticket = next((s for s in self.stimuli if s.name == projection.release.ticket), None)
            require(
                ticket is not None and ticket.size == 1 and ticket.coding == "sequence",
                f"the release of {projection.name} draws by '{projection.release.ticket}': name a stimulus of one "
                "pixel with the coding 'sequence'",
            )

    @property
    def stimulus(self) -> Stimulus:
        """The stimulus of a network that has one; the first of several."""
        return self.stimuli[0]

    def is_stimulus(self, name: str) -> bool:
        """Whether a stimulus has this name."""
        return any(s.name == name for s in self.stimuli)

    def sends_spikes(self, name: str) -> bool:
        """Whether a source sends spikes; stimuli and populations that never spike send currents."""
        return not self.is_stimulus(name) and self.population(name).neuron.spiking

    @property
    def answers_in_spikes(self) -> bool:
        """Whether the readout is made of spikes, not of membranes."""
        shows_spikes = DECODINGS[self.readout.decoding].reads == "output" and self.sends_spikes(self.readout.population)
        return self.readout.reads_spikes or shows_spikes

    def population(self, name: str) -> Population:
        """The population of that name (KeyError if there is none)."""
        for population in self.populations:
            if population.name == name:
                return population
        raise KeyError(name)

    def shape(self, name: str) -> Shape:
        """Shape of a population or of a stimulus."""
        return next((s.shape for s in self.stimuli if s.name == name), None) or self.population(name).shape

    @property
    def spiking(self) -> tuple[Population, ...]:
        """The populations that spike, in step order."""
        return tuple(p for p in self.populations if p.neuron.spiking)

    def inputs(self, name: str) -> tuple[Projection, ...]:
        """The projections into a population, in their order."""
        return tuple(p for p in self.projections if p.target == name)

    def synapse_count(self, *projections: Projection) -> int:
        """Number of synapses of these projections together, for one image, counted without listing them."""
        return sum(p.operator.count(self.shape(p.source)) for p in projections)

    def replace_population(self, name: str, **changes: object) -> NetworkSpec:
        """The same network with some fields of one population changed."""
        changed = tuple(dataclasses.replace(p, **changes) if p.name == name else p for p in self.populations)  # type: ignore[arg-type]
        return dataclasses.replace(self, populations=changed)

    def replace_neuron(self, name: str, **changes: object) -> NetworkSpec:
        """The same network with some fields of one population's neuron changed."""
        return self.replace_population(name, neuron=dataclasses.replace(self.population(name).neuron, **changes))  # type: ignore[arg-type]
