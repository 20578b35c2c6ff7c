"""The lowering table (layer, neurons, synapses, bytes, path) and the refusals that stand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alade_brian.spec.network import NetworkSpec, Population, Projection, Stimulus

# What plain Brian2 keeps per synapse in C++: pre and post index, weight, position by source, delay bookkeeping.
BYTES_PER_SYNAPSE = 4 + 4 + 8 + 4
BYTES_PER_NEURON = 8 * 4


@dataclass(frozen=True)
class Row:
    """One layer as it will be simulated, for one image."""

    layer: str
    neurons: int
    synapses: int
    bytes: int
    path: str


def lowering_table(spec: NetworkSpec) -> list[Row]:
    """One row per population: what it costs to simulate it for one image with explicit synapses."""
    return _rows(spec.stimuli, spec.populations, spec.projections)


def synapses_per_projection(spec: NetworkSpec) -> list[int]:
    """Connections of every projection, in their order, for one image."""
    return [spec.synapse_count(p) for p in spec.projections]


def _rows(
    stimuli: Sequence[Stimulus], populations: Sequence[Population], projections: Sequence[Projection]
) -> list[Row]:
    shapes = {s.name: s.shape for s in stimuli} | {p.name: p.shape for p in populations}
    rows = []
    for population in populations:
        into = [p for p in projections if p.target == population.name]
        count = sum(p.operator.count(shapes[p.source]) for p in into)
        size = count * BYTES_PER_SYNAPSE + population.size * BYTES_PER_NEURON
        kinds = " + ".join(type(p.operator).__name__.lower() for p in into) or "no input"
        rows.append(Row(population.name, population.size, count, size, f"faithful ({kinds})"))
    return rows


def format_rows(rows: Sequence[Row]) -> str:
    """The table as aligned text, with a line of totals."""
    total = Row("total", sum(r.neurons for r in rows), sum(r.synapses for r in rows), sum(r.bytes for r in rows), "")
    cells = [("layer", "neurons", "synapses", "bytes/image", "path")]
    cells += [(r.layer, f"{r.neurons:,}", f"{r.synapses:,}", f"{r.bytes:,}", r.path) for r in [*rows, total]]
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3)), row[4]]).rstrip()
        for row in cells
    )
