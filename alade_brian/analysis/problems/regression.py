"""Values: mean squared error, R2, and each output against its target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alade_brian.analysis import figures
from alade_brian.analysis.metrics.regression import mean_squared_error, r_squared
from alade_brian.analysis.problems.problem import Array, Measure, Metrics, Problem, Tested, Tile
from alade_brian.analysis.report import html, sections, value_figures
from alade_brian.analysis.report.figures import Picture, show
from alade_brian.analysis.report.naming import Naming
from alade_brian.analysis.report.records import Record
from alade_brian.errors import UserError
from alade_brian.spikes.task_record import NO_CLASS, TaskRecord

_NETWORKS = (("PyTorch", "torch"), ("Brian2", "brian2"))


class Regression(Problem):
    """The outputs are the answer: a vector of values, or the numbers of a field. All is learnt in one task."""

    name = "regression"
    answer = "output"
    difference = "output_max_abs_difference"
    task_keys = ("mean_squared_error_torch", "mean_squared_error_brian2", "r2_torch", "r2_brian2", difference)
    csv_columns = (
        "task", "images", "mean_squared_error_torch", "mean_squared_error_brian2", "r2_torch", "r2_brian2",
        "prediction_agreement", difference, "spikes_compared", "mismatched_spikes", "synaptic_events",
    )  # fmt: skip
    measure = Measure("r2", "R2", "mean target", None, shares=False)

    def labels(self, tested: Tested) -> None:
        """None: there are no classes."""

    def predictions(self, outputs: Array) -> Array:
        """No class for every image."""
        return np.full(len(outputs), NO_CLASS)

    def run_facts(self, order: Sequence[int], names: Sequence[str], target_shape: Sequence[int] | None) -> Metrics:
        """See `Problem`."""
        return {"problem": self.name, "target_shape": list(target_shape or ())}

    def header_facts(self, order: Sequence[int], names: Sequence[str], target_shape: Sequence[int] | None) -> Metrics:
        """See `Problem`."""
        return self.run_facts(order, names, target_shape)

    def task_facts(self, classes: Sequence[int], seen: int) -> Metrics:
        """Nothing: a task of values has no classes."""
        return {}

    def scores(self, network: str, tested: Tested, outputs: Array, seen: int) -> Metrics:
        """Mean squared error, and R2 (None where no target differs from the mean)."""
        targets = _targets(tested)
        return {
            f"mean_squared_error_{network}": mean_squared_error(outputs, targets),
            f"r2_{network}": r_squared(outputs, targets),
        }

    def run_scores(self, network: str, tasks: Sequence[Metrics]) -> Metrics:
        """Those of the last task, which is the only one."""
        return {key: tasks[-1][key] for key in (f"mean_squared_error_{network}", f"r2_{network}")}

    def csv_further(self, tasks: Sequence[Metrics]) -> Mapping[str, Sequence[Any]]:
        """Nothing."""
        return {}

    def summary_cells(self, task: Metrics) -> Mapping[str, str]:
        """See `Problem`."""
        cells = {"images": f"{task['images']:,}"}
        for key, title in (("r2", "R2"), ("mean_squared_error", "MSE")):
            ends = (("torch", "torch"), ("Brian2", "brian2"))
            cells |= {f"{title} {name}": html.number(task[f"{key}_{end}"], 4) for name, end in ends}
        return cells

    def summary_lines(self, metrics: Metrics) -> list[str]:
        """See `Problem`."""
        return [f"largest difference of an output: {self._largest(metrics)}"]

    def content(self, metrics: Metrics) -> str:
        """See `Problem`."""
        shape = metrics["target_shape"]
        return f"{shape[0]} values" if len(shape) == 1 else f"fields of {'x'.join(map(str, shape))} values"

    def score_tiles(self, metrics: Metrics) -> list[Tile]:
        """See `Problem`."""
        last = metrics["tasks"][-1]
        return [
            (f"R2, {name}", html.number(last[f"r2_{end}"], 4), "share of the targets' variance explained")
            for name, end in _NETWORKS
        ]

    def agreement_tiles(self, metrics: Metrics, agreement: str) -> list[Tile]:
        """See `Problem`."""
        return [
            ("Output agreement", agreement, f"of the {Naming.of(metrics).kind} images, but for rounding"),
            ("Largest output difference", self._largest(metrics), "absolute, over images and values"),
        ]

    def learning(self, metrics: Metrics, record: Record | None, drawn: list[Picture]) -> list[str]:
        """Errors of both networks, and outputs beside their targets as far as a record has them."""
        table = value_figures.score_table(metrics)
        if record is None or record.content.targets is None:
            return [table]
        picture = value_figures.output_picture(record.content, Naming.of(metrics))
        drawn.append(picture)
        return [table, show(picture)]

    def training(self, metrics: Metrics) -> tuple[str, str]:
        """The loss is the mean squared error."""
        if not figures.has_epochs(metrics):
            return sections.NO_EPOCHS, ""
        text = "The loss is the mean squared error of the outputs, which are means over the steps of a presentation."
        return text, "Loss: mean over the training images of an epoch, as the network was while it saw them."

    def answers(self, folder: Path, metrics: Metrics, record: Record, drawn: list[Picture]) -> list[str]:
        """How sparse and regular the responses are; without classes there is no tuning or selectivity."""
        return [html.heading("Responses"), sections.response_table(metrics)]

    def paper_figures(
        self,
        records: Mapping[int, TaskRecord],
        read: Mapping[int, Sequence[str]],
        spikes: Mapping[str, Array],
        naming: Naming,
    ) -> dict[str, Callable[[], Axes]]:
        """Outputs beside their targets."""
        record = records[max(records)]
        return {"outputs": lambda: value_figures.plot_outputs(record)}

    def study_facts(self, outputs: int, tested: Tested, names: Sequence[str]) -> Metrics:
        """See `Problem`."""
        return {"problem": self.name, "outputs": outputs}

    def chance(self, results: Metrics) -> float:
        """That of the mean target, whatever the image."""
        return 0.0

    def measurement(self, outputs: Array, tested: Tested) -> Metrics:
        """R2, and the mean squared error."""
        targets = _targets(tested)
        found = r_squared(outputs, targets)
        if found is None:
            raise UserError("R2 is not defined for images whose targets are all the same; test more images (--images)")
        return {"r2": found, "per_task": [found], "mean_squared_error": mean_squared_error(outputs, targets)}

    def by_task(self, task: Metrics) -> list[float]:
        """See `Problem`."""
        return [task["r2_brian2"]]

    def _largest(self, metrics: Metrics) -> str:
        return html.number(max(float(task[self.difference]) for task in metrics["tasks"]))


def _targets(tested: Tested) -> Array:
    if tested.targets is None:
        raise ValueError("a regression is tested on images with target values")
    return tested.targets
