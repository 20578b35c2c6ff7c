"""Time in a traced forward: values at one step of a loop, values over all steps, and neurons that are called again.

Three ways of writing time are understood. A forward that loops, as snnTorch's users write it, calls every neuron once
per step: its k-th call is step k. A multi-step forward, as SpikingJelly's users write it, carries the steps as the
first axis. A forward of one step is called once per step by whoever uses it. In each the same is asked of every step:
the same layers in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from alade_brian.conversion.from_torch.readouts import integrator
from alade_brian.conversion.from_torch.shapes import per_image
from alade_brian.conversion.lowering import (
    AffineInput,
    CannotLower,
    LinearTerm,
    SpecBuilder,
    UnknownInput,
    add,
    is_plain,
    same_value,
    scale,
    source_value,
)
from alade_brian.spec import DECODINGS, NeuronEquations, Population, Readout, memoryless


@dataclass(frozen=True, eq=False)
class OneStep:
    """A tensor ``(images, ...)`` of one step: `value` holds from step to step, delays count back from `step`."""

    value: AffineInput
    step: int


@dataclass(frozen=True, eq=False)
class AllSteps:
    """A tensor of all steps: ``(steps, images, ...)``, or with the steps at another place among its axes.

    axis   the place of the steps; None: they share the first axis with the images, ``(steps * images, ...)``
    """

    value: AffineInput
    axis: int | None = 0


@dataclass(frozen=True, eq=False)
class Membrane:
    """A neuron's membrane at a step, or over all steps (`step` None); nothing but an answer can be made of it.

    axis   the place of the steps among the axes, as that of `AllSteps`
    """

    population: str
    sampled: Literal["before_reset", "after_reset"]
    step: int | None
    axis: int = 0


@dataclass(frozen=True)
class StateToken:
    """A neuron's other state behind a step; it goes nowhere but into that neuron's next call."""

    population: str
    step: int


@dataclass(frozen=True, eq=False)
class StepReduction:
    """A value or membrane over the steps, and how the steps were put together."""

    of: AllSteps | Membrane
    how: Literal["sum", "mean", "last", "max", "every"]
    factor: float = 1.0


@dataclass(frozen=True, eq=False)
class Decided:
    """What a softmax or the like makes of an answer; it can only be returned."""

    answer: Any


@dataclass(frozen=True, eq=False)
class ForeignNeuron:
    """A neuron layer of another framework, as its adapter understands it.

    returns        what a call gives, in order: ``spikes``, ``membrane`` or ``state``, and of one that runs over all
                   steps and does not spike also their ``mean``, ``max`` or ``last``; one alone comes without a tuple
    enters         a layer that its input passes through first, or None
    recurrent      the layer that its own spikes of the step before pass through into its input, or None
    over_steps     whether one call runs over all steps of a tensor whose first axis they are
    sampled        whether it returns the membrane before or after the reset
    passes_state   whether its state is passed from call to call; a call without it begins at rest
    steps          the number of steps that it runs for, where it has one of its own
    """

    equations: NeuronEquations
    returns: tuple[str, ...] = ("spikes",)
    enters: nn.Module | None = None
    recurrent: nn.Module | None = None
    over_steps: bool = False
    sampled: Literal["before_reset", "after_reset"] = "before_reset"
    passes_state: bool = False
    steps: int | None = None


@dataclass
class _Calls:
    neuron: ForeignNeuron
    sends: AffineInput
    inputs: list[AffineInput] = field(default_factory=list)


class CallCounter:
    """Keeps count of every neuron's calls, and connects the neurons when the forward is through."""

    def __init__(
        self, lowering: SpecBuilder, images: int, apply: Callable[[nn.Module, AffineInput], AffineInput]
    ) -> None:
        """`apply` lowers a linear layer that belongs to a neuron; constants of the trace hold so many `images`."""
        self.lowering, self.images, self.apply = lowering, images, apply
        self.calls: dict[str, _Calls] = {}
        self.axis: set[int] = set()
        # The number of images that the forward takes at once, where it says one.
        self.images_at_once: int | None = None
        # Whether a neuron that takes one step was given all of them.
        self.given_all = False
        self._memo: dict[Any, Any] = {}
        self._kept: list[Any] = []

    def take_at_once(self, images: int, shown: Any) -> None:
        """Note that the forward takes so many images at once; refused, with what says so, where it said another number
        before."""
        if self.images_at_once not in (None, images):
            raise CannotLower("size", shown, f"is not the number of images before, {self.images_at_once}")
        self.images_at_once = images

    def remember(self, key: tuple[Any, ...], make: Callable[[], Any], *values: object) -> Any:
        """What `make` gives, made once per key. Equal steps thus give the very same values."""
        if key not in self._memo:
            self._memo[key] = make()
            # Keys hold the identities of values: these must not be given to others.
            self._kept.extend(values)
        return self._memo[key]

    def shifted(self, value: AffineInput, steps: int) -> AffineInput:
        """The value as it was so many steps ago."""
        if steps == 0:
            return value
        later = tuple(t if self._held(t) else replace(t, delay=t.delay + steps) for t in value.terms)
        return self.remember(("shift", id(value), steps), lambda: replace(value, terms=later), value)

    def _held(self, term: LinearTerm) -> bool:
        """Whether a term is an image that is the same in all steps: also as it was some steps ago."""
        return any(s.name == term.source and s.coding == "direct" for s in self.lowering.stimuli)

    def length(self) -> int:
        """The number of steps that the axis of steps has."""
        if len(self.axis) != 1:
            raise CannotLower("shape", "of a sequence", "is not known here; give convert steps=")
        return next(iter(self.axis))

    def at(self, argument: AffineInput | OneStep, step: int) -> AffineInput:
        """An argument as it is seen at a step."""
        if isinstance(argument, AffineInput):
            return argument
        if argument.step > step:
            raise CannotLower("input", f"step {argument.step}", f"reaches step {step} before it has happened")
        return self.shifted(argument.value, step - argument.step)

    def call(
        self,
        name: str,
        neuron: Callable[[], ForeignNeuron],
        argument: Any,
        states: tuple[Any, ...],
        driven: bool = False,
    ) -> Any:
        """One call of a neuron; what it returns, in the form in which its framework returns it.

        `driven` says that something else calls it for each step of a sequence.
        """
        known = self.calls.get(name)
        step = len(known.inputs) if known else 0
        value = self._input(argument, step)
        made = known.neuron if known else neuron()
        if driven:
            made = replace(made, over_steps=True)
        if isinstance(argument, AllSteps) and argument.axis != 0:
            raise CannotLower("input", tuple(value.shape), _not_in_front(argument.axis))
        if made.over_steps != isinstance(argument, AllSteps):
            self.given_all |= not made.over_steps
            wanted = (
                "carries no steps; begin with x.unsqueeze(0).repeat(T, 1, ...)"
                if made.over_steps
                else "carries all steps, and the neuron takes one; loop over x[step], or use its multi-step mode"
            )
            raise CannotLower("input", tuple(value.shape), wanted)
        enters = made.enters
        if enters is not None:
            plain = value
            value = self.remember(("enters", name, id(plain)), lambda: self.apply(enters, plain), plain)
        if known is None:
            self.lowering.populations.append(Population(name, value.shape, made.equations))
            known = self.calls[name] = _Calls(made, source_value(name, value.shape))
            self.axis |= {made.steps} if made.steps else set()
        if known.sends.shape != value.shape:
            raise CannotLower("input", value.shape, f"has another shape than in the step before, {known.sends.shape}")
        if known.neuron.passes_state and step > 0 and not states:
            raise CannotLower(
                "state", f"step {step}", "is not passed on, so that every step begins at rest; pass it on"
            )
        self._check_states(name, states, step)
        known.inputs.append(value)
        if known.neuron.over_steps:
            return self._returned(known.neuron, AllSteps(known.sends), name, None)
        return self._returned(known.neuron, OneStep(known.sends, step), name, step)

    def _input(self, argument: Any, step: int) -> AffineInput:
        if isinstance(argument, AllSteps):
            return argument.value
        if isinstance(argument, AffineInput | OneStep):
            return self.at(argument, step)
        constant = per_image(argument, self.images) if isinstance(argument, Tensor) else None
        if constant is not None:
            return constant
        raise CannotLower("input", type(argument).__name__.lower(), "is no layer's output; give the neuron a current")

    def _check_states(self, name: str, states: tuple[Any, ...], step: int) -> None:
        for state in states:
            if isinstance(state, tuple) and all(part is None for part in state):
                state = None
            resting = state is None or _is_zero(state)
            if state is None and not self.calls[name].neuron.passes_state:
                continue  # the neuron goes on from the state that it keeps
            if step == 0 and not resting:
                raise CannotLower("state", type(state).__name__.lower(), "does not begin at rest; begin it with zeros")
            own = getattr(state, "population", None)
            if isinstance(state, OneStep):
                own = state.value.terms[0].source if state.value is self.calls[name].sends else None
            if step > 0 and (own != name or state.step != step - 1):
                raise CannotLower(
                    "state", f"step {step}", "is not what the neuron's call before returned; pass it on as is"
                )

    def _returned(self, neuron: ForeignNeuron, spikes: OneStep | AllSteps, name: str, step: int | None) -> Any:
        kinds: dict[str, Any] = {
            "spikes": spikes,
            "membrane": Membrane(name, neuron.sampled, step),
            "state": StateToken(name, -1 if step is None else step),
        }
        kinds |= {how: StepReduction(spikes, how) for how in ("mean", "max", "last") if isinstance(spikes, AllSteps)}
        given = tuple(kinds[kind] for kind in neuron.returns)
        return given if len(given) > 1 else given[0]

    @property
    def one_step(self) -> bool:
        """Whether the forward is one step: it calls every neuron once, and knows no axis of steps."""
        once = all(len(c.inputs) == 1 and not c.neuron.over_steps for c in self.calls.values())
        return bool(self.calls) and once and not self.axis

    def steps(self, given: int | None) -> int:
        """The number of steps of a presentation: what was given, an axis' length, or the number of calls."""
        counts = {len(c.inputs) for c in self.calls.values() if not c.neuron.over_steps}
        if 1 in counts and self.axis - {1}:
            why = "of which one alone reaches neurons; call them for every step, as in a loop over x[step]"
            raise CannotLower("steps", sorted(self.axis - {1}), why)
        if len(counts) == 1 and self.axis and not self.axis & {*counts, 1}:
            why = f"are put together of the loop's {max(counts)}; stack every step, in their order"
            raise CannotLower("steps", sorted(self.axis), why)
        found = {n for n in counts if n > 1} | self.axis | ({given} if given else set())
        if len(found) != 1 or (1 in counts and len(counts) > 1):
            said = sorted(found | counts)
            raise CannotLower(
                "steps", said, "must be one number; call every neuron once per step, or give convert steps="
            )
        return found.pop()

    def refuse_reuse(self, given: int | None) -> None:
        """Refuse a neuron that is called at several places of a step; `given` is the number of steps, if known."""
        for name, calls in self.calls.items():
            inputs = calls.inputs
            if any(isinstance(value, UnknownInput) for value in inputs):
                continue
            if all(same_in_step(value, inputs[-1], step) for step, value in enumerate(inputs)):
                continue
            most = len(inputs) if given not in (None, len(inputs)) else len(inputs) // 2
            for places in range(2, most + 1):
                rounds = [inputs[k::places] for k in range(places)]
                if len(inputs) % places == 0 and all(
                    same_in_step(v, r[-1], k) for r in rounds for k, v in enumerate(r)
                ):
                    said = f"is called at {places} places of a step and has one state; give each a neuron of its own"
                    raise CannotLower("module", name, said)

    def connect(self) -> None:
        """Give every neuron its input, when all of them are known to do the same in every step."""
        for name, calls in self.calls.items():
            whole = calls.inputs[-1]
            for step, value in enumerate(calls.inputs):
                if not same_in_step(value, whole, step):
                    raise CannotLower(
                        "input", f"step {step}", f"of {name} differs from the last step's; do the same in every step"
                    )
            if calls.neuron.recurrent is not None:
                whole = add(whole, self.shifted(self.apply(calls.neuron.recurrent, calls.sends), 1))
            self.lowering.set_bias(name, whole.bias)
            self.lowering.connect(name, whole)


