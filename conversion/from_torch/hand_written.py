"""Neurons that a user wrote by hand: modules whose forward is a step, ``spikes, membrane = neuron(current, membrane)``.

The state is an argument and a result, as here, or an attribute of the module.

The step is traced, and read as polynomials in the input, the membrane and the spikes. It is a neuron that equations can
say if the membrane's update is linear, the spikes are one comparison of the membrane with a constant, and the reset
subtracts a constant or sets the membrane to one. Nothing is estimated: a step that reads otherwise is refused.
"""

from __future__ import annotations

import copy
import inspect
import operator as python_operator
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from alade_brian.conversion.from_torch.frameworks.registry import (
    HandWritten,
    framework_of,
    numbers,
    time_constants,
)
from alade_brian.conversion.from_torch.polynomials import Polynomial, Spikes, StepReader, UnreadableStep
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import CannotLower
from alade_brian.spec import NeuronEquations, Parameter, constant

_FORM = (
    "write mem = beta * mem + current, spikes = (mem > threshold).to(mem.dtype), and return spikes, "
    "mem - spikes * threshold or spikes, mem * (1 - spikes); or use a neuron of alade_brian.models, such as "
    "LIF(steps, decay=0.9)"
)


def with_hand_written(model: nn.Module, known: Collection[type[nn.Module]]) -> nn.Module:
    """The model itself, its neurons that were written by hand replaced by what their step was found to be.

    known   classes of layers with a lowering of their own
    """
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if _may_be_a_neuron(module, known):
                neuron = neuron_of(module)
                if neuron is not None:
                    parent._modules[name] = neuron
    return model


def _may_be_a_neuron(module: nn.Module, known: Collection[type[nn.Module]]) -> bool:
    theirs = framework_of(module) is not None or type(module).__module__.startswith("torch.")
    if theirs or isinstance(module, (*known, HandWritten, fx.GraphModule)):
        return False
    # A surrogate has no weights; whatever has some is a part of a network.
    plain = all(len(list(child.parameters())) == 0 and len(list(child.children())) == 0 for child in module.children())
    return plain and len(_arguments(module)) in (1, 2)


def _arguments(module: nn.Module) -> list[inspect.Parameter]:
    """The tensors that a forward takes: what is required, and what is None by default."""
    given = inspect.signature(module.forward).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return [p for p in given if p.kind in named and (p.default is p.empty or p.default is None)]


def neuron_of(module: nn.Module) -> HandWritten | None:
    """A module with what its step was found to be: a neuron, or why it is none that equations can say; None if it is no
    neuron at all."""
    try:
        kept, rest = _from_rest(module)
        step = StepReader(_traced(_Step(module, kept)))
    except _Untraceable:
        return None  # whatever the whole forward's tracing says of it
    try:
        returned = step.read(2)
        if not step.spikes:
            return None
        if rest is not None:
            _check_rest(rest, rest.read(1), step, returned)
        neuron: ForeignNeuron | CannotLower = _neuron(returned, step.spikes)
    except UnreadableStep as error:
        if not step.compares:
            return None
        neuron = CannotLower("forward", "a neuron by hand", f"{error}; {_FORM}")
    if kept and isinstance(neuron, ForeignNeuron):
        neuron = replace(neuron, returns=("spikes",), passes_state=False)
    return HandWritten(module, neuron, kept, rest is not None)


class _Untraceable(Exception):
    """A module whose step cannot be written down, or that keeps more than one state."""


class _Step(nn.Module):
    """One step with its state as an argument and a result, wherever the module itself keeps it."""

    def __init__(self, step: nn.Module, kept: str) -> None:
        super().__init__()
        self.step, self.kept = copy.deepcopy(step), kept

    def forward(self, current: Any, state: Any) -> Any:
        if not self.kept:
            return self.step(current, state)
        setattr(self.step, self.kept, state)
        return self.step(current), getattr(self.step, self.kept)


class _FirstStep(nn.Module):
    """The first step of a module that is given no state."""

    def __init__(self, step: nn.Module, kept: str) -> None:
        super().__init__()
        self.step, self.kept = copy.deepcopy(step), kept

    def forward(self, current: Any) -> Any:
        if not self.kept:
            return self.step(current, None)
        setattr(self.step, self.kept, None)
        return self.step(current), getattr(self.step, self.kept)


