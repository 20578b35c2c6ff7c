"""What cannot be converted exactly: each refusal by itself, and all of them as one error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alade_brian.spec import Population, Projection, Stimulus
from alade_brian.spec.cost_table import _rows, format_rows


@dataclass(frozen=True)
class Refusal:
    """A layer that cannot be lowered exactly: which argument, its value, and why and what to do.

    `place` is the file and line of the user's code that it comes from, where that is known.
    """

    layer: str
    argument: str
    value: str
    remedy: str
    place: str = ""

    def __str__(self) -> str:
        said = f"{self.layer}: {self.argument} = {self.value} {self.remedy}"
        return f"{said} ({self.place})" if self.place else said


def each_once(refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """Every cause once, with all its places: a loop over time refuses the same thing anew in every step."""
    by_place: dict[tuple[str, ...], Refusal] = {}
    for each in refusals:
        # At one place the value may be the step's number, which is no cause of its own.
        key = (each.layer, each.argument, each.place) if each.place else (*_cause(each), "")
        by_place.setdefault(key, each)
    causes: dict[tuple[str, ...], list[Refusal]] = {}
    for each in by_place.values():
        causes.setdefault(_cause(each), []).append(each)
    return tuple(replace(same[0], place="; ".join(r.place for r in same if r.place)) for same in causes.values())


def _cause(refusal: Refusal) -> tuple[str, ...]:
    return refusal.layer, refusal.argument, refusal.value, refusal.remedy


class RefusedLayers(ValueError):
    """Everything in a model that cannot be lowered exactly, with the table of what can."""

    def __init__(
        self,
        refusals: Sequence[Refusal],
        lowered: tuple[Sequence[Stimulus], Sequence[Population], Sequence[Projection]] | None,
    ) -> None:
        self.refusals = each_once(refusals)
        self.rows = _rows(*lowered) if lowered else []
        lines = [f"{len(self.refusals)} layer(s) cannot be converted exactly:", *(f"  {r}" for r in self.refusals)]
        super().__init__("\n".join([*lines, *([format_rows(self.rows)] if self.rows else [])]))