def _not_in_front(axis: int | None) -> str:
    if axis is None:
        return f"has steps and images on one axis; divide it: {in_front(axis)}"
    return f"has the steps on axis {axis}; put them in front: {in_front(axis)}"


def in_front(axis: int | None) -> str:
    """What puts the steps on that axis in front; None: the axis that they share with the images."""
    if axis is None:
        return "x.unflatten(0, (T, -1))"
    return "x.transpose(0, 1)" if axis == 1 else f"x.movedim({axis}, 0)"


def _is_zero(state: Any) -> bool:
    if isinstance(state, Tensor):
        return not bool(state.any())
    if isinstance(state, int | float):
        return state == 0
    return isinstance(state, AffineInput) and not state.terms and not state.bias.any()


def same_in_step(value: AffineInput, last: AffineInput, step: int) -> bool:
    """Whether a value of an early step is what that of the last step was then."""
    return value is last or same_value(value, _until(last, step))


def _until(value: AffineInput, step: int) -> AffineInput:
    """A value at an early step: nothing older than the first step is in it."""
    return replace(value, terms=tuple(term for term in value.terms if term.delay <= step))


def _of_membranes(how: str) -> str | None:
    """The decoding that puts the steps of a membrane together in this way; None if there is none."""
    found = (name for name, d in DECODINGS.items() if d.over_time == how and d.reads in ("membrane", "output"))
    return next(found, None)


