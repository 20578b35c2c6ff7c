"""Spikes as a table: FILE.csv, a line for each spike, and FILE.json beside it with all other data.

Columns: `image`, `class` (position in the class order; -1: none, values were learnt), `task`, `layer`, `neuron`,
`step`, `time_s` (seconds since the image was switched on), and `class_name` if the names of classes are known.
The .json names time step, steps, layers with their neurons, class names, and all images: those without a spike have
no line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.errors import UserError
from alade_brian.files import check_plain, read_json, replacing, write_json
from alade_brian.spikes.spike_record import SpikeRecord

COLUMNS = ("image", "class", "task", "layer", "neuron", "step", "time_s")
NAMED_COLUMNS = (*COLUMNS, "class_name")
# Lines turned into text at one time.
_BLOCK_LINES = 100_000


def sidecar(path: Path) -> Path:
    """The path of the JSON file beside a table of spikes."""
    return path.with_suffix(".json")


def write_csv(path: Path, record: SpikeRecord) -> None:
    """Write `path` and its `sidecar`, each atomically; OSError from the file system is passed on."""
    path, layers, place = Path(path), list(record.layers), record.presentation
    # Python writes the shortest digits that give the same float64 again.
    columns = [
        record.image, record.labels[place], record.tasks[place], [layers[number] for number in record.layer],
        record.neuron, record.step, record.within.tolist(),
    ]  # fmt: skip
    if record.class_names:
        columns.append(np.array(record.shown, dtype=object)[place])
    with replacing(path) as file:
        file.write((",".join(_columns(record.class_names)) + "\n").encode())
        for start in range(0, len(record), _BLOCK_LINES):
            text = io.StringIO()
            lines = zip(*(column[start : start + _BLOCK_LINES] for column in columns), strict=True)
            csv.writer(text, lineterminator="\n").writerows(lines)
            file.write(text.getvalue().encode("utf-8"))
    write_json(sidecar(path), _description(record))


def read_csv(path: Path) -> SpikeRecord:
    """Read the two files of `write_csv` without loss; UserError if one of them is missing, damaged or inconsistent."""
    path = Path(path)
    about = _read_description(sidecar(path))
    columns = _read_lines(path, _columns(about.get("class_names", ())))
    names = list(about["layers"])
    try:
        layer = [names.index(name) for name in columns["layer"]]
        numbers = {name: np.array(columns[name], dtype=np.int64) for name in COLUMNS if name not in ("layer", "time_s")}
        times = np.array(columns["time_s"], dtype=np.float64)
        layers = {name: np.arange(n) if isinstance(n, int) else np.array(n) for name, n in about["layers"].items()}
        per_image: dict[str, Any] = {key: np.array(about[key]) for key in ("images", "labels", "tasks")}
        per_spike: dict[str, Any] = {key: numbers[key] for key in ("image", "step", "neuron")}
        record = SpikeRecord(
            float(about["dt_s"]), about["steps"], layers, layer=np.array(layer), **per_image, **per_spike,
            class_names=about.get("class_names", ()),
        )  # fmt: skip
    except (ValueError, TypeError, OverflowError, UserError) as error:
        raise UserError(
            f"The spikes in {path} are damaged or not those that {sidecar(path)} describes ({error})."
        ) from None
    _check_repeated(path, record, numbers, times, about["spikes"], columns.get("class_name"))
    return record


def _columns(class_names: Sequence[str]) -> tuple[str, ...]:
    return NAMED_COLUMNS if class_names else COLUMNS


def _description(record: SpikeRecord) -> dict[str, Any]:
    whole = {name: np.array_equal(numbers, np.arange(len(numbers))) for name, numbers in record.layers.items()}
    return {
        "dt_s": record.dt,
        "steps": record.steps,
        "spikes": len(record),
        # A layer that was recorded wholly is said by its size.
        "layers": {name: len(n) if whole[name] else n.tolist() for name, n in record.layers.items()},
        **{key: getattr(record, key).tolist() for key in ("images", "labels", "tasks")},
        **({"class_names": list(record.class_names)} if record.class_names else {}),
    }


def _read_description(path: Path) -> dict[str, Any]:
    try:
        about = read_json(path)
    except FileNotFoundError:
        raise UserError(f"There is no {path}, which belongs to the table of spikes of the same name.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from None
    keys = ("dt_s", "steps", "spikes", "layers", "images", "labels", "tasks")
    missing = [key for key in keys if not isinstance(about, dict) or key not in about]
    if missing or not isinstance(about["layers"], dict):
        raise UserError(f"{path} does not describe a table of spikes: {', '.join(missing) or 'layers'} is missing.")
    return about


def _read_lines(path: Path, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    try:
        check_plain(path)
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise UserError(f"There is no table of spikes {path}.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"The table of spikes {path} cannot be read ({error}).") from None
    if not lines or tuple(lines[0]) != names:
        raise UserError(f"{path} is no table of spikes; its first line must be {','.join(names)}.")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(names):
            raise UserError(f"{path}, line {number}, has {len(line)} columns instead of {len(names)}.")
    cells = zip(*lines[1:], strict=True) if len(lines) > 1 else [()] * len(names)
    return dict(zip(names, cells, strict=True))


def _check_repeated(
    path: Path, record: SpikeRecord, numbers: dict[str, Any], times: Any, spikes: int, names: Sequence[str] | None
) -> None:
    """UserError if a redundant column contradicts the other columns or the sidecar."""
    if len(record) != spikes:
        raise UserError(
            f"{path} holds {len(record)} spikes, and {sidecar(path)} says {spikes}; one of them is cut off."
        )
    place = np.searchsorted(record.images, numbers["image"])
    same = (numbers["class"] == record.labels[place]) & (numbers["task"] == record.tasks[place])
    if names is not None:
        same &= np.array(record.shown, dtype=object)[place] == np.array(names, dtype=object)
    # A spreadsheet may have rounded the times on its way.
    same &= np.abs(times / record.dt - numbers["step"]) < 1e-6
    if not same.all():
        line = int(np.flatnonzero(~same)[0]) + 2
        raise UserError(f"{path}, line {line}: class, task or time is not what image and step make it.")
