"""What both front ends (torch, NIR) build a specification with: linear values between neurons, the network so far.

A value is what a tensor or an edge stands for: a sum of linear operators on sources, and a constant. It knows neither
torch nor NIR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import numpy as np
from scipy import sparse

from alade_brian.spec import (
    Dense,
    Identity,
    NeuronEquations,
    Operator,
    Population,
    Projection,
    Readout,
    Shape,
    Sparse,
    Stimulus,
    Synapses,
    memoryless,
    same_operator,
)
from alade_brian.spec.operator_algebra import compose, in_closed_form
from alade_brian.spec.synapses import matrix


@dataclass(frozen=True, eq=False)
class LinearTerm:
    """What a source contributes to a value: an operator's outputs, from flat position `first` on.

    `shape` has the operator's outputs in it; `delay` is how many steps old the source's output is.
    """

    source: str
    operator: Operator
    shape: Shape
    first: int = 0
    delay: int = 0


@dataclass(frozen=True, eq=False)
class AffineInput:
    """A tensor between two neurons: a sum of linear terms and a constant `bias` of the tensor's shape (without
    batch)."""

    shape: Shape
    terms: tuple[LinearTerm, ...]
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class UnknownInput(AffineInput):
    """What a refused layer would have given: its shape alone. All that is made of it is unknown too, and no cause of a
    refusal."""


def unknown(shape: Shape) -> UnknownInput:
    """An unknown value of that shape."""
    return UnknownInput(shape, (), np.zeros(shape))


@dataclass(frozen=True, eq=False)
class ReadoutValue(AffineInput):
    """What a readout gives: the end of the network, to which nothing can be done any more."""


@dataclass(frozen=True, eq=False)
class Behind(Operator):
    """`outer` behind `inner` on a source of shape `source`, which is a list of connections.

    The list may be long: it is made when it is needed, after everything that can be refused has been looked at.
    """

    inner: Operator
    source: Shape
    outer: Operator

    @cached_property
    def made(self) -> Operator:
        """The two as one operator."""
        return compose(settled(self.inner), self.source, self.outer)

    def output_shape(self, source: Shape) -> Shape:
        return self.outer.output_shape(self.inner.output_shape(source))

    def synapses(self, source: Shape) -> Synapses:
        return self.made.synapses(source)

    def values(self) -> np.ndarray:
        return self.made.values()

    def with_values(self, values: np.ndarray) -> Operator:  # type: ignore[override]
        return self.made.with_values(values)

    def scaled(self, factor: float | np.ndarray, source: Shape) -> Operator:
        return replace(self, outer=self.outer.scaled(factor, self.inner.output_shape(source)))


def settled(operator: Operator) -> Operator:
    """The operator itself, and of one behind another what both are together."""
    return operator.made if isinstance(operator, Behind) else operator


def _behind(inner: Operator, source: Shape, outer: Operator) -> Operator:
    if isinstance(inner, Behind) and not outer.changes_nothing:
        return Behind(inner, source, outer)
    return in_closed_form(inner, source, outer) or Behind(inner, source, outer)


class CannotLower(Exception):
    """Raised by a lowering function: (argument, its value, reason and remedy)."""

    def __init__(self, argument: str, value: object, remedy: str) -> None:
        super().__init__(remedy)
        self.argument, self.value, self.remedy = argument, value, remedy


@dataclass
class SpecBuilder:
    """The network so far; handed to every lowering function.

    held      by population without memory, made by `hold`, the value that it holds
    delayed   by layer that delays a signal, the signal
    """

    stimuli: list[Stimulus]
    populations: list[Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    steps: set[int] = field(default_factory=set)
    readout: Readout | None = None
    held: dict[str, AffineInput] = field(default_factory=dict)
    delayed: dict[str, AffineInput] = field(default_factory=dict)

    def shape(self, name: str) -> Shape:
        """Shape of a stimulus or a population (KeyError if there is none of that name)."""
        shapes = {s.name: s.shape for s in self.stimuli} | {p.name: p.shape for p in self.populations}
        return shapes[name]

    def is_stimulus(self, name: str) -> bool:
        return any(s.name == name for s in self.stimuli)

    def population(self, name: str) -> Population:
        return next(p for p in self.populations if p.name == name)

    def add_population(
        self, name: str, value: AffineInput, neuron: NeuronEquations, steps: int | None = None
    ) -> AffineInput:
        """A population that takes a value as its input; what it sends, as a value."""
        _check_open(value)
        if any(p.name == name for p in self.populations):
            raise CannotLower("module", name, "is called twice; give each place a neuron layer of its own")
        if steps is not None:
            self.steps.add(steps)
        self.populations.append(Population(name, value.shape, neuron))
        self.set_bias(name, value.bias)
        self.connect(name, value)
        return source_value(name, value.shape)

    def free_name(self, stem: str, mark: str = "_") -> str:
        """`stem`, or that with a mark and a number, as the name of a population yet to be made."""
        taken = {*(p.name for p in self.populations), *(s.name for s in self.stimuli)}
        return next(n for n in (stem, *(f"{stem}{mark}{k}" for k in range(2, len(taken) + 3))) if n not in taken)

    def hold(self, stem: str, value: AffineInput, before: str | None = None) -> str:
        """The name of a population without memory that holds a value within each step, and sends it as a current.

        The population that holds the same value already, or a new one whose name begins with `stem`; it stands at the
        end of the step order, or before the population `before`.
        """
        known = next((name for name, held in self.held.items() if same_value(held, value)), None)
        if known is not None:
            return known
        name = self.free_name(stem)
        self.add_population(name, value, memoryless())
        if before is not None:
            place = next(k for k, p in enumerate(self.populations) if p.name == before)
            self.populations.insert(place, self.populations.pop())
        self.held[name] = value
        return name

    def set_bias(self, name: str, bias: np.ndarray) -> None:
        """Give a population its bias; one that is zero throughout is none."""
        index = next(k for k, p in enumerate(self.populations) if p.name == name)
        self.populations[index] = replace(self.populations[index], bias=bias if bias.any() else None)

    def connect(self, name: str, value: AffineInput) -> None:
        """Projections that bring a value's terms to a population."""
        for term in value.terms:
            # What reads nothing but padding, or lost all its weights to zeros, is no projection.
            source = self.shape(term.source)
            if isinstance(term.operator, Behind) or term.operator.count(source):
                self.projections.append(self._projection(name, value.shape, term))

    @property
    def pending(self) -> bool:
        """Whether some projection's list of connections has yet to be made."""
        return any(isinstance(p.operator, Behind) for p in self.projections)

    def settle(self) -> None:
        """Make the lists of connections that have been put off."""
        found = [replace(p, operator=settled(p.operator)) for p in self.projections]
        self.projections = [p for p in found if p.operator.count(self.shape(p.source))]

    def _projection(self, name: str, target: Shape, term: LinearTerm) -> Projection:
        source = self.shape(term.source)
        made = term.operator.output_shape(source)
        whole = term.first == 0 and prod(made) == prod(target)
        if whole or prod(made[1:]) == prod(target[1:]):
            return Projection(term.source, name, term.operator, term.delay, term.first)
        # A part of the target under axes of its own: connection by connection it has none.
        entries = sparse.coo_array(matrix(term.operator, source))
        listed = Sparse(entries.coords[0] + term.first, entries.coords[1], entries.data, target)
        return Projection(term.source, name, listed, term.delay)


