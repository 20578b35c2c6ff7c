"""The table of what other packages' classes become: exact, or refused and why."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

from torch import nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS, Framework
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.simulation import SimulationSettings
from alade_brian.verification.coverage import examples
from alade_brian.verification.coverage.network import STEPS, Example
from alade_brian.verification.framework_section import framework_section
from alade_brian.verification.verify import verify

# Where a framework keeps the classes that are counted, and how each of them is made.
PLACES: Mapping[str, tuple[str, examples.Maker]] = MappingProxyType(
    {
        "snntorch": ("snntorch", examples.snntorch_examples),
        "spikingjelly": ("spikingjelly.activation_based.neuron", examples.spikingjelly_examples),
        "norse": ("norse.torch", examples.norse_examples),
    }
)
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Row:
    """A class of a framework: its name, what becomes of it, and with which arguments that was tried, or why."""

    name: str
    path: Literal["exact", "refused", "differs"]
    how: str


def public_classes(framework: str) -> Iterator[type[nn.Module]]:
    """The public layer classes of a framework that are counted, by name; whole networks are none."""
    found = vars(importlib.import_module(PLACES[framework][0]))
    for name, cls in sorted(found.items()):
        plain = inspect.isclass(cls) and issubclass(cls, nn.Module) and name == cls.__name__
        parts = cls.__module__.split(".") if plain else []
        if plain and not name.startswith("_") and parts[0] == framework and "models" not in parts:
            yield cls


def registered_rows(name: str) -> list[Row]:
    """What the registries say of every class, without trying it."""
    framework, (_, make) = FRAMEWORKS[name](), PLACES[name]
    made = make()
    return [_registered(framework, cls, made.get(cls.__name__, ())) for cls in public_classes(name)]


def _registered(framework: Framework, cls: type[nn.Module], made: tuple[Example, ...]) -> Row:
    if cls in framework.neurons or cls in framework.layers or cls in framework.containers:
        said = [f"`{example.said}`" if example.said else "defaults" for example in made]
        return Row(cls.__name__, "exact", "; ".join(dict.fromkeys(said)))
    return Row(cls.__name__, "refused", framework.refused.get(cls, "has no lowering"))


def tried_rows(name: str) -> Iterator[Row]:
    """The same of every class where trying confirms it; otherwise how it differs."""
    made = PLACES[name][1]()
    for cls, row in zip(public_classes(name), registered_rows(name), strict=True):
        tries = _tries(cls, row, made)
        wrong = [found for example in tries if (found := _tried(example, row))] if tries else ["has no example"]
        yield Row(row.name, "differs", "; ".join(wrong)) if wrong else row


def _tries(cls: type[nn.Module], row: Row, made: Mapping[str, tuple[Example, ...]]) -> tuple[Example, ...]:
    return made.get(row.name, () if row.path == "exact" else (Example(partial(_bare, cls)),))


def _bare(cls: type[nn.Module]) -> nn.Module:
    """A layer of a class that is refused, whatever its arguments: where it needs some, made by a base class alone."""
    made = cls.__new__(cls)
    own = (vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base))
    next(begin for begin in own if not _needs_arguments(begin))(made)
    return made


def _needs_arguments(begin: Callable[..., None]) -> bool:
    _, *arguments = inspect.signature(begin).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(a.default is a.empty and a.kind not in variable for a in arguments)


def _tried(example: Example, row: Row) -> str:
    """What an example does otherwise than its row says; empty where nothing."""
    network = example.network()
    try:
        spec = convert(network, example.image_shape, steps=STEPS)
    except RefusedLayers as refused:
        return "" if row.path == "refused" and row.how in str(refused) else str(refused)
    if row.path == "refused":
        return "is converted"
    found = verify(network, example.images(), spec, SimulationSettings(backend="numpy"))
    silent = any(not layer.spikes_reference for layer in found.layers)
    agrees = found.mismatched_spikes == 0 and found.logit_max_abs_difference <= TOLERANCE
    return "" if agrees and not silent else f"{example.said}: {'it never fires' if silent else found}"


def markdown(rows: Mapping[str, list[Row]]) -> str:
    """The tables of all frameworks, by name."""
    return "\n\n".join(_section(FRAMEWORKS[name](), found) for name, found in rows.items()) + "\n"


def _section(framework: Framework, rows: list[Row]) -> str:
    exact = sum(row.path == "exact" for row in rows)
    cells = [(f"`{row.name}`", row.path, row.how) for row in rows]
    return framework_section(2, framework, exact, ("class", "path", "tried with, or why not"), cells)
