"""One step of a neuron, read from its trace: every tensor a polynomial in the input, the state and the spikes.

The input is ``x``, the state ``v``; every comparison brings a symbol of its own, which is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor, fx

from alade_brian.conversion.from_torch.frameworks.registry import comparison_of
from alade_brian.conversion.lowering import CannotLower

Monomial = tuple[str, ...]


class UnreadableStep(Exception):
    """A step that is no neuron that equations can say; the message says what in it is otherwise."""


@dataclass(frozen=True, eq=False)
class Polynomial:
    """By monomial, the sorted names of its symbols, a coefficient: one number, or one for each channel or neuron.

    Coefficients that are zero are left out.
    """

    terms: Mapping[Monomial, np.ndarray]

    def __post_init__(self) -> None:
        kept = {names: value for names, value in self.terms.items() if np.any(value != 0)}
        object.__setattr__(self, "terms", kept)

    @staticmethod
    def symbol(name: str) -> Polynomial:
        """One symbol."""
        return Polynomial({(name,): np.ones(())})

    @staticmethod
    def constant(number: Any) -> Polynomial:
        """A number, or a tensor of numbers."""
        value = number.detach().double().cpu().numpy() if isinstance(number, Tensor) else np.asarray(number, float)
        return Polynomial({(): value})

    def of(self, *names: str) -> np.ndarray:
        """The coefficient of a monomial."""
        return self.terms.get(names, np.zeros(()))

    def holds(self, name: str) -> bool:
        """Whether it depends on a symbol."""
        return any(name in names for names in self.terms)

    def is_only(self, name: str) -> bool:
        """Whether it is that symbol."""
        return set(self.terms) == {(name,)} and bool(np.all(self.of(name) == 1))

    def without(self, name: str) -> Polynomial:
        """What it is where a symbol is 0."""
        return self.split(name)[0]

    def split(self, name: str) -> tuple[Polynomial, Polynomial]:
        """What it is where a symbol is 0, and what it is more where the symbol is 1."""
        without = {names: value for names, value in self.terms.items() if name not in names}
        with_it = {tuple(n for n in names if n != name): v for names, v in self.terms.items() if name in names}
        return Polynomial(without), Polynomial(with_it)

    def __add__(self, other: Polynomial) -> Polynomial:
        made = dict(self.terms)
        for names, value in other.terms.items():
            made[names] = made.get(names, 0.0) + value
        return Polynomial(made)

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + other * Polynomial.constant(-1.0)

    def __mul__(self, other: Polynomial) -> Polynomial:
        made: dict[Monomial, np.ndarray] = {}
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                # A spike is 0 or 1: its square is itself.
                spikes = {n for n in (*left, *right) if n not in ("x", "v")}
                names = tuple(sorted([*spikes, *(n for n in (*left, *right) if n in ("x", "v"))]))
                made[names] = made.get(names, np.zeros(())) + a * b
        return Polynomial(made)


@dataclass(frozen=True, eq=False)
class Spikes:
    """A comparison: 1 where `distance` is above 0, or where it is not below.

    `compared` is what was compared with which constant, where it was written so.
    """

    name: str
    distance: Polynomial
    comparison: Literal[">", ">="]
    compared: tuple[Polynomial, np.ndarray] | None = None

    def threshold_of(self, membrane: Polynomial) -> np.ndarray | None:
        """The constant that a membrane must pass for the spikes to be these; None if there is none."""
        if self.compared is not None and not (self.compared[0] - membrane).terms:
            return self.compared[1]
        rest = membrane - self.distance
        return None if set(rest.terms) - {()} else rest.of()


class StepReader(fx.Interpreter):
    """Runs a traced step on polynomials; everything that holds no symbol is computed by torch itself."""

    def __init__(self, step: fx.GraphModule) -> None:
        super().__init__(step)
        self.extra_traceback = False  # messages are a user's
        self.spikes: list[Spikes] = []

    @property
    def compares(self) -> bool:
        """Whether the step compares something, itself or in a surrogate."""
        names = (getattr(node.target, "__name__", node.target) for node in self.graph.nodes)
        return any(name in _COMPARED or name == "heaviside" for name in names) or any(
            node.op == "call_module" for node in self.graph.nodes
        )

    def read(self, arguments: int) -> Any:
        """What the step returns, given the input and, as a second argument, the state.

        UnreadableStep where it does something else than a neuron of the usual form.
        """
        return self.run(*(Polynomial.symbol(name) for name in ("x", "v")[:arguments]))

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        if not any(isinstance(a, Polynomial) for a in args):
            return super().call_module(target, args, kwargs)
        module = self.fetch_attr(target)
        try:
            sign = comparison_of(module, str(target).removeprefix("step."))
        except CannotLower as refusal:
            raise UnreadableStep(f"{target} ({type(module).__name__}) {refusal.remedy}") from None
        return self._compared(_polynomial(args[0]), sign)

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        if not _symbolic(args) and not _symbolic(tuple(kwargs.values())):
            return super().call_function(target, args, kwargs)
        return self._done(getattr(target, "__name__", str(target)), args, kwargs)

    def call_method(self, target: Any, args: tuple, kwargs: dict) -> Any:
        if not _symbolic(args) and not _symbolic(tuple(kwargs.values())):
            return super().call_method(target, args, kwargs)
        return self._done(str(target), args, kwargs)

    def _done(self, name: str, args: tuple, kwargs: dict) -> Any:
        if name == "getattr" and args[1] in ("dtype", "device"):
            return args[1]
        if name in _PASSED and isinstance(args[0], Polynomial):
            return args[0]
        if name in _COMPARED and len(args) == 2:
            left, right = map(_polynomial, args)
            above, sign = _COMPARED[name]
            over, under = (left, right) if above else (right, left)
            return self._compared(over - under, sign, None if set(under.terms) - {()} else (over, under.of()))
        if name == "heaviside" and len(args) == 2 and isinstance(args[1], Tensor):
            at_zero = {0.0: ">", 1.0: ">="}.get(float(args[1].mean()) if args[1].numel() else -1.0)
            if at_zero is not None and bool((args[1] == args[1].flatten()[0]).all()):
                return self._compared(_polynomial(args[0]), at_zero)  # type: ignore[arg-type]
        if name in _LIKE:
            return Polynomial.constant(args[1] if name == "full_like" else _LIKE[name])
        if name in _COMPUTED and not kwargs:
            return _COMPUTED[name](*args)
        raise UnreadableStep(f"it uses {name}")

    def _compared(
        self,
        distance: Polynomial,
        sign: Literal[">", ">="],
        compared: tuple[Polynomial, np.ndarray] | None = None,
    ) -> Polynomial:
        for known in self.spikes:
            if known.comparison == sign and not (known.distance - distance).terms:
                return Polynomial.symbol(known.name)
        made = Spikes(f"s{len(self.spikes)}", distance, sign, compared)
        self.spikes.append(made)
        return Polynomial.symbol(made.name)


def _symbolic(tree: Any) -> bool:
    if isinstance(tree, tuple | list):
        return any(_symbolic(item) for item in tree)
    return isinstance(tree, Polynomial)


def _polynomial(value: Any) -> Polynomial:
    if isinstance(value, Polynomial):
        return value
    if isinstance(value, Tensor | int | float):
        return Polynomial.constant(value)
    raise UnreadableStep(f"it computes with {type(value).__name__}")


def _over(left: Any, right: Any) -> Polynomial:
    if isinstance(right, Polynomial):
        raise UnreadableStep("it divides by the input or the state")
    return _polynomial(left) * Polynomial.constant(1 / _polynomial(right).of())


def _chosen(condition: Any, one: Any, other: Any) -> Polynomial:
    fired = _polynomial(condition)
    return fired * _polynomial(one) + _not(fired) * _polynomial(other)


def _written(whole: Any, mask: Any, number: Any) -> Polynomial:
    """A tensor of one number with another one in it where a comparison holds."""
    before = _polynomial(whole)
    if set(before.terms) - {()} or not isinstance(mask, Polynomial):
        raise UnreadableStep("it writes into the state or the input in its place")
    return _chosen(mask, number, before)


def _not(fired: Any) -> Polynomial:
    return Polynomial.constant(1.0) - _polynomial(fired)


# What changes no number; spikes are exact in every type.
_PASSED = ("to", "float", "double", "int", "bool", "type_as", "type", "detach", "clone", "contiguous")
# Constants of the shape of a tensor that depends on the images.
_LIKE = {"zeros_like": 0.0, "ones_like": 1.0, "full_like": 0.0}
_COMPARED: Mapping[str, tuple[bool, Literal[">", ">="]]] = {
    "gt": (True, ">"), "ge": (True, ">="), "lt": (False, ">"), "le": (False, ">="), "greater": (True, ">"),
    "greater_equal": (True, ">="), "less": (False, ">"), "less_equal": (False, ">="),
}  # fmt: skip


def _plus(left: Any, right: Any) -> Polynomial:
    return _polynomial(left) + _polynomial(right)


def _minus(left: Any, right: Any) -> Polynomial:
    return _polynomial(left) - _polynomial(right)


def _times(left: Any, right: Any) -> Polynomial:
    return _polynomial(left) * _polynomial(right)


_COMPUTED: Mapping[str, Callable[..., Any]] = {
    # Nothing that changes a tensor in its place: other names of it would change too.
    **dict.fromkeys(("add", "iadd"), _plus),
    **dict.fromkeys(("sub", "subtract", "isub"), _minus),
    **dict.fromkeys(("mul", "multiply", "imul"), _times),
    **dict.fromkeys(("truediv", "div", "divide", "itruediv"), _over),
    **dict.fromkeys(("neg", "negative"), lambda value: Polynomial({}) - _polynomial(value)),
    **dict.fromkeys(("logical_not", "invert", "bitwise_not"), _not),
    **dict.fromkeys(("logical_and", "and_", "bitwise_and"), _times),
    "where": _chosen,
    "masked_fill": lambda value, mask, number: _chosen(mask, number, value),
    "getitem": lambda values, index: values[index],
    "setitem": _written,
}
