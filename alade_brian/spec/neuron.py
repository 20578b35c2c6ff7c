"""Specification of a neuron: differential equations, constants, and the conventions that determine its spikes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from alade_brian.spec.errors import float64, require
from alade_brian.spec.neuron_grammar import RANDOM, check_expression, check_model, check_names, check_statements

Unit = Literal["1", "step"]


@dataclass(frozen=True, eq=False)
class Parameter:
    """A constant of the neuron's equations: one number, one per channel ``(C, 1, 1)``, or one per neuron.

    `unit` is ``"1"`` (a number) or ``"step"`` (a time, counted in time steps; it becomes seconds in Brian2).
    """

    value: np.ndarray
    unit: Unit = "1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", float64(self.value))
        require(bool(np.all(np.isfinite(self.value))), "a neuron parameter holds a value that is not finite")
        require(self.unit in ("1", "step"), f"a neuron parameter has the unit '{self.unit}': use '1' or 'step'")

    @property
    def shared(self) -> bool:
        """Whether all neurons share one number. Brian2 declares it so, and generated code holds that single number;
        any other array has one number per neuron, also where there is one neuron."""
        return self.value.size == 1


def constant(value: object, unit: Unit = "1") -> Parameter:
    """Make a parameter from a number or an array."""
    return Parameter(np.asarray(value, dtype=np.float64), unit)


@dataclass(frozen=True, eq=False)
class NeuronEquations:
    """One neuron type: its differential equations and the conventions that equations leave open.

    In every time step the state follows `model` for one step, then the input of that step is added to `input`, then
    `update` is done, then the threshold is tested, then the reset acts. A variable x starts a presentation at the
    parameter ``x_initial`` where there is one, otherwise at zero; the membrane, whatever its name, at ``v_initial``.

    model        Brian2 state equations, e.g. ``dv/dt = -v/tau : 1``
    method       how the equations are stepped: ``exact`` (their solution) or ``euler`` (forward Euler)
    membrane     the variable that is compared with the threshold; of a neuron that does not spike it is the output
    input        the variable that takes the input; empty means the membrane
    update       Brian2 code between the arrival of the step's input and the threshold test, e.g. ``v += syn``
    threshold    an expression, by default the parameter ``v_threshold``
    spiking      False for neurons that pass their membrane on instead of spikes
    comparison   ``>`` or ``>=``
    reset        ``value``: membrane = v_reset; ``subtract``: membrane -= v_reset; ``none``
    leak         ``after_reset``: the next step's leak acts on what the reset left; ``before_reset``: the membrane
                 leaks first and the reset, delayed until the next step, acts on the leaked value
    on_spike     further code for a neuron that fired, done at once, e.g. ``adaptation += jump``

    Expressions consist of numbers, the model's variables, the parameters, operators and the functions of
    `neuron_grammar`; anything else is a SpecError.

    The parameter ``amplitude``, where there is one, is what a spike of the neuron counts for its targets (default 1).
    """

    model: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    membrane: str = "v"
    spiking: bool = True
    comparison: Literal[">", ">="] = ">"
    reset: Literal["value", "subtract", "none"] = "value"
    leak: Literal["after_reset", "before_reset"] = "after_reset"
    method: Literal["exact", "euler"] = "exact"
    input: str = ""
    update: str = ""
    threshold: str = "v_threshold"
    on_spike: str = ""

    def __post_init__(self) -> None:
        require(self.comparison in (">", ">="), f"unknown comparison '{self.comparison}': use '>' or '>='")
        require(self.reset in ("value", "subtract", "none"), f"unknown reset '{self.reset}'")
        require(self.leak in ("after_reset", "before_reset"), f"unknown order of leak and reset '{self.leak}'")
        require(self.method in ("exact", "euler"), f"unknown method '{self.method}': use 'exact' or 'euler'")
        self._check_text()
        states = self.states
        reserved = {"i", "j", "t", "dt", "N", "xi", "bias", "fired", "w"} & {*states, *self.parameters}
        require(not reserved, f"the model uses the name {', '.join(sorted(reserved))}, which is taken: choose another")
        for what, name in (("membrane", self.membrane), ("input", self.input_variable)):
            require(name in states, f"the {what} '{name}' is no variable of the model (it has {', '.join(states)})")
        needed = {"v_threshold"} if self.spiking and self.threshold == "v_threshold" else set()
        if self.spiking and self.reset != "none":
            needed.add("v_reset")
        missing = needed - set(self.parameters)
        require(not missing, f"the neuron's parameters lack {', '.join(sorted(missing))}")
        times = [key for key, p in self.parameters.items() if p.unit == "step" and np.any(p.value <= 0)]
        require(not times, f"the time constant {', '.join(sorted(times))} is not positive: use more than 0 steps")

    def _check_text(self) -> None:
        require(isinstance(self.spiking, bool), f"`spiking` of a neuron is {self.spiking!r}: use True or False")
        require(
            isinstance(self.parameters, Mapping) and all(isinstance(p, Parameter) for p in self.parameters.values()),
            "a neuron's parameters are no mapping from names to `Parameter`: give it one",
        )
        check_names(self.parameters, "the parameter")
        require(isinstance(self.model, str), f"the model is {self.model!r}: use text")
        states = self.states
        doubles = {name for name in states if states.count(name) > 1} | {*states} & {*self.parameters}
        require(not doubles, f"the name {', '.join(sorted(doubles))} is used twice in a neuron: choose another")
        known = {*states, *self.parameters}
        check_model(self.model, known)
        check_statements(self.update, states, known, "the update")
        check_statements(self.on_spike, states, known, "what is done on a spike")
        # The default of a neuron that does not spike names a parameter that it need not have.
        if self.spiking or self.threshold != "v_threshold":
            check_expression(self.threshold, known | {"v_threshold"}, "the threshold")

    @property
    def states(self) -> tuple[str, ...]:
        """State variables of the model, in order."""
        return tuple(re.findall(r"^\s*(?:d(?=\w+/dt))?(\w+?)(?:/dt\s*=|\s*:)", self.model, re.MULTILINE))

    @property
    def input_variable(self) -> str:
        """The variable to which input is added."""
        return self.input or self.membrane

    @property
    def draws(self) -> frozenset[str]:
        """The random functions that it calls; with any, two presentations of an image need not be the same."""
        return RANDOM & set(re.findall(r"\w+", f"{self.update} {self.on_spike}"))


def memoryless(spiking: bool = False, **parameters: Parameter) -> NeuronEquations:
    """A neuron whose membrane is its input of the same step."""
    return NeuronEquations(
        "v : 1\ndrive : 1", parameters, spiking=spiking, reset="none", input="drive", update="v = drive\ndrive = 0"
    )
