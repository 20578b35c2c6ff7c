"""The waist of the project: a spiking network as frozen dataclasses and numpy arrays, without torch and without Brian2.

Whatever decides a spike is written here and nowhere else: the comparison sign, the reset rule, the order of leak and
reset, the bias, the order of channels, the order of layers within a step. A specification checks itself when it is
made.

Shapes are channels-first, ``(channels, height, width)`` or ``(features,)``; a neuron's index is its position in the
C-ordered array of that shape, as in PyTorch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np

Shape = tuple[int, ...]
Unit = Literal["1", "step"]


class SpecError(ValueError):
    """A specification that contradicts itself; the message says where and what to do."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(message)


def _float64(array: object) -> np.ndarray:
    """A read-only float64 copy: a specification never changes under its owner's hands."""
    copy = np.array(array, dtype=np.float64)
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True, eq=False)
class Parameter:
    """A constant of the neuron's equations: one number, one per channel ``(C, 1, 1)``, or one per neuron.

    `unit` is ``"1"`` (a number) or ``"step"`` (a time, counted in time steps; it becomes seconds in Brian2).
    """

    value: np.ndarray
    unit: Unit = "1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _float64(self.value))
        _require(bool(np.all(np.isfinite(self.value))), "a neuron parameter holds a value that is not finite")
        _require(self.unit in ("1", "step"), f"a neuron parameter has the unit '{self.unit}': use '1' or 'step'")


def constant(value: float, unit: Unit = "1") -> Parameter:
    """A parameter that is one number for all neurons."""
    return Parameter(np.asarray(value, dtype=np.float64), unit)


@dataclass(frozen=True, eq=False)
class NeuronEquations:
    """One neuron type: its differential equations and the conventions that equations alone do not settle.

    In every time step the state follows `model` for one step, then the input of that step is added to `membrane`, then
    the threshold is tested, then the reset acts.

    model        Brian2 state equations, e.g. ``dv/dt = -v/tau : 1``
    membrane     the variable that takes the input and is compared with the parameter ``v_threshold``
    spiking      False for a readout that only adds up its input
    comparison   ``>`` or ``>=``
    reset        ``value``: membrane = v_reset; ``subtract``: membrane -= v_reset; ``none``
    leak         ``after_reset``: the next step's leak acts on what the reset left; ``before_reset``: the membrane
                 leaks first and the reset, put off to the next step, acts on the leaked value
    """

    model: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    membrane: str = "v"
    spiking: bool = True
    comparison: Literal[">", ">="] = ">"
    reset: Literal["value", "subtract", "none"] = "value"
    leak: Literal["after_reset", "before_reset"] = "after_reset"

    def __post_init__(self) -> None:
        _require(self.comparison in (">", ">="), f"unknown comparison '{self.comparison}': use '>' or '>='")
        _require(self.reset in ("value", "subtract", "none"), f"unknown reset '{self.reset}'")
        _require(self.leak in ("after_reset", "before_reset"), f"unknown order of leak and reset '{self.leak}'")
        needed = {"v_threshold"} if self.spiking else set()
        if self.spiking and self.reset != "none":
            needed.add("v_reset")
        missing = needed - set(self.parameters)
        _require(not missing, f"the neuron's parameters lack {', '.join(sorted(missing))}")


@dataclass(frozen=True)
class Stimulus:
    """Direct coding: the image's values are a current that is held for all steps of its presentation."""

    shape: Shape
    name: str = "image"
    coding: Literal["direct"] = "direct"

    def __post_init__(self) -> None:
        _require(
            self.coding == "direct", f"unknown coding '{self.coding}' of the stimulus: 'direct' is the one there is"
        )
        _check_shape(self.shape, "the stimulus")