def _from_rest(module: nn.Module) -> tuple[str, StepReader | None]:
    """The attribute that keeps the state (empty: it is an argument), and the first step where None is its state."""
    arguments, kept = _arguments(module), ""
    if len(arguments) == 1:
        kept = _kept_state(module)
    elif arguments[1].default is not None:
        return "", None
    try:
        return kept, StepReader(_traced(_FirstStep(module, kept)))
    except _Untraceable:
        return kept, None


def _kept_state(module: nn.Module) -> str:
    """The one attribute that a step changes."""
    own = copy.deepcopy(module)
    tracer = _StepTracer()
    try:
        tracer.trace(own)
    except Exception:
        raise _Untraceable from None
    found = [name for name, value in vars(own).items() if isinstance(value, fx.Proxy)]
    if len(found) != 1:
        raise _Untraceable
    return found[0]


class _StepTensor(fx.Proxy):
    """A tensor of a step; a surrogate may write into one that it made: ``out = zeros_like(x)``, ``out[x > 0] = 1``."""

    def __setitem__(self, index: Any, value: Any) -> None:
        self.node = self.tracer.create_proxy("call_function", python_operator.setitem, (self, index, value), {}).node


class _StepTracer(fx.Tracer):
    """Traces a step; the modules in it are surrogates, called as they are."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _StepTensor(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name != "step"


def _traced(root: _Step | _FirstStep) -> fx.GraphModule:
    """One step; _Untraceable if it cannot be traced, or changes anything beside its state."""
    own, kept = root.step, root.kept
    tensors = [*own.buffers(), *(value for value in vars(own).values() if isinstance(value, Tensor))]
    before, versions = _contents(own, kept), [t._version for t in tensors]
    try:
        step = fx.GraphModule(root, _StepTracer().trace(root))
    except Exception:
        raise _Untraceable from None
    if _contents(own, kept) != before or [t._version for t in tensors] != versions:
        raise _Untraceable
    return step


def _contents(module: nn.Module, kept: str) -> dict[str, Any]:
    """What tells that an attribute was set anew, or a list or dictionary in it was changed."""
    return {
        name: (id(value), len(value) if isinstance(value, list | dict | set) else 0)
        for name, value in vars(module).items()
        if name != kept
    }


def _check_rest(rest: StepReader, begun: Any, step: StepReader, returned: Any) -> None:
    """UnreadableStep unless the step without a state is the step with a state of zeros."""
    pairs = list(zip(rest.spikes, step.spikes, strict=False))
    alike = len(rest.spikes) == len(step.spikes) and all(
        one.comparison == other.comparison and not (one.distance - other.distance.without("v")).terms
        for one, other in pairs
    )
    flat = list(zip(_flat(begun), _flat(returned), strict=False))
    if not alike or any((one - other.without("v")).terms for one, other in flat):
        raise UnreadableStep("without a state it does not begin with zeros")


def _flat(returned: Any) -> list[Polynomial]:
    found = returned if isinstance(returned, tuple | list) else (returned,)
    return [value for value in found if isinstance(value, Polynomial)]


@dataclass(frozen=True)
class _Linear:
    """``offset + decay * v + gain * x``."""

    offset: np.ndarray
    decay: np.ndarray
    gain: np.ndarray


def _linear(value: Polynomial, what: str) -> _Linear:
    if set(value.terms) - {(), ("v",), ("x",)}:
        raise UnreadableStep(f"{what} is not linear in the input and the state")
    return _Linear(*(value.of(*names) for names in ((), ("v",), ("x",))))


def _neuron(returned: Any, spikes: list[Spikes]) -> ForeignNeuron:
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise UnreadableStep("it does not return the spikes and one new state")
    sent = next((s for s in spikes if isinstance(returned[0], Polynomial) and returned[0].is_only(s.name)), None)
    if sent is None:
        raise UnreadableStep("what it returns first is not the spikes, 0 or 1")
    after = returned[1]
    if not isinstance(after, Polynomial):
        raise UnreadableStep("what it returns second is not the new state")
    earlier = next((s for s in spikes if s is not sent), None)
    if len(spikes) > 2 or (earlier is not None and after.holds(sent.name)):
        raise UnreadableStep("it compares more than once")
    if earlier is not None:
        return _reset_a_step_later(sent, earlier, after)
    return _reset_at_once(sent, after)


def _reset_at_once(sent: Spikes, after: Polynomial) -> ForeignNeuron:
    """The spikes are those of the membrane after the step's input, or of that before it."""
    kept, change = after.split(sent.name)
    charged = _linear(kept, "the new state")
    if sent.distance.holds("x") or not sent.distance.holds("v"):
        threshold = sent.threshold_of(kept)
        if threshold is None:
            raise UnreadableStep("the spikes are no comparison of the new state with a constant")
        rule, level = _reset_rule(change, kept)
        neuron = _equations(charged, sent, threshold, rule, level)
        return ForeignNeuron(neuron, ("spikes", "membrane"), sampled="after_reset", passes_state=True)
    threshold = sent.threshold_of(Polynomial.symbol("v"))
    if threshold is None or np.any(charged.offset != 0):
        raise UnreadableStep("the spikes are no comparison of the state with a constant")
    rule, level = _late_rule(change, charged)
    neuron = _equations(charged, sent, threshold, rule, level, held=True)
    return ForeignNeuron(neuron, ("spikes", "state"), passes_state=True)


