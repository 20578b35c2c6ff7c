"""What a run keeps of every task, and of all of them: `metrics.json` and `metrics.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alade_brian.analysis.metrics import incremental
from alade_brian.analysis.metrics.metrics_csv import metrics_csv
from alade_brian.config.run import RunConfig, to_mapping
from alade_brian.data import Scenario, Task
from alade_brian.files import write_json, write_text
from alade_brian.learning import TaskHistory
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.verified_run import VerifiedTask


def run_metrics(config: RunConfig, scenario: Scenario, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`metrics.json` for the tasks done so far, each as `task_metrics` gives it."""
    order, names = [int(c) for c in scenario.class_order], scenario.dataset.class_names
    result: dict[str, Any] = {
        "format": 1,
        "config": to_mapping(config),
        "method": config.method,
        "dataset": config.dataset,
        "class_order": order,
        "class_names": [names[c] for c in order],
        "tasks_planned": len(scenario),
        "tasks": list(tasks),
    }
    for network in ("torch", "brian2"):
        matrix = [task[f"accuracy_per_task_{network}"] for task in tasks]
        accuracies = [task[f"accuracy_{network}"] for task in tasks]
        result[f"average_incremental_accuracy_{network}"] = incremental.average_incremental_accuracy(accuracies)
        result[f"last_accuracy_{network}"] = incremental.last_accuracy(accuracies)
        result[f"forgetting_{network}"] = incremental.forgetting(matrix)
        result[f"backward_transfer_{network}"] = incremental.backward_transfer(matrix)
        result[f"accuracy_matrix_{network}"] = matrix
    result["energy"] = tasks[-1]["energy"]
    return result


def write_metrics(folder: RunFolder, metrics: Mapping[str, Any]) -> None:
    """Both files, each whole or as it was before."""
    write_json(folder.metrics, metrics)
    write_text(folder.path / "metrics.csv", metrics_csv(metrics))


def task_metrics(task: Task, verified: VerifiedTask, history: TaskHistory, seconds: float) -> dict[str, Any]:
    """The entry of one task in `metrics.json`; `seconds` were spent on training."""
    found, test, own = verified.found, verified.test, verified.metrics()
    result: dict[str, Any] = {
        **own,
        "classes": [int(c) for c in task.classes],
        "classes_seen": task.classes_seen,
        "training": history.record(),
        "seconds": {"train": seconds, **own["seconds"]},
    }
    for network, logits in (("torch", found.logits_reference), ("brian2", found.logits_brian2)):
        predictions = logits.argmax(1)
        result[f"accuracy_{network}"] = incremental.accuracy(predictions, test.labels)
        result[f"accuracy_per_task_{network}"] = incremental.accuracy_per_task(predictions, test.labels, test.tasks)
        result[f"confusion_{network}"] = incremental.confusion_matrix(
            predictions, test.labels, range(task.classes_seen)
        ).tolist()
    return result
