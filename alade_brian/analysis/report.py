"""The report of a run: one HTML file that stands alone, and its figures as PNG and SVG beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from alade_brian.analysis import figures
from alade_brian.analysis import report_figures as pictures
from alade_brian.analysis import report_html as html
from alade_brian.analysis import report_sections as sections
from alade_brian.analysis.records import load_record
from alade_brian.errors import UserError
from alade_brian.files import replacing

Metrics = Mapping[str, Any]

_TASK_KEYS = (
    "task classes classes_seen images accuracy_torch accuracy_brian2 prediction_agreement logit_max_abs_difference"
    " layers spikes_compared mismatched_spikes seconds"
).split()
_LAYER_KEYS = "name neurons spikes_torch spikes_brian2 mismatched_spikes mean_rate_hz".split()


def write_report(run_folder: Path) -> Path:
    """Write `report.html` and `figures/*.png`, `*.svg` into `run_folder` and return the path of the report.

    Reads `metrics.json`, and where they are there `config.yaml`, `environment.json` and the spike record of the last
    task that has one; a section whose source is missing says so. Every file is replaced atomically.
    Raises UserError when metrics.json is missing, damaged or holds no finished task.
    """
    folder = Path(run_folder)
    metrics = _read_metrics(folder / "metrics.json")
    drawn: list[pictures.Picture] = []
    body = [
        f"<h1>{escape(sections.title(metrics))}</h1>",
        html.paragraph(sections.progress(metrics), soft=True),
        sections.verdict(metrics),
        sections.headline(metrics),
        *_learning(metrics, drawn),
        *_training(metrics, drawn),
        *_spikes(folder, metrics, drawn),
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
    maps = [html.pair(beside)] if beside else []
    maps += [_show(picture) for picture in others if picture.wide]
    return [
        html.heading("What was learnt"),
        sections.summary_table(metrics),
        _show(first),
        sections.task_table(metrics),
        *maps,
    ]


def _training(metrics: Metrics, drawn: list[pictures.Picture]) -> list[str]:
    found = pictures.training_pictures(metrics)
    drawn += found
    text = sections.training(figures.has_epochs(metrics), figures.has_gap(metrics))
    return [html.heading("Training"), html.paragraph(text), *(_show(picture) for picture in found)]


def _spikes(folder: Path, metrics: Metrics, drawn: list[pictures.Picture]) -> list[str]:
    parts = [html.heading("Spikes")]
    small: list[pictures.Picture] = []
    if metrics["tasks"][-1]["layers"]:
        small.append(pictures.rate_picture(metrics))
        parts.append(sections.layer_table(metrics))
    found, text = _recorded(folder, metrics)
    small += found[:1]
    drawn += [*small, *found[1:]]
    if small:
        parts.append(html.pair([_show(picture) for picture in small]))
    return [*parts, html.paragraph(text), *(_show(picture) for picture in found[1:])]


def _recorded(folder: Path, metrics: Metrics) -> tuple[list[pictures.Picture], str]:
    """Interval histogram and raster of the last recorded task, or none, and a sentence on where they come from."""
    task, path = _last_record(folder)
    if path is None:
        return [], "No spikes were recorded, so there is no raster and no interval histogram."
    try:
        record = load_record(path)
    except UserError as error:
        return [], f"There is no raster and no interval histogram: {error}"
    if not record.layers or len(record.labels) == 0:
        return [], f"The spike record {path.name} is empty."
    divergences = {each["task"]: each.get("first_divergence") for each in metrics["tasks"]}
    text = f"Intervals and raster show the network after task {task} (spikes/{path.name})."
    return pictures.spike_pictures(record, divergences.get(task)), text


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


def _show(picture: pictures.Picture) -> str:
    return html.figure(picture.svg, picture.alt, picture.caption)


def _last_record(folder: Path) -> tuple[int, Path | None]:
    """The spike record of the highest task number and that number; (0, None) when there is none."""
    found = [
        (int(path.stem.removeprefix("task-")), path)
        for path in (folder / "spikes").glob("task-*.npz")
        if path.stem.removeprefix("task-").isdigit()
    ]
    return max(found, default=(0, None))


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
