"""The torch face of a neuron that is stated as text: `NeuronEquations`, stepped on tensors.

One text thus has both faces. Brian2 makes code of it; here the same lines are computed in float64 with torch, in the
same order, which holds a neuron of another package against its equations without a simulation.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from alade_brian.models.neurons.neuron import Feedback
from alade_brian.spec import NeuronEquations

_DIFFERENTIAL = re.compile(r"\s*d(\w+)/dt\s*=\s*(.+?)\s*:\s*1\s*")
_DECAY = re.compile(r"-\s*(\w+)\s*/\s*(\w+)")
_NUMBERS = {"pi": math.pi, "e": math.e, "inf": math.inf, "dt": 1.0}
_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "abs": torch.abs,
    "arccos": torch.arccos,
    "arcsin": torch.arcsin,
    "arctan": torch.arctan,
    "ceil": torch.ceil,
    "clip": lambda x, low, high: torch.minimum(torch.maximum(x, low), high),
    "cos": torch.cos,
    "cosh": torch.cosh,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "exprel": lambda x: torch.where(x == 0, torch.ones_like(x), torch.expm1(x) / x),
    "floor": torch.floor,
    "int": torch.trunc,
    "log": torch.log,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
_ARITHMETIC: Mapping[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: torch.add,
    ast.Sub: torch.sub,
    ast.Mult: torch.mul,
    ast.Div: torch.div,
    ast.FloorDiv: torch.floor_divide,
    ast.Mod: torch.remainder,
    ast.Pow: torch.pow,
}
_COMPARISONS: Mapping[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Lt: torch.lt,
    ast.LtE: torch.le,
    ast.Gt: torch.gt,
    ast.GtE: torch.ge,
    ast.Eq: torch.eq,
    ast.NotEq: torch.ne,
}


@dataclass(frozen=True)
class EquationRun:
    """A layer of neurons over time, each array ``(steps, images, ...)``.

    sent                         what other layers receive: spikes times their amplitude, or the membrane
    before_reset, after_reset    the membrane around the reset
    """

    sent: Tensor
    before_reset: Tensor
    after_reset: Tensor


@torch.no_grad()
def run_equations(equations: NeuronEquations, currents: Tensor, feedback: Feedback | None = None) -> EquationRun:
    """Step a layer of neurons as Brian2 does, in float64.

    currents   ``(steps, images, ...)``
    feedback   what the layer's output of one step adds to its input of the next; before the first step all are zero

    ValueError where the text draws random numbers, or asks for the exact solution of more than decays.
    """
    neuron = _Stepped(equations, currents[0].double())
    sent = torch.zeros_like(neuron.membrane)
    found = []
    for current in currents.double():
        neuron.flow()
        neuron.receive(current if feedback is None else current + feedback(sent))
        before = neuron.membrane
        sent = neuron.fire()
        found.append((sent, before, neuron.membrane))
    return EquationRun(*(torch.stack(each) for each in zip(*found, strict=True)))


class _Stepped:
    """The state of a layer of neurons and what a time step does to it."""

    def __init__(self, equations: NeuronEquations, like: Tensor) -> None:
        self.equations = equations
        self.values = {name: torch.from_numpy(p.value.copy()) for name, p in equations.parameters.items()}
        begin = dict.fromkeys(equations.states, torch.zeros((), dtype=torch.float64))
        begin |= {name: self.values[f"{name}_initial"] for name in begin if f"{name}_initial" in self.values}
        if "v_initial" in self.values:
            begin[equations.membrane] = self.values["v_initial"]
        self.like = like
        self.values |= {name: value + torch.zeros_like(like) for name, value in begin.items()}
        self.fired = torch.zeros_like(like)

    @property
    def membrane(self) -> Tensor:
        return self.values[self.equations.membrane]

    def flow(self) -> None:
        """One step of the differential equations: every variable moves by the values before it."""
        changed = {}
        for line in self.equations.model.splitlines():
            found = _DIFFERENTIAL.fullmatch(line)
            if found is None:
                continue
            name, text = found.groups()
            euler = self.equations.method == "euler"
            changed[name] = self.values[name] + self._value(text) if euler else self._decayed(name, text)
        self.values |= changed

    def _decayed(self, name: str, text: str) -> Tensor:
        found = _DECAY.fullmatch(text)
        if found is None or found[1] != name:
            raise ValueError(f"d{name}/dt = {text} is no decay: only those are solved exactly here; use method 'euler'")
        return self.values[name] * torch.exp(-1 / self.values[found[2]])

    def receive(self, current: Tensor) -> None:
        """The reset that was delayed, the step's input, and the code behind it."""
        equations = self.equations
        if self._late:
            self._reset(self.fired)
        self.values[equations.input_variable] = self.values[equations.input_variable] + current
        self._run(equations.update, torch.ones_like(self.like, dtype=torch.bool))

    def fire(self) -> Tensor:
        """What the layer sends, after its reset."""
        equations = self.equations
        if not equations.spiking:
            return self.membrane
        compare = torch.gt if equations.comparison == ">" else torch.ge
        fired = compare(self.membrane, self._value(equations.threshold))
        self.fired = fired.double()
        if not self._late:
            self._reset(self.fired)
        self._run(equations.on_spike, fired)
        return self.fired * self.values.get("amplitude", torch.ones((), dtype=torch.float64))

    @property
    def _late(self) -> bool:
        return self.equations.leak == "before_reset" and self.equations.reset != "none" and self.equations.spiking

    def _reset(self, fired: Tensor) -> None:
        rule, v = self.equations.reset, self.membrane
        if rule == "value":
            self.values[self.equations.membrane] = torch.where(fired > 0, self.values["v_reset"] + 0 * v, v)
        if rule == "subtract":
            self.values[self.equations.membrane] = torch.where(fired > 0, v - self.values["v_reset"], v)

    def _run(self, code: str, where: Tensor) -> None:
        """Statements, for the neurons that are marked."""
        for line in filter(None, map(str.strip, code.splitlines())):
            match ast.parse(line).body[0]:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    found = self._evaluate(value)
                case ast.AugAssign(target=ast.Name(id=name), op=sign, value=value):
                    found = _ARITHMETIC[type(sign)](self.values[name], self._evaluate(value))
                case _:
                    raise ValueError(f"{line!r} is no assignment: write 'x = expression'")
            self.values[name] = torch.where(where, _number(found), self.values[name])

    def _value(self, text: str) -> Tensor:
        return _number(self._evaluate(ast.parse(text, mode="eval").body))

    def _evaluate(self, tree: ast.expr) -> Tensor:
        match tree:
            case ast.Constant(value=int() | float() | bool() as value):
                return torch.tensor(float(value), dtype=torch.float64)
            case ast.Name(id=name):
                return self.values[name] if name in self.values else _given(name)
            case ast.BinOp(left=left, op=sign, right=right):
                return _ARITHMETIC[type(sign)](_number(self._evaluate(left)), _number(self._evaluate(right)))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -_number(self._evaluate(inner))
            case ast.UnaryOp(op=ast.UAdd(), operand=inner):
                return _number(self._evaluate(inner))
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return ~self._evaluate(inner).bool()
            case ast.BoolOp(op=sign, values=parts):
                join = torch.logical_and if isinstance(sign, ast.And) else torch.logical_or
                return reduce(join, [self._evaluate(part).bool() for part in parts])
            case ast.Compare(left=left, ops=signs, comparators=others):
                sides = [_number(self._evaluate(side)) for side in (left, *others)]
                pairs = [_COMPARISONS[type(sign)](*sides[k : k + 2]) for k, sign in enumerate(signs)]
                return reduce(torch.logical_and, pairs)
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*(_number(self._evaluate(argument)) for argument in arguments))
            case _:
                raise ValueError(f"{ast.unparse(tree)!r} is not computed here: only what is the same in every run")


def _given(name: str) -> Any:
    if name not in _NUMBERS:
        raise ValueError(f"'{name}' is not computed here: steps are the unit of time, and neurons have no number")
    return torch.tensor(_NUMBERS[name], dtype=torch.float64)


def _number(value: Tensor) -> Tensor:
    """A truth value as a number."""
    return value.double() if value.dtype == torch.bool else value
