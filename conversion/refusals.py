"""What cannot be converted exactly: each refusal by itself, and all of them as one error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alade_brian.spec import Population, Projection, Stimulus
from alade_brian.spec.cost_table import _rows, format_rows


@dataclass(frozen=True)
class Refusal:
    """A layer that cannot be lowered exactly: which argument, its value, and why and what to do."""

    layer: str
    argument: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.argument} = {self.value} {self.remedy}"


class RefusedLayers(ValueError):
    """Everything in a model that cannot be lowered exactly, with the table of what can."""

    def __init__(
        self,
        refusals: Sequence[Refusal],
        lowered: tuple[Sequence[Stimulus], Sequence[Population], Sequence[Projection]] | None,
    ) -> None:
        self.refusals = tuple(refusals)
        self.rows = _rows(*lowered) if lowered else []
        lines = [f"{len(self.refusals)} layer(s) cannot be converted exactly:", *(f"  {r}" for r in self.refusals)]
        super().__init__("\n".join([*lines, *([format_rows(self.rows)] if self.rows else [])]))
