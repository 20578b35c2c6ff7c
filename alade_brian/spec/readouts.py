"""The decodings of a readout by name: what each reads, and how it makes logits of that, in numpy.

What the specification checks, what a simulation records, how a network of torch is lowered, what a diagnosis tries and
what an exported script writes follow from the classes here.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import ClassVar, Literal

import numpy as np

from alade_brian.registry import Registry
from alade_brian.spec.errors import SpecError, require

# What is read of a population: its membrane; the same, of one that never spikes and adds its input up; its spikes times
# their amplitude; whether it spikes, as a truth value; what it sends: spikes or, where it never spikes, its membrane.
Reads = Literal["membrane", "input", "spikes", "firing", "output"]
# How the steps are put together, where a forward in torch can say it.
OverTime = Literal["sum", "mean", "last", "max", "every"]


class Decoding:
    """One way to read an answer; a further one is a class like this, registered in `DECODINGS`.

    reads       what of the population
    group       how the neurons of a population code become one answer
    by_step     whether every step has an answer of its own
    over_time   how the steps are put together; None where that has no name in a traced forward
    note        a remark beside it in an exported script
    """

    reads: ClassVar[Reads]
    group: ClassVar[Literal["mean", "sum"]] = "mean"
    by_step: ClassVar[bool] = False
    over_time: ClassVar[OverTime | None] = None
    note: ClassVar[str] = ""

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        """``(images, steps, neurons)`` -> ``(images, neurons)``, or ``(images, steps, neurons)`` if `by_step`.

        One expression of its arguments and of numpy, `np`: an exported script writes it down.
        """
        raise NotImplementedError("a decoding gives logits")


DECODINGS: Registry[str, type[Decoding]] = Registry("decoding")


def expression(name: str, steps: str) -> str:
    """The expression of a decoding as text, with this in place of `steps`.

    SpecError if its function is no single `return`, uses other names, or has no source text.
    """
    what = f"the decoding '{name}' cannot be written into a script:"
    try:
        source = inspect.getsource(DECODINGS[name].logits)
    except (OSError, TypeError):
        raise SpecError(f"{what} its source text is not found; define it in a file") from None
    (function,) = ast.parse(textwrap.dedent(source)).body
    body = function.body if isinstance(function, ast.FunctionDef) else []
    if len(body) > 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    returned = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None
    if returned is None:
        raise SpecError(f"{what} its `logits` is no single `return` of an expression; write it as one")
    found = [node for node in ast.walk(returned) if isinstance(node, ast.Name)]
    other = sorted({node.id for node in found} - {"values", "steps", "np"})
    require(not other, f"{what} it uses {', '.join(other)}; use its arguments and np only")
    for node in found:
        node.id = steps if node.id == "steps" else node.id
    return ast.unparse(returned)


def words(name: str) -> set[str]:
    """The names of variables, functions and attributes in a decoding's function, and the words of its note."""
    decoding = DECODINGS[name]
    code = decoding.logits.__code__
    return {*code.co_names, *code.co_varnames, *decoding.note.split()}


@DECODINGS.register("mean_input")
class MeanInput(Decoding):
    """The summed input of a population that integrates without leak, over the number of steps."""

    reads = "input"
    over_time = "mean"
    note = "the summed input over the number of steps"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        """See `Decoding`."""
        return values[:, -1] / steps


@DECODINGS.register("last_membrane")
class LastMembrane(Decoding):
    """The membrane in the last step."""

    reads = "membrane"
    over_time = "last"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        """See `Decoding`."""
        return values[:, -1]


@DECODINGS.register("mean_membrane")
class MeanMembrane(Decoding):
    """The mean of the membrane over the steps."""

    reads = "membrane"
    over_time = "mean"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        """See `Decoding`."""
        return values.mean(1)


@DECODINGS.register("max_membrane")
class MaxMembrane(Decoding):
    """The largest membrane over the steps."""

    reads = "membrane"
    over_time = "max"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        """See `Decoding`."""
        return values.max(1)


@DECODINGS.register("spike_count")
class SpikeCount(Decoding):
    """The number of spikes; a population code adds them up."""

    reads = "spikes"
    group = "sum"
    over_time = "sum"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        """See `Decoding`."""
        return values.sum(1)


@DECODINGS.register("spike_rate")
class SpikeRate(Decoding):
    """The number of spikes over that of steps."""

    reads = "spikes"
    over_time = "mean"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        """See `Decoding`."""
        return values.mean(1)


@DECODINGS.register("first_spike")
class FirstSpikeTime(Decoding):
    """Minus the step of the first spike, minus the number of steps where there is none."""

    reads = "firing"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        """See `Decoding`."""
        return -np.where(values.any(1), values.argmax(1), steps)


@DECODINGS.register("every_step")
class EveryStepApart(Decoding):
    """What the population sends, in every step."""

    reads = "output"
    by_step = True
    over_time = "every"

    @staticmethod
    def logits(values: np.ndarray, steps: int) -> np.ndarray:
        """See `Decoding`."""
        return values
