"""The subset of Brian2's language that a neuron's equations may use. Everything else is refused before it reaches
Brian2: the text of a specification file becomes code in three places (Brian2, generated C++, an exported script).
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection

from alade_brian.spec.errors import SpecError, require

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Functions of Brian2 that give the same number every time.
FUNCTIONS = frozenset(
    "abs arccos arcsin arctan ceil clip cos cosh exp expm1 exprel floor int log log10 log1p sign sin sinh sqrt tan tanh"
    " timestep".split()
)
# Functions without an argument, for noise: allowed in statements, which run once in a step.
RANDOM = frozenset(("rand", "randn"))
# What Brian2 knows beside a neuron's own variables.
GIVEN = frozenset("t dt t_in_timesteps i N pi e inf second ms us Hz kHz".split())
LONGEST = 2000

_DIFFERENTIAL = re.compile(r"d([A-Za-z][A-Za-z0-9_]*)/dt\s*=\s*([^:]+):\s*1")
_VARIABLE = re.compile(r"([A-Za-z][A-Za-z0-9_]*)\s*:\s*1")
_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.UAdd, ast.USub, ast.Not, ast.And, ast.Or,
    ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq,
)  # fmt: skip


def check_names(names: Collection[str], what: str) -> None:
    """Raise SpecError unless all names are valid in Brian2, C++ and Python."""
    for name in names:
        ok = isinstance(name, str) and NAME.fullmatch(name) is not None
        require(ok, f"{what} {name!r} is no name: use letters, digits and underscores")


def check_model(text: str, known: Collection[str]) -> None:
    """Raise SpecError unless every line is ``dx/dt = expression : 1`` or ``x : 1``; `known` names may occur in it."""
    for line in _lines(text, "the model"):
        equation = _DIFFERENTIAL.fullmatch(line)
        if equation is not None:
            check_expression(equation[2].strip(), known, "the model")
        else:
            require(
                _VARIABLE.fullmatch(line) is not None,
                f"the model's line {line!r} is no equation: write 'dx/dt = expression : 1' or 'x : 1'",
            )


def check_statements(text: str, states: Collection[str], known: Collection[str], what: str) -> None:
    """Raise SpecError unless every line is ``x = expression`` (or +=, -=, *=, /=), with x one of the `states`."""
    for line in _lines(text, what):
        match _parsed(line, "exec", what):
            case ast.Module(body=[ast.Assign(targets=[ast.Name(id=name)], value=value)]):
                pass
            case ast.Module(
                body=[
                    ast.AugAssign(
                        target=ast.Name(id=name), op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), value=value
                    )
                ]
            ):
                pass
            case _:
                raise SpecError(f"the line {line!r} of {what} is no assignment: write 'x = expression'")
        require(name in states, f"{what} sets '{name}', which is no variable of the model: it has {', '.join(states)}")
        _check(value, line, known, what, RANDOM)


def check_expression(text: str, known: Collection[str], what: str) -> None:
    """Raise SpecError unless the text is one expression of numbers, known names, operators and `FUNCTIONS`."""
    tree = _parsed(text, "eval", what)
    assert isinstance(tree, ast.Expression)
    _check(tree.body, text, known, what)


def _lines(text: str, what: str) -> list[str]:
    """Non-blank lines of a text."""
    require(isinstance(text, str), f"{what} is {text!r}: use text")
    # str.splitlines also ends lines where neither Python nor Brian2 does.
    return [line.strip(" \t") for line in text.split("\n") if line.strip(" \t")]


def _parsed(text: object, mode: str, what: str) -> ast.AST:
    """Parse one line as Python."""
    require(isinstance(text, str), f"{what} is {text!r}: use text")
    line = str(text)
    require(len(line) <= LONGEST, f"a line of {what} has {len(line)} characters: use at most {LONGEST}")
    require(
        line.isascii() and line.isprintable() and "#" not in line,
        f"{what} holds {line!r}: write one line of plain ASCII, without comments",
    )
    try:
        return ast.parse(line, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise SpecError(f"{what} holds {line!r}, which cannot be read: write it as in Brian2") from None


def _check(tree: ast.expr, line: str, known: Collection[str], what: str, random: Collection[str] = ()) -> None:
    functions = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[_, *_], keywords=[]):
                require(name in FUNCTIONS, f"{what} calls '{name}' in {line!r}: use {', '.join(sorted(FUNCTIONS))}")
                functions.add(id(node.func))
            case ast.Call(func=ast.Name(id=name), args=[], keywords=[]) if name in random:
                functions.add(id(node.func))
            case ast.Name(id=name):
                require(
                    id(node) in functions or name in known or name in GIVEN,
                    f"{what} names '{name}' in {line!r}, which is neither a variable of the model nor a parameter: add "
                    "it to the parameters",
                )
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float() as number):
                require(_finite(number), f"{what} holds a number that is not finite in {line!r}: write a smaller one")
            case ast.BinOp() | ast.UnaryOp() | ast.BoolOp() | ast.Compare() | ast.Load():
                pass
            case _:
                require(
                    isinstance(node, _OPERATORS),
                    f"{what} holds {line!r}: use names, numbers, arithmetic, comparisons, and, or, not, and functions",
                )


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
