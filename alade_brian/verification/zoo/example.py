"""What an example network of another framework is, and how the examples of all frameworks are found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import nn

from alade_brian.errors import UserError


@dataclass(frozen=True)
class Example:
    """A network after the description of a tutorial, a paper or a model zoo, narrow enough to be compared in seconds.

    title    what the table calls it
    build    makes the network; weights are drawn by the caller's seed
    shape    of one image, or of one presentation ``(steps, ...)`` if it takes a sequence
    how      further keywords of `verify`: steps, sequence, output
    """

    title: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    how: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


# By framework, the module that describes its networks: each imports its framework.
MODULES: Mapping[str, str] = {
    name: f"alade_brian.verification.zoo.{name}_networks" for name in ("snntorch", "spikingjelly")
}


def examples(framework: str) -> tuple[Example, ...]:
    """The examples of a framework; UserError if it is not installed."""
    try:
        found: tuple[Example, ...] = importlib.import_module(MODULES[framework]).EXAMPLES
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed; install alade-brian[peers] to compare its networks") from error
    return found