def readout_of(lowering: SpecBuilder, reading: StepReduction, steps: int, name: str = "answer") -> Readout:
    """The readout that gives a forward's answer; of a population of that name where the answer is no neuron's own."""
    if isinstance(reading.of, Membrane):
        decoding = _of_membranes(reading.how)
        spiking = lowering.population(reading.of.population).neuron.spiking
        if decoding is None or reading.factor != 1 or (decoding == "every_step" and spiking):
            raise CannotLower("output", f"{reading.how} of membranes", "is no readout; use their mean, maximum or last")
        return Readout(reading.of.population, decoding, sampled=reading.of.sampled)
    direct = _direct(lowering, reading, reading.of.value, steps)
    return direct or _through(lowering, reading, reading.of.value, steps, name)


def _direct(lowering: SpecBuilder, reading: StepReduction, value: AffineInput, steps: int) -> Readout | None:
    """The readout of a population whose spikes or membranes are the answer, unchanged."""
    population = _one_population(lowering, value)
    if population is None:
        return None
    if not population.neuron.spiking:
        decoding = _of_membranes(reading.how)
        return Readout(population.name, decoding, sampled="after_reset") if decoding and reading.factor == 1 else None
    if reading.how == "every" and reading.factor == 1:
        return Readout(population.name, "every_step")
    times = {"sum": reading.factor, "mean": reading.factor / steps}.get(reading.how)
    if times == 1:
        return Readout(population.name, "spike_count")
    return Readout(population.name, "spike_rate") if times == 1 / steps else None


def _through(lowering: SpecBuilder, reading: StepReduction, value: AffineInput, steps: int, name: str) -> Readout:
    """A population of its own takes the answer in: it adds it up, or holds it for a step."""
    if reading.how in ("sum", "mean"):
        factor = reading.factor * (steps if reading.how == "sum" else 1)
        lowering.add_population(name, scale(lowering, value, np.asarray(factor)), integrator())
        return Readout(name)
    lowering.add_population(name, scale(lowering, value, np.asarray(reading.factor)), memoryless())
    decoding = _of_membranes(reading.how)
    assert decoding is not None
    return Readout(name, decoding)


def _one_population(lowering: SpecBuilder, value: AffineInput) -> Population | None:
    """The population whose output a value is, unchanged and without delay."""
    if not is_plain(value) or lowering.is_stimulus(value.terms[0].source):
        return None
    return lowering.population(value.terms[0].source)
