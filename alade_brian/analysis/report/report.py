"""The report of a run: one HTML file that stands alone, and its figures as PNG and SVG beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alade_brian.analysis.metrics.metrics_file import read_metrics
from alade_brian.analysis.problems import Problem, problem_of
from alade_brian.analysis.report import figures as pictures
from alade_brian.analysis.report import html, sections, spike_figures
from alade_brian.analysis.report.figures import show
from alade_brian.analysis.report.naming import Naming
from alade_brian.analysis.report.raster import Raster
from alade_brian.analysis.report.records import Record, last_record, numbered
from alade_brian.errors import UserError
from alade_brian.files import read_bytes, read_json, write_bytes
from alade_brian.spikes.state_record import load_states

Metrics = Mapping[str, Any]


def write_report(run_folder: Path) -> Path:
    """Write `report.html` and `figures/*.png`, `*.svg` into `run_folder` and return the path of the report.

    Reads `metrics.json`, and where they are there `config.yaml`, `environment.json` and the records of spikes and of
    membranes of the last task that has one; a section whose source is missing says so, or is left out. Every file is
    replaced atomically.
    Raises UserError when metrics.json is missing, damaged or holds no finished task.
    """
    folder = Path(run_folder)
    metrics = read_metrics(folder / "metrics.json")
    problem, (record, origin) = problem_of(metrics), last_record(folder)
    agreement = html.percent(sections.agreement(metrics))
    drawn: list[pictures.Picture] = []
    body = [
        html.title(sections.title(metrics)),
        html.paragraph(sections.progress(metrics, problem.content(metrics)), soft=True),
        sections.verdict(metrics, problem.answer),
        sections.headline(metrics, problem.score_tiles(metrics), problem.agreement_tiles(metrics, agreement)),
        html.heading("What was learnt"),
        *problem.learning(metrics, record, drawn),
        *_training(metrics, problem, drawn),
        *_spikes(metrics, record, origin, drawn),
        *([] if record is None else problem.answers(folder, metrics, record, drawn)),
        *_membranes(folder, Naming.of(metrics), drawn),
        *_cost(metrics, drawn),
        *_energy(metrics, drawn),
        *_origin(folder),
    ]
    for picture in drawn:
        write_bytes(folder / "figures" / f"{picture.name}.svg", picture.svg)
        write_bytes(folder / "figures" / f"{picture.name}.png", picture.png)
    report = folder / "report.html"
    write_bytes(report, html.page(f"{sections.title(metrics)}: report", body).encode("utf-8"))
    return report


def _training(metrics: Metrics, problem: Problem, drawn: list[pictures.Picture]) -> list[str]:
    text, caption = problem.training(metrics)
    found = pictures.training_pictures(metrics, caption)
    drawn += found
    return [html.heading("Training"), html.paragraph(text), *(show(picture) for picture in found)]


def _spikes(metrics: Metrics, record: Record | None, origin: str, drawn: list[pictures.Picture]) -> list[str]:
    parts: list[str] = [html.heading("Spikes")]
    small: list[pictures.Picture] = []
    if metrics["tasks"][-1]["layers"]:
        small.append(pictures.rate_picture(metrics))
        parts.append(sections.layer_table(metrics))
    if record is None:
        drawn += small
        return [*parts, *(show(picture) for picture in small), html.paragraph(origin)]
    naming = Naming.of(metrics)
    divergences = {each["task"]: each.get("first_divergence") for each in metrics["tasks"]}
    intervals, *rasters = spike_figures.spike_pictures(record.content, divergences.get(record.task), naming)
    small.append(intervals)
    drawn += [*small, *rasters]
    return [
        *parts,
        html.pair([show(picture) for picture in small]),
        html.paragraph(origin),
        *(show(picture) for picture in rasters),
        Raster.of(record.content).html(len(record.content.labels), naming),
    ]


def _membranes(folder: Path, naming: Naming, drawn: list[pictures.Picture]) -> list[str]:
    """A look at the neurons of the last task that membranes were recorded of."""
    found = numbered(folder / "membranes")
    if not found:
        return []
    title = html.heading("Membranes")
    try:
        drawn.append(spike_figures.membrane_picture(load_states(found[max(found)]), naming))
    except UserError as error:
        return [title, html.paragraph(f"There are no membranes to show: {error}")]
    return [title, show(drawn[-1])]


def _cost(metrics: Metrics, drawn: list[pictures.Picture]) -> list[str]:
    drawn.append(pictures.time_picture(metrics))
    return [html.heading("What it cost"), show(drawn[-1])]


def _energy(metrics: Metrics, drawn: list[pictures.Picture]) -> list[str]:
    sentence = sections.energy_sentence(metrics)
    if sentence is None:
        return []
    found = pictures.energy_pictures(metrics)
    drawn += found
    parts = [html.heading("Energy"), html.paragraph(sentence), *sections.energy_tables(metrics)]
    return [*parts, *([html.pair([show(picture) for picture in found])] if found else [])]


def _origin(folder: Path) -> list[str]:
    """Configuration and environment, as far as their files can be read."""
    config = folder / "config.yaml"
    parts = [html.heading("Configuration")]
    if config.is_file():
        parts.append(html.preformatted(read_bytes(config).decode("utf-8", "replace").rstrip()))
    else:
        parts.append(html.paragraph("The run folder holds no config.yaml."))
    parts.append(html.heading("Environment"))
    try:
        environment = read_json(folder / "environment.json")
    except FileNotFoundError:
        return [*parts, html.paragraph("The run folder holds no environment.json.")]
    except (OSError, ValueError) as error:
        return [*parts, html.paragraph(f"environment.json cannot be read ({error}).")]
    if not isinstance(environment, dict):
        return [*parts, html.paragraph("environment.json holds no entries.")]
    return [*parts, sections.environment_table(environment)]