def _reset_a_step_later(sent: Spikes, earlier: Spikes, after: Polynomial) -> ForeignNeuron:
    """The state is compared before the step for the reset, and after it for the spikes."""
    kept, change = after.split(earlier.name)
    level, before = sent.threshold_of(after), earlier.threshold_of(Polynomial.symbol("v"))
    if level is None or before is None or np.any(before != level):
        raise UnreadableStep("the spikes and the reset compare the state with different things")
    if (
        np.any(level < 0)
        or (earlier.comparison == ">=" and np.any(level == 0))
        or earlier.comparison != sent.comparison
    ):
        raise UnreadableStep("the neuron is reset before its first spike")
    charged = _linear(kept, "the new state")
    rule, drop = _late_rule(change, charged)
    neuron = _equations(charged, sent, level, rule, drop)
    return ForeignNeuron(neuron, ("spikes", "membrane"), sampled="before_reset", passes_state=True)


def _reset_rule(change: Polynomial, kept: Polynomial) -> tuple[str, np.ndarray]:
    """How a spike changes the membrane at once: by subtraction of a number, or to a number."""
    if not change.terms:
        return "none", np.zeros(())
    if not set(change.terms) - {()}:
        return "subtract", -change.of()
    level = change + kept
    if not set(level.terms) - {()}:
        return "value", level.of()
    raise UnreadableStep("the reset neither subtracts a number nor sets the state to one")


def _late_rule(change: Polynomial, charged: _Linear) -> tuple[str, np.ndarray]:
    """How a spike changes the membrane of the next step: behind the leak by subtraction, or before it to a number."""
    if not change.terms:
        return "none", np.zeros(())
    if not set(change.terms) - {()}:
        return "late subtract", -change.of()
    drop = change + Polynomial({("v",): charged.decay})
    if not set(drop.terms) - {()} and np.all(charged.decay != 0):
        return "value", drop.of() / charged.decay
    raise UnreadableStep("the reset neither subtracts a number nor sets the state to one")


def _equations(
    charged: _Linear, sent: Spikes, threshold: np.ndarray, rule: str, level: np.ndarray, held: bool = False
) -> NeuronEquations:
    """The neuron; `held` says that a step's input is added behind its threshold test, for the next one."""
    if np.any(charged.decay < 0) or np.any(charged.decay > 1):
        raise UnreadableStep(f"the leak multiplies the state by {np.unique(charged.decay).tolist()}, not by 0 to 1")
    parameters: dict[str, Parameter] = {"v_threshold": _parameter(threshold)}
    if rule != "none":
        parameters["v_reset"] = _parameter(level)
    model = "v : 1"
    if np.any(charged.decay != 1):
        model, parameters["tau"] = "dv/dt = -v/tau : 1", time_constants(charged.decay)
    plain = not held and np.all(charged.gain == 1) and np.all(charged.offset == 0)
    neuron = NeuronEquations(
        model,
        parameters,
        comparison=sent.comparison,
        reset="none" if rule == "none" else "value" if rule == "value" else "subtract",
        leak="before_reset" if rule == "late subtract" else "after_reset",
    )
    if plain:
        return neuron
    parameters = {**parameters, "gain": _parameter(charged.gain)}
    lines = ["v += gain*held", "held = drive"] if held else ["v += gain*drive"]
    if np.any(charged.offset != 0):
        parameters["offset"] = _parameter(charged.offset)
        lines[0] += " + offset"
    variables = f"{model}\ndrive : 1" + ("\nheld : 1" if held else "")
    update = "\n".join([*lines, "drive = 0"])
    return replace(neuron, model=variables, parameters=parameters, input="drive", update=update)


def _parameter(value: np.ndarray | Tensor) -> Parameter:
    return constant(numbers(value))
