"""The report of a run: one HTML file that stands alone, and its figures as PNG and SVG beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from alade_brian.analysis import figures
from alade_brian.analysis.report import figures as pictures
from alade_brian.analysis.report import html, sections, spike_figures
from alade_brian.analysis.report.naming import Naming
from alade_brian.analysis.report.raster import Raster
from alade_brian.errors import UserError
from alade_brian.files import replacing
from alade_brian.spikes.state_record import load_states
from alade_brian.spikes.task_record import TaskRecord, load_record

Metrics = Mapping[str, Any]

_TASK_KEYS = (
    "task classes classes_seen images accuracy_torch accuracy_brian2 prediction_agreement logit_max_abs_difference"
    " layers spikes_compared mismatched_spikes seconds"
).split()
_LAYER_KEYS = "name neurons spikes_torch spikes_brian2 mismatched_spikes mean_rate_hz".split()


def write_report(run_folder: Path) -> Path:
    """Write `report.html` and `figures/*.png`, `*.svg` into `run_folder` and return the path of the report.

    Reads `metrics.json`, and where they are there `config.yaml`, `environment.json` and the records of spikes and of
    membranes of the last task that has one; a section whose source is missing says so, or is left out. Every file is
    replaced atomically.
    Raises UserError when metrics.json is missing, damaged or holds no finished task.
    """
    folder = Path(run_folder)
    metrics = _read_metrics(folder / "metrics.json")
    drawn: list[pictures.Picture] = []
    body = [
        html.title(sections.title(metrics)),
        html.paragraph(sections.progress(metrics), soft=True),
        sections.verdict(metrics),
        sections.headline(metrics),
        *_learning(metrics, drawn),
        *_training(metrics, drawn),
        *_spikes(folder, metrics, drawn),
        *_membranes(folder, Naming.of(metrics), drawn),
        *_cost(metrics, drawn),
        *_energy(metrics, drawn),
        *_origin(folder),
    ]
    for picture in drawn:
        _write(folder / "figures" / f"{picture.name}.svg", picture.svg)
        _write(folder / "figures" / f"{picture.name}.png", picture.png)
    report = folder / "report.html"
    _write(report, html.page(f"{sections.title(metrics)}: report", body).encode("utf-8"))
    return report


def _learning(metrics: Metrics, drawn: list[pictures.Picture]) -> list[str]:
    first, *others = pictures.learning_pictures(metrics)
    drawn += [first, *others]
    beside = [_show(picture) for picture in others if not picture.wide]
    maps: list[str] = [html.pair(beside)] if beside else []
    maps += [_show(picture) for picture in others if picture.wide]
    return [
        html.heading("What was learnt"),
        sections.summary_table(metrics),
        _show(first),
        sections.task_table(metrics),
        sections.comparison_table(metrics),
        *maps,
    ]


def _training(metrics: Metrics, drawn: list[pictures.Picture]) -> list[str]:
    found = pictures.training_pictures(metrics)
    drawn += found
    text = sections.training(figures.has_epochs(metrics), figures.has_gap(metrics))
    return [html.heading("Training"), html.paragraph(text), *(_show(picture) for picture in found)]


def _spikes(folder: Path, metrics: Metrics, drawn: list[pictures.Picture]) -> list[str]:
    parts: list[str] = [html.heading("Spikes")]
    small: list[pictures.Picture] = []
    if metrics["tasks"][-1]["layers"]:
        small.append(pictures.rate_picture(metrics))
        parts.append(sections.layer_table(metrics))
    record, text = _last_record(folder)
    if record is None:
        drawn += small
        return [*parts, *(_show(picture) for picture in small), html.paragraph(text)]
    naming = Naming.of(metrics)
    divergences = {each["task"]: each.get("first_divergence") for each in metrics["tasks"]}
    intervals, *rasters = spike_figures.spike_pictures(record.content, divergences.get(record.task), naming)
    small.append(intervals)
    drawn += [*small, *rasters]
    return [
        *parts,
        html.pair([_show(picture) for picture in small]),
        html.paragraph(text),
        *(_show(picture) for picture in rasters),
        Raster.of(record.content).html(len(record.content.labels), naming),
        *_answers(folder, metrics, record, drawn),
    ]


def _answers(folder: Path, metrics: Metrics, record: _Record, drawn: list[pictures.Picture]) -> list[str]:
    """What the neurons answer to, after the last recorded task, and how that moved from task to task."""
    naming = Naming.of(metrics)
    layers = {each["task"]: each.get("readout_layers") or () for each in metrics["tasks"]}
    tuning, selectivity = spike_figures.answer_pictures(record.content, layers.get(record.task, ()), naming)
    small = [selectivity]
    rdms = {record.task: spike_figures.rdm_of(record.content, layers.get(record.task, ()))}
    for task, path in _numbered(folder / "spikes").items():
        # A record that cannot be read leaves its task out.
        with suppress(UserError):
            if task != record.task and (earlier := load_record(path)).layers and len(earlier.labels):
                rdms[task] = spike_figures.rdm_of(earlier, layers.get(task, ()))
    if len(rdms) > 1:
        small.append(spike_figures.drift_picture([rdms[task] for task in sorted(rdms)], sorted(rdms), naming))
    drawn += [tuning, *small]
    return [
        html.heading("What the neurons answer to"),
        sections.response_table(metrics),
        _show(tuning),
        html.pair([_show(picture) for picture in small]),
    ]


def _membranes(folder: Path, naming: Naming, drawn: list[pictures.Picture]) -> list[str]:
    """A look at the neurons of the last task that membranes were recorded of."""
    found = _numbered(folder / "membranes")
    if not found:
        return []
    title = html.heading("Membranes")
    try:
        drawn.append(spike_figures.membrane_picture(load_states(found[max(found)]), naming))
    except UserError as error:
        return [title, html.paragraph(f"There are no membranes to show: {error}")]
    return [title, _show(drawn[-1])]


@dataclass(frozen=True)
class _Record:
    """The spikes of the last task that has any."""

    task: int
    content: TaskRecord


def _last_record(folder: Path) -> tuple[_Record | None, str]:
    """The record of the highest task, or none, and a sentence on where the figures come from."""
    found = _numbered(folder / "spikes")
    if not found:
        return None, "No spikes were recorded, so there is no raster and no interval histogram."
    task = max(found)
    try:
        record = load_record(found[task])
    except UserError as error:
        return None, f"There is no raster and no interval histogram: {error}"
    if not record.layers or len(record.labels) == 0:
        return None, f"The spike record {found[task].name} is empty."
    text = f"Intervals, rasters and answers show the network after task {task} (spikes/{found[task].name})."
    return _Record(task, record), text


def _cost(metrics: Metrics, drawn: list[pictures.Picture]) -> list[str]:
    drawn.append(pictures.time_picture(metrics))
    return [html.heading("What it cost"), _show(drawn[-1])]


def _energy(metrics: Metrics, drawn: list[pictures.Picture]) -> list[str]:
    sentence = sections.energy_sentence(metrics)
    if sentence is None:
        return []
    found = pictures.energy_pictures(metrics)
    drawn += found
    parts = [html.heading("Energy"), html.paragraph(sentence), *sections.energy_tables(metrics)]
    return [*parts, *([html.pair([_show(picture) for picture in found])] if found else [])]


def _origin(folder: Path) -> list[str]:
    """Configuration and environment, as far as their files can be read."""
    config = folder / "config.yaml"
    parts = [html.heading("Configuration")]
    if config.is_file():
        parts.append(html.preformatted(config.read_text(encoding="utf-8", errors="replace").rstrip()))
    else:
        parts.append(html.paragraph("The run folder holds no config.yaml."))
    parts.append(html.heading("Environment"))
    try:
        environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [*parts, html.paragraph("The run folder holds no environment.json.")]
    except (OSError, ValueError) as error:
        return [*parts, html.paragraph(f"environment.json cannot be read ({error}).")]
    if not isinstance(environment, dict):
        return [*parts, html.paragraph("environment.json holds no entries.")]
    return [*parts, sections.environment_table(environment)]


def _show(picture: pictures.Picture) -> Markup:
    return html.figure(picture.svg, picture.alt, picture.caption)


def _numbered(folder: Path) -> dict[int, Path]:
    """The records in a folder by the number of their task."""
    return {
        int(path.stem.removeprefix("task-")): path
        for path in folder.glob("task-*.npz")
        if path.stem.removeprefix("task-").isdigit()
    }


def _read_metrics(path: Path) -> Metrics:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no {path}; a report needs the folder of a run.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from error
    tasks = metrics.get("tasks") if isinstance(metrics, dict) else None
    if not tasks:
        raise UserError(f"{path} holds no finished task to report on.")
    for number, task in enumerate(tasks, start=1):
        missing = [key for key in _TASK_KEYS if key not in task]
        missing += [f"layers.{key}" for layer in task.get("layers", []) for key in _LAYER_KEYS if key not in layer]
        if missing:
            raise UserError(f"{path} lacks {missing[0]} in its task number {number}.")
    return metrics


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)