def _check_shape(shape: Shape, owner: str) -> None:
    ok = len(shape) in (1, 3) and all(isinstance(n, int) and n > 0 for n in shape)
    _require(ok, f"{owner} has the shape {shape}: use (features,) or (channels, height, width), all positive")


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one type. `bias` (same shape, or None) is added to the membrane in every step."""

    name: str
    shape: Shape
    neuron: NeuronEquations
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_shape(self.shape, f"population '{self.name}'")
        if self.bias is not None:
            object.__setattr__(self, "bias", _float64(self.bias))
            _require(
                self.bias.shape == self.shape,
                f"the bias of '{self.name}' has shape {self.bias.shape}, not {self.shape}",
            )
            _require(
                bool(np.all(np.isfinite(self.bias))), f"the bias of '{self.name}' holds a value that is not finite"
            )
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


@dataclass(frozen=True, eq=False)
class Dense:
    """``post += weight @ pre``; weight ``(post size, pre size)``, both in the order of their flattened shapes."""

    weight: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _float64(self.weight))
        _require(self.weight.ndim == 2, f"a dense weight has {self.weight.ndim} axes, not 2")

    def output_shape(self, source: Shape) -> Shape:
        _require(
            self.weight.shape[1] == prod(source),
            f"a dense weight reads {self.weight.shape[1]} neurons, its source has {prod(source)}",
        )
        return (self.weight.shape[0],)


@dataclass(frozen=True, eq=False)
class Convolution:
    """Cross-correlation as in PyTorch; weight ``(out, in / groups, kh, kw)``.

    `extent` (rows, columns) leaves out the source's pixels beyond it: pooling without padding drops a remainder, and a
    convolution with which such a pooling was merged must not read it.
    """

    weight: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    extent: tuple[int, int] | None = None
    dilation: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _float64(self.weight))
        _require(self.weight.ndim == 4, f"a convolution's weight has {self.weight.ndim} axes, not 4")
        _require(
            min(self.stride) >= 1 and min(self.padding) >= 0 and min(self.dilation) >= 1,
            f"a convolution has stride {self.stride}, padding {self.padding} and dilation {self.dilation}",
        )
        _require(
            self.groups >= 1 and self.weight.shape[0] % self.groups == 0,
            f"{self.weight.shape[0]} channels do not divide into {self.groups} groups",
        )

    def output_shape(self, source: Shape) -> Shape:
        _require(len(source) == 3, f"a convolution reads (channels, height, width), its source has the shape {source}")
        _require(
            source[0] == self.weight.shape[1] * self.groups,
            f"a convolution reads {self.weight.shape[1] * self.groups} channels, its source has {source[0]}",
        )
        rows, columns = (
            (size + 2 * pad - (kernel - 1) * dilation - 1) // stride + 1
            for size, pad, kernel, stride, dilation in zip(
                self.extent or source[1:],
                self.padding,
                self.weight.shape[2:],
                self.stride,
                self.dilation,
                strict=True,
            )
        )
        _require(
            rows > 0 and columns > 0, f"a kernel of {self.weight.shape[2:]} does not fit into an image of {source[1:]}"
        )
        return (self.weight.shape[0], rows, columns)


@dataclass(frozen=True, eq=False)
class Pooling:
    """Average pooling without padding, channel by channel, times `gain` (one number or one per channel)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    gain: np.ndarray = field(default_factory=lambda: np.ones(()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", _float64(self.gain))
        _require(
            min(self.kernel) >= 1 and min(self.stride) >= 1,
            f"pooling has kernel {self.kernel} and stride {self.stride}",
        )

    def output_shape(self, source: Shape) -> Shape:
        _require(len(source) == 3, f"pooling reads (channels, height, width), its source has the shape {source}")
        _check_gain(self.gain, source)
        rows, columns = ((n - k) // s + 1 for n, k, s in zip(source[1:], self.kernel, self.stride, strict=True))
        _require(
            rows > 0 and columns > 0, f"a pooling window of {self.kernel} does not fit into an image of {source[1:]}"
        )
        return (source[0], rows, columns)


@dataclass(frozen=True, eq=False)
class Identity:
    """One-to-one, times `gain` (one number or one per channel)."""

    gain: np.ndarray = field(default_factory=lambda: np.ones(()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", _float64(self.gain))

    def output_shape(self, source: Shape) -> Shape:
        _check_gain(self.gain, source)
        return source


def _check_gain(gain: np.ndarray, source: Shape) -> None:
    _require(
        gain.shape in ((), (source[0],)), f"a gain of shape {gain.shape} does not fit a source of {source[0]} channels"
    )


Operator = Dense | Convolution | Pooling | Identity


def operator_values(operator: Operator) -> np.ndarray:
    """The numbers of an operator (weight or gain): the only part of it that is not structure."""
    return operator.weight if isinstance(operator, Dense | Convolution) else operator.gain


@dataclass(frozen=True, eq=False)
class Projection:
    """From the stimulus or a population to a population.

    `delay` counts steps: 0 delivers in the step of the spike. `first` is the index of the target's neuron that takes
    the operator's first output; it differs from 0 where several projections were concatenated.
    """

    source: str
    target: str
    operator: Operator
    delay: int = 0
    first: int = 0

    def __post_init__(self) -> None:
        _require(self.delay >= 0, f"the projection {self.name} has a negative delay")
        _require(
            bool(np.all(np.isfinite(operator_values(self.operator)))),
            f"the projection {self.name} holds a weight that is not finite",
        )

    @property
    def name(self) -> str:
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True)
class Readout:
    """How the answer is read: ``mean_input``, the summed input of a non-spiking population over the number of steps."""

    population: str
    decoding: Literal["mean_input"] = "mean_input"

    def __post_init__(self) -> None:
        _require(self.decoding == "mean_input", f"unknown decoding '{self.decoding}': 'mean_input' is the one there is")


@dataclass(frozen=True, eq=False)
class NetworkSpec:
    """A whole network. The order of `populations` is the order within a time step.

    steps   length of one presentation, in time steps
    dt      one time step in seconds: the only place where steps become time
    """

    stimulus: Stimulus
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    readout: Readout
    steps: int
    dt: float = 1e-3

    def __post_init__(self) -> None:
        _require(self.steps >= 1, f"a presentation of {self.steps} steps: use at least 1")
        _require(self.dt > 0, f"a time step of {self.dt} s: use a positive one")
        names = [self.stimulus.name, *(p.name for p in self.populations)]
        doubles = sorted({n for n in names if names.count(n) > 1})
        _require(not doubles, f"the name {', '.join(doubles)} is used twice")
        for projection in self.projections:
            self._check_projection(projection, names)
        _require(
            self.readout.population in names[1:],
            f"the readout reads '{self.readout.population}', which is no population",
        )
        _require(not self.population(self.readout.population).neuron.spiking, "the readout's population must not spike")

    def _check_projection(self, projection: Projection, names: list[str]) -> None:
        name = projection.name
        _require(projection.source in names, f"the projection {name} comes from an unknown population")
        _require(projection.target in names[1:], f"the projection {name} goes to an unknown population")
        forward = names.index(projection.source) < names.index(projection.target)
        _require(
            forward or projection.delay > 0,
            f"the projection {name} goes against the step order without a delay: give it one, or reorder",
        )
        analogue = projection.source == self.stimulus.name
        _require(
            not (analogue and projection.delay),
            f"the projection {name} delays a current that is held: remove the delay",
        )
        source = self.population(projection.source) if not analogue else None
        _require(
            source is None or source.neuron.spiking, f"the projection {name} comes from a population that never spikes"
        )
        try:
            shape = projection.operator.output_shape(self.shape(projection.source))
        except SpecError as error:
            raise SpecError(f"projection {name}: {error}") from None
        target = self.shape(projection.target)
        whole = projection.first == 0 and prod(shape) == prod(target)
        part = prod(shape[1:]) == prod(target[1:]) and projection.first + prod(shape) <= prod(target)
        _require(whole or part, f"the projection {name} makes {shape}, its target has the shape {target}")

    def population(self, name: str) -> Population:
        """The population of that name (KeyError if there is none)."""
        for population in self.populations:
            if population.name == name:
                return population
        raise KeyError(name)

    def shape(self, name: str) -> Shape:
        """Shape of a population or of the stimulus."""
        return self.stimulus.shape if name == self.stimulus.name else self.population(name).shape

    @property
    def spiking(self) -> tuple[Population, ...]:
        """The populations that spike, in step order."""
        return tuple(p for p in self.populations if p.neuron.spiking)

    def inputs(self, name: str) -> tuple[Projection, ...]:
        """The projections into a population, in their order."""
        return tuple(p for p in self.projections if p.target == name)

    def replace_population(self, name: str, **changes: object) -> NetworkSpec:
        """The same network with some fields of one population changed."""
        changed = tuple(dataclasses.replace(p, **changes) if p.name == name else p for p in self.populations)  # type: ignore[arg-type]
        return dataclasses.replace(self, populations=changed)

    def replace_neuron(self, name: str, **changes: object) -> NetworkSpec:
        """The same network with some fields of one population's neuron changed."""
        return self.replace_population(name, neuron=dataclasses.replace(self.population(name).neuron, **changes))  # type: ignore[arg-type]
