"""Results of the cells of a grid: all data of the table and the figures, in one small file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alade_brian.analysis.metrics.metrics_file import read_metrics
from alade_brian.analysis.metrics.verdict import agrees, differs, doubts
from alade_brian.config.run import to_mapping
from alade_brian.content import wrong_content
from alade_brian.errors import UserError
from alade_brian.runs.folder import RunFolder, read_json
from alade_brian.studies.comparison.grid import FIGURES, Grid, GridCell

NETWORKS = ("torch", "brian2")
SUMMARIES = ("average_incremental_accuracy", "last_accuracy", "forgetting")
# Of the network after the last task, per image; a run may lack one.
COSTS = ("synaptic_events_per_image", "joule_per_image", "joule_per_image_relu")


def collect(grid: Grid, complete: Sequence[GridCell]) -> dict[str, Any]:
    """Collect `results.json` from the complete cells; UserError if there is none."""
    if not complete:
        raise UserError("no cell is complete yet; run the comparison without --report-only")
    rows: dict[str, dict[str, Any]] = {}
    for cell in sorted(complete, key=lambda c: (list(grid.rows).index(c.row), grid.seeds.index(c.seed))):
        row = rows.setdefault(cell.row, {"changes": grid.changes[cell.row], "config": row_config(cell), "seeds": {}})
        row["seeds"][str(cell.seed)] = read_cell(cell)
    return {
        "format": 1,
        "grid": grid.name,
        "reference": grid.reference,
        "seeds": list(grid.seeds),
        "threads": grid.threads,
        "rows": rows,
    }


def check_earlier(file: Path, grid: Grid, cells: Sequence[GridCell]) -> None:
    """Raise UserError if writing the grid's tables would lose results of an existing `results.json`.

    Tables may grow: those of the same grid are written anew when more of its cells are complete.
    """
    if not file.exists():
        found = [name for name in ("table.md", "table.csv", FIGURES) if (file.parent / name).exists()]
        if found:
            raise UserError(f"{file.parent} holds {found[0]} without a results.json; choose another --out or move it")
        return
    earlier = read_json(file)
    try:
        rows = {name: (set(row.get("seeds", row)), row.get("config")) for name, row in earlier["rows"].items()}
        same = earlier["grid"] == grid.name
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{file} does not hold results of a grid; choose another --out or move it") from None
    known = {str(seed) for seed in grid.seeds}
    configs = {cell.row: row_config(cell) for cell in cells}
    same &= all(
        name in configs and seeds <= known and config in (None, configs[name]) for name, (seeds, config) in rows.items()
    )
    if not same:
        raise UserError(
            f"{file} and its tables belong to another grid, or to rows, seeds or settings that {grid.origin} "
            "does not have; choose another --out, or move them"
        )


def row_config(cell: GridCell) -> dict[str, Any]:
    """The resolved configuration of a row; its cells differ only in the seed."""
    return {key: value for key, value in to_mapping(cell.config).items() if key != "seed"}


def read_cell(cell: GridCell) -> dict[str, Any]:
    """The results of a complete cell, see `cell_results`. UserError if its metrics.json is damaged."""
    path = RunFolder(cell.folder).metrics
    metrics = read_metrics(path)
    with wrong_content(f"{path} is damaged ({{}}); restore it or run the cell again"):
        return cell_results(metrics)


def cell_results(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a cell's metrics.json that is kept.

    Accuracies are fractions, the curves one value per task. doubts: why nothing is proven, where that is so.
    train_seconds: wall-clock, all tasks. images: tested after each task, in both networks. events_per_image: synaptic
    events after the last task. mean_rate_hz: of all neurons in Brian2, after the last task.
    """
    tasks, energy = metrics["tasks"], metrics.get("energy") or {}
    found: dict[str, Any] = {
        "class_order": metrics["class_order"],
        "classes_seen": [task["classes_seen"] for task in tasks],
        "images": [task["images"] for task in tasks],
        "agrees": agrees(metrics),
        **({} if differs(metrics) or not doubts(metrics) else {"doubts": doubts(metrics)}),
        "train_seconds": sum(task["seconds"]["train"] for task in tasks),
        **{key: sum(task[key] for task in tasks) for key in ("mismatched_spikes", "spikes_compared")},
        **{key: energy[key] for key in COSTS if energy.get(key) is not None},
        **_mean_rate(tasks[-1].get("layers", [])),
    }
    for network in NETWORKS:
        found[f"accuracy_{network}"] = [task[f"accuracy_{network}"] for task in tasks]
        for summary in SUMMARIES:
            found[f"{summary}_{network}"] = metrics[f"{summary}_{network}"]
    return found


def _mean_rate(layers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean firing rate over all neurons; nothing where a layer has none."""
    neurons = sum(layer["neurons"] for layer in layers)
    if not neurons or any(layer.get("mean_rate_hz") is None for layer in layers):
        return {}
    return {"mean_rate_hz": sum(layer["neurons"] * layer["mean_rate_hz"] for layer in layers) / neurons}


def disagreeing(results: Mapping[str, Any]) -> list[str]:
    """The cells whose simulated network is not the trained one, as text."""
    return [name for name, found in _cells(results) if not found["agrees"] and not found.get("doubts")]


def unproven(results: Mapping[str, Any]) -> list[str]:
    """The cells in which nothing differs, and the comparison proves nothing, with the reason, as text."""
    return [f"{name}: {'; '.join(found['doubts'])}" for name, found in _cells(results) if found.get("doubts")]


def _cells(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    rows = results["rows"].items()
    return [(f"{name}, seed {seed}", found) for name, row in rows for seed, found in row["seeds"].items()]