def source_value(name: str, shape: Shape) -> AffineInput:
    """What a stimulus or a population sends, as a value."""
    return AffineInput(shape, (LinearTerm(name, Identity(), shape),), np.zeros(shape))


def same_value(left: AffineInput, right: AffineInput) -> bool:
    """Whether two values are equal in every term, in whatever order these are added, and in their bias."""

    def key(term: LinearTerm) -> tuple[str, int, int]:
        return term.source, term.delay, term.first

    def same(a: Operator, b: Operator) -> bool:
        return a is b or same_operator(settled(a), settled(b))

    if left is right:
        return True
    pairs = zip(sorted(left.terms, key=key), sorted(right.terms, key=key), strict=False)
    return (
        len(left.terms) == len(right.terms)
        and np.array_equal(left.bias, right.bias)
        and all(key(a) == key(b) and same(a.operator, b.operator) for a, b in pairs)
    )


def spike_heights(lowering: SpecBuilder, value: AffineInput) -> np.ndarray | None:
    """What a spike counts in each place of a value, its constant aside; 0 where there are none. None for what is not
    spikes of one layer or of several side by side."""
    flat = np.zeros(prod(value.shape))
    for term in value.terms:
        if lowering.is_stimulus(term.source) or not isinstance(term.operator, Identity):
            return None
        source, place = lowering.population(term.source), slice(term.first, term.first + prod(term.shape))
        if not source.neuron.spiking or np.any(flat[place]):
            return None
        flat[place] = (term.operator.per_neuron(source.shape) * source.amplitude).ravel()
    return flat.reshape(value.shape)


def _check_open(*values: AffineInput) -> None:
    """Refuse to go on behind a readout."""
    for value in values:
        if isinstance(value, ReadoutValue):
            raise CannotLower("input", "the readout's answer", "is the end of the network; put this before the readout")


def is_plain(value: AffineInput) -> bool:
    """Whether a value is one source's output of the same step, unchanged."""
    return (
        len(value.terms) == 1
        and value.terms[0].delay == 0
        and value.terms[0].operator.changes_nothing
        and prod(value.terms[0].shape) == prod(value.shape)
        and not value.bias.any()
    )


