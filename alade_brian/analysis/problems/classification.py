"""Classes: accuracies, confusion, forgetting, and what neurons answer to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alade_brian.analysis import figures
from alade_brian.analysis.metrics import incremental
from alade_brian.analysis.problems.problem import Array, Measure, Metrics, Problem, Tested, Tile
from alade_brian.analysis.report import figures as pictures
from alade_brian.analysis.report import html, sections, spike_figures
from alade_brian.analysis.report.figures import Picture, show
from alade_brian.analysis.report.naming import Naming
from alade_brian.analysis.report.records import Record, numbered
from alade_brian.analysis.statistics.similarity import representational_drift
from alade_brian.analysis.statistics.tuning import class_selectivity
from alade_brian.errors import UserError
from alade_brian.spikes.task_record import TaskRecord, load_record

_NETWORKS = ("torch", "brian2")
_SUMMARY = (
    ("average incremental accuracy", "average_incremental_accuracy"),
    ("last accuracy", "last_accuracy"),
    ("forgetting", "forgetting"),
    ("backward transfer", "backward_transfer"),
)


def _at_once(metrics: Metrics) -> bool:
    """Whether all classes are learnt at once: nothing comes later, and nothing can be forgotten."""
    return metrics.get("tasks_planned") == 1


class Classification(Problem):
    """The answer is the class of the largest logit; classes may come task after task."""

    name = "classification"
    answer = "prediction"
    difference = "logit_max_abs_difference"
    task_keys = ("classes", "classes_seen", "accuracy_torch", "accuracy_brian2", difference)
    csv_columns = (
        "task", "classes_seen", "images", "accuracy_torch", "accuracy_brian2", "prediction_agreement",
        "spikes_compared", "mismatched_spikes", "synaptic_events",
    )  # fmt: skip
    measure = Measure("accuracy", "accuracy", "chance", 0.0, shares=True)

    def labels(self, tested: Tested) -> Array:
        """See `Problem`."""
        return tested.labels

    def predictions(self, outputs: Array) -> Array:
        """See `Problem`."""
        return outputs.argmax(-1)

    def run_facts(self, order: Sequence[int], names: Sequence[str], target_shape: Sequence[int] | None) -> Metrics:
        """See `Problem`."""
        return {"class_order": list(order), "class_names": list(names)}

    def header_facts(self, order: Sequence[int], names: Sequence[str], target_shape: Sequence[int] | None) -> Metrics:
        """See `Problem`."""
        return {"classes": list(order), "class_names": list(names)}

    def task_facts(self, classes: Sequence[int], seen: int) -> Metrics:
        """See `Problem`."""
        return {"classes": [int(c) for c in classes], "classes_seen": seen}

    def scores(self, network: str, tested: Tested, outputs: Array, seen: int) -> Metrics:
        """Accuracies, and the confusion matrix over the classes seen."""
        found = self.predictions(outputs)
        confusion = incremental.confusion_matrix(found, tested.labels, range(seen))
        return {
            f"accuracy_{network}": incremental.accuracy(found, tested.labels),
            f"accuracy_per_task_{network}": incremental.accuracy_per_task(found, tested.labels, tested.tasks),
            f"confusion_{network}": confusion.tolist(),
        }

    def run_scores(self, network: str, tasks: Sequence[Metrics]) -> Metrics:
        """Averages over tasks, forgetting and backward transfer, and the accuracy matrix."""
        matrix = [task[f"accuracy_per_task_{network}"] for task in tasks]
        accuracies = [task[f"accuracy_{network}"] for task in tasks]
        return {
            f"average_incremental_accuracy_{network}": incremental.average_incremental_accuracy(accuracies),
            f"last_accuracy_{network}": incremental.last_accuracy(accuracies),
            f"forgetting_{network}": incremental.forgetting(matrix),
            f"backward_transfer_{network}": incremental.backward_transfer(matrix),
            f"accuracy_matrix_{network}": matrix,
        }

    def csv_further(self, tasks: Sequence[Metrics]) -> Mapping[str, Sequence[Any]]:
        """The rows of both accuracy matrices, ``accuracy_<network>_task_<j>``."""
        columns = {}
        for network in _NETWORKS:
            rows = [task.get(f"accuracy_per_task_{network}") or [] for task in tasks]
            for place, task in enumerate(tasks):
                cells = [row[place] if place < len(row) else None for row in rows]
                columns[f"accuracy_{network}_task_{task['task']}"] = cells
        return columns

    def summary_cells(self, task: Metrics) -> Mapping[str, str]:
        """See `Problem`."""
        return {
            "classes": str(task["classes_seen"]),
            "images": f"{task['images']:,}",
            "torch": f"{task['accuracy_torch']:.4f}",
            "Brian2": f"{task['accuracy_brian2']:.4f}",
        }

    def summary_lines(self, metrics: Metrics) -> list[str]:
        """See `Problem`."""
        lines = (("accuracy", "last_accuracy"),) if _at_once(metrics) else _SUMMARY
        return [
            f"{label}: {metrics[f'{key}_torch']:.4f} in PyTorch, {metrics[f'{key}_brian2']:.4f} in Brian2"
            for label, key in lines
        ]

    def content(self, metrics: Metrics) -> str:
        """See `Problem`."""
        sizes = [len(task["classes"]) for task in metrics["tasks"]]
        smaller = len(sizes) > 1 and sizes[-1] < (metrics.get("config") or {}).get("increment", 0)
        uneven = f" in tasks of {', '.join(map(str, sizes))}" if smaller else ""
        return f"{metrics['tasks'][-1]['classes_seen']} classes{uneven}"

    def score_tiles(self, metrics: Metrics) -> list[Tile]:
        """See `Problem`."""
        name, of = (
            ("Accuracy", "all classes") if _at_once(metrics) else ("Average incremental accuracy", "mean over tasks")
        )
        return [
            (f"{name}, {title}", html.percent(sections.average(metrics, key)), of)
            for title, key in (("PyTorch", "torch"), ("Brian2", "brian2"))
        ]

    def agreement_tiles(self, metrics: Metrics, agreement: str) -> list[Tile]:
        """See `Problem`."""
        largest = html.number(max(float(task[self.difference]) for task in metrics["tasks"]))
        return [
            ("Prediction agreement", agreement, f"over all {Naming.of(metrics).kind} images compared"),
            ("Largest logit difference", largest, "absolute, over images and classes"),
        ]

    def learning(self, metrics: Metrics, record: Record | None, drawn: list[Picture]) -> list[str]:
        """Accuracies task by task, their matrix, and the confusion matrix, which is all there is where all classes
        were learnt at once."""
        if _at_once(metrics):
            only = pictures.confusion_pictures(metrics)
            drawn += only
            return [sections.task_table(metrics), sections.comparison_table(metrics), *map(show, only)]
        first, *others = pictures.learning_pictures(metrics)
        drawn += [first, *others]
        beside = [show(picture) for picture in others if not picture.wide]
        maps: list[str] = [html.pair(beside)] if beside else []
        maps += [show(picture) for picture in others if picture.wide]
        tables = [sections.task_table(metrics), sections.comparison_table(metrics)]
        return [sections.summary_table(metrics), show(first), *tables, *maps]

    def training(self, metrics: Metrics) -> tuple[str, str]:
        """Loss, and the gap between the logits of old and new classes."""
        return sections.training(figures.has_epochs(metrics), figures.has_gap(metrics)), pictures.TRAINING_OF_CLASSES

    def answers(self, folder: Path, metrics: Metrics, record: Record, drawn: list[Picture]) -> list[str]:
        """Tuning and selectivity after the last recorded task, and how that moved from task to task."""
        naming = Naming.of(metrics)
        layers = {each["task"]: each.get("readout_layers") or () for each in metrics["tasks"]}
        tuning, selectivity = spike_figures.answer_pictures(record.content, layers.get(record.task, ()), naming)
        small = [selectivity]
        rdms = {record.task: spike_figures.rdm_of(record.content, layers.get(record.task, ()))}
        for task, path in numbered(folder / "spikes").items():
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
            show(tuning),
            html.pair([show(picture) for picture in small]),
        ]

    def paper_figures(
        self,
        records: Mapping[int, TaskRecord],
        read: Mapping[int, Sequence[str]],
        spikes: Mapping[str, Array],
        naming: Naming,
    ) -> dict[str, Callable[[], Axes]]:
        """Tuning, selectivity and drift."""
        record = records[max(records)]
        selectivity = {name: class_selectivity(array, record.labels) for name, array in spikes.items()}
        drift = representational_drift([spike_figures.rdm_of(records[n], read[n]) for n in records])
        responses = spike_figures.responses_of(record, read[max(records)])
        names = naming.names(responses.classes)
        return {
            "tuning": lambda: figures.plot_tuning(responses, class_names=names),
            "selectivity": lambda: figures.plot_selectivity(selectivity),
            "drift": lambda: figures.plot_drift(drift, tasks=list(records)),
        }

    def study_facts(self, outputs: int, tested: Tested, names: Sequence[str]) -> Metrics:
        """The classes, how many images each has, and the task that brought it (None for one without images)."""
        brought = dict(zip(tested.labels.tolist(), tested.tasks.tolist(), strict=True))
        return {
            "classes": outputs,
            "class_names": list(names),
            "images_per_class": np.bincount(tested.labels, minlength=outputs).tolist(),
            "task_of_class": [brought.get(label) for label in range(outputs)],
        }

    def chance(self, results: Metrics) -> float:
        """That of a random class."""
        return 1 / results["classes"]

    def measurement(self, outputs: Array, tested: Tested) -> Metrics:
        """How often the answers of a network are right, and which answers it prefers.

        accuracy            on all images
        per_task            on the images of each task
        answers             share of all answers, right or wrong, that are classes of each task
        recall              of each class, the share of its images that are answered with it; None if it has no image
        answers_per_class   of each class, the share of all answers that it is
        per_task_centred    `per_task` for the answers after every class's mean logit over all images has been
                            subtracted: a preference for a class whatever is shown is then gone
        """
        labels, tasks, classes = tested.labels, np.unique(tested.tasks), outputs.shape[1]
        found, centred = self.predictions(outputs), self.predictions(outputs - outputs.mean(0)) == labels
        hit, of_task = found == labels, [tested.tasks == task for task in tasks]
        shown, right = (np.bincount(labels[which], minlength=classes) for which in (slice(None), hit))
        return {
            "accuracy": float(hit.mean()),
            "per_task": [float(hit[which].mean()) for which in of_task],
            "answers": [float(np.isin(found, labels[which]).mean()) for which in of_task],
            "recall": [float(of / n) if n else None for of, n in zip(right, shown, strict=True)],
            "answers_per_class": (np.bincount(found, minlength=classes) / len(labels)).tolist(),
            "per_task_centred": [float(centred[which].mean()) for which in of_task],
        }

    def by_task(self, task: Metrics) -> list[float]:
        """See `Problem`."""
        return list(task["accuracy_per_task_brian2"])
