"""The registry of torch's layers: how each class is lowered, and which of its arguments limit that.

A lowering function takes the network so far, the layer's name, the layer, and its input, and returns its output. What
it cannot lower exactly it refuses with `CannotLower`: the argument, its value and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import nn

from alade_brian.conversion.from_torch.shapes import LowerFunction
from alade_brian.conversion.lowering import AffineInput, CannotLower, SpecBuilder
from alade_brian.registry import Registry


@dataclass(frozen=True)
class Lowering:
    """How a class of layers is lowered; called like the function itself.

    limits      by argument of the layer, the one value for which the lowering is exact; any other is refused
    condition   what the function itself refuses, for the documentation's table
    linear      whether the layer is a linear map of its input, and may feed a neuron's spikes back to it
    """

    function: LowerFunction
    limits: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    condition: str = ""
    linear: bool = False

    def __call__(self, lowering: SpecBuilder, name: str, module: Any, value: AffineInput) -> AffineInput:
        for argument, exact in self.limits.items():
            given = getattr(module, argument)
            if given != exact:
                raise CannotLower(argument, given, f"has no exact lowering; use {exact!r}")
        return self.function(lowering, name, module, value)

    @property
    def conditions(self) -> str:
        """All conditions in a line, as the documentation's table has them."""
        limits = [f"{argument} {exact!r}" for argument, exact in self.limits.items()]
        return "; ".join([*limits, *([self.condition] if self.condition else [])])


LOWERINGS: Registry[type[nn.Module], Lowering] = Registry("layer")


def lowers(
    *kinds: type[nn.Module], limits: Mapping[str, Any] | None = None, condition: str = "", linear: bool = False
) -> Callable[[LowerFunction], LowerFunction]:
    """A decorator: the function lowers layers of these classes, and those derived from them. See `Lowering`."""

    def add(function: LowerFunction) -> LowerFunction:
        LOWERINGS.register(*kinds)(Lowering(function, MappingProxyType(dict(limits or {})), condition, linear))
        return function

    return add