def apply_operator(lowering: SpecBuilder, outer: Operator, value: AffineInput) -> AffineInput:
    """A linear operator on a value. SpecError where it does not fit the value's shape."""
    _check_open(value)
    shape = outer.output_shape(value.shape)
    if isinstance(value, UnknownInput):
        return unknown(shape)
    terms = tuple(_apply_to_term(lowering, outer, value.shape, term) for term in value.terms)
    bias = (matrix(outer, value.shape) @ value.bias.ravel()).reshape(shape) if value.bias.any() else np.zeros(shape)
    return AffineInput(shape, terms, bias)


def _apply_to_term(lowering: SpecBuilder, outer: Operator, whole: Shape, term: LinearTerm) -> LinearTerm:
    source, shape = lowering.shape(term.source), outer.output_shape(whole)
    if outer.full_weight is not None:
        part = Dense(outer.full_weight[:, term.first : term.first + prod(term.shape)])
        return replace(term, operator=_behind(term.operator, source, part), shape=shape, first=0)
    # Where axes were only renamed (flattened, say) in between, the outer operator must see its own.
    same_axes = term.operator.output_shape(source)[1:] == whole[1:]
    if same_axes and prod(term.shape) == prod(whole):
        return replace(term, operator=_behind(term.operator, source, outer), shape=shape)
    channels = _whole_channels(whole, term)
    some = outer.on_channels(*channels) if same_axes and channels is not None else None
    if some is not None and channels is not None:
        operator = _behind(term.operator, source, some)
        if outer.windows is None:
            return replace(term, operator=operator, shape=shape, first=0)
        first, count = channels
        return replace(term, operator=operator, shape=(count, *shape[1:]), first=first * prod(shape[1:]))
    columns = matrix(outer, whole).tocsc()[:, term.first : term.first + prod(term.shape)]
    found = sparse.coo_array(columns @ matrix(term.operator, source))
    listed = Sparse(found.coords[0], found.coords[1], found.data, shape)
    return replace(term, operator=listed, shape=shape, first=0)


def _whole_channels(whole: Shape, term: LinearTerm) -> tuple[int, int] | None:
    """The first channel and the number of channels that a term fills, or None where it fills parts of channels."""
    size = prod(whole[1:])
    if prod(term.shape[1:]) != size or term.first % size:
        return None
    return term.first // size, term.shape[0]


def scale(lowering: SpecBuilder, value: AffineInput, gain: np.ndarray, shift: np.ndarray | float = 0.0) -> AffineInput:
    """``gain * value + shift``; `gain` and `shift` are broadcast to the value's shape."""
    _check_open(value)
    each = np.broadcast_to(gain, value.shape)
    if isinstance(value, UnknownInput):
        return value
    terms = tuple(_scale_term(lowering, term, value.shape, each) for term in value.terms)
    return AffineInput(value.shape, terms, value.bias * each + np.broadcast_to(shift, value.shape))


def _scale_term(lowering: SpecBuilder, term: LinearTerm, whole: Shape, each: np.ndarray) -> LinearTerm:
    source = lowering.shape(term.source)
    part = each.ravel()[term.first : term.first + prod(term.shape)].reshape(term.shape)
    channel = part.reshape(term.shape[0], -1)
    made = term.operator.output_shape(source)
    if made[:1] == term.shape[:1] and np.all(channel == channel[:, :1]):
        return replace(term, operator=term.operator.scaled(channel[:, 0], source))
    return replace(term, operator=_behind(term.operator, source, Identity(part.reshape(made))))


def reshape(value: AffineInput, shape: Shape) -> AffineInput:
    """The same numbers under other axes."""
    _check_open(value)
    if prod(shape) != prod(value.shape):
        raise CannotLower("shape", shape, f"has another number of elements than {value.shape}")
    return replace(value, shape=shape, bias=value.bias.reshape(shape))


def concatenate(values: Sequence[AffineInput]) -> AffineInput:
    """Values side by side along the channels (or features)."""
    _check_open(*values)
    terms: list[LinearTerm] = []
    first = 0
    for value in values:
        if value.shape[1:] != values[0].shape[1:]:
            raise CannotLower("shapes", [v.shape for v in values], "differ in more than their channels")
        terms += [replace(term, first=term.first + first) for term in value.terms]
        first += prod(value.shape)
    shape = (sum(v.shape[0] for v in values), *values[0].shape[1:])
    if any(isinstance(value, UnknownInput) for value in values):
        return unknown(shape)
    return AffineInput(shape, tuple(terms), np.concatenate([v.bias for v in values]))


def add(left: AffineInput, right: AffineInput) -> AffineInput:
    """The sum of two values of one shape."""
    _check_open(left, right)
    if left.shape != right.shape:
        raise CannotLower("+", f"{left.shape}, {right.shape}", "adds only two tensors of the same shape")
    if isinstance(left, UnknownInput) or isinstance(right, UnknownInput):
        return unknown(left.shape)
    return AffineInput(left.shape, left.terms + right.terms, left.bias + right.bias)
