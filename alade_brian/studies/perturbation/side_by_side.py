"""Several networks under the same perturbations: one figure and one table of what `alade-brian perturb` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alade_brian.analysis.figures import style
from alade_brian.analysis.problems import Measure, problem_of
from alade_brian.errors import UserError
from alade_brian.studies.perturbation.curves import curve, half_text, row
from alade_brian.studies.perturbation.study import read_study

Results = Mapping[str, Any]


def read_studies(folders: Sequence[Path]) -> dict[str, Results]:
    """The studies of several networks, by what each is called: data set and method, or where two are called alike, the
    folder.

    UserError where one is no study, where classes stand beside values, or no perturbation was measured on all.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a folder is named twice; name each once")
    found = [read_study(folder) for folder in folders]
    for folder, results in zip(folders, found, strict=True):
        if results["baseline"] is None:
            raise UserError(f"{folder} holds no measurement yet; let `alade-brian perturb` end")
    problems = {problem_of(results).name for results in found}
    if len(problems) > 1:
        raise UserError(f"some networks learnt {' and some '.join(sorted(problems))}; compare what learnt the same")
    subjects = [results["subject"] for results in found]
    names = subjects if len(set(subjects)) == len(subjects) else list(map(str, folders))
    studies = dict(zip(names, found, strict=True))
    if not shared(studies):
        raise UserError(
            "no perturbation was measured on all of these networks; use `alade-brian perturb` with the same --perturb"
        )
    return studies


def shared(studies: Mapping[str, Results]) -> list[str]:
    """The perturbations that were measured on all networks, in the first one's order."""
    first, *others = studies.values()
    return [name for name in first["perturbations"] if all(name in each["perturbations"] for each in others)]


def plot_side_by_side(studies: Mapping[str, Results]) -> Figure:
    """A panel for each perturbation and a line for each network, over all images: means and their 95 % bands."""
    names = shared(studies)
    figure, panels = style.new_grid(4.2, 3.4, len(names), min(3, len(names)))
    for name, ax in zip(names, panels, strict=True):
        _plot(studies, name, ax)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _plot(studies: Mapping[str, Results], name: str, ax: Axes) -> None:
    for number, (network, results) in enumerate(studies.items()):
        line, colour = curve(results, name), style.SERIES[number % len(style.SERIES)]
        ax.plot(line.strengths, line.mean, color=colour, marker="o", markersize=3, label=network)
        ax.fill_between(line.strengths, *line.band(), color=colour, alpha=0.2, linewidth=0)
    first = next(iter(studies.values()))
    problem = problem_of(first)
    for number, level in enumerate(sorted({problem.chance(each) for each in studies.values()})):
        label = problem.measure.chance if number == 0 else None
        ax.axhline(level, color=style.GREY, linestyle=":", label=label)
    ax.set_ylim(problem.measure.low, 1.02)
    ax.set_title(name)
    ax.set_xlabel(first["perturbations"][name]["unit"])
    ax.set_ylabel(problem.measure.title)
    style.tidy(ax)


def table(studies: Mapping[str, Results]) -> list[dict[str, Any]]:
    """Of every shared perturbation and network what `curves.row` has for all images, with its `network`."""
    return [
        {"network": network, **row(results, name)} for name in shared(studies) for network, results in studies.items()
    ]


def markdown(found: Sequence[Mapping[str, Any]], measure: Measure) -> str:
    """The rows of `table` as a Markdown table."""
    head = ["perturbation", "network", measure.title, "half-strength", f"{measure.title} at the greatest strength"]
    lines = [f"| {' | '.join(head)} |", f"{'|---' * len(head)}|"]
    for each in found:
        there = f"{each[f'{measure.key}_there']:.3f} at {each['greatest_strength']:.3g}"
        cells = [each["perturbation"], each["network"], f"{each[measure.key]:.3f}", half_text(each), there]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
