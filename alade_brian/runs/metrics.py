"""What a run keeps of every task, and of all of them: `metrics.json` and `metrics.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alade_brian.analysis.metrics.metrics_csv import metrics_csv
from alade_brian.analysis.problems import PROBLEMS
from alade_brian.config.run import RunConfig, to_mapping
from alade_brian.data import Scenario, Task
from alade_brian.files import write_json, write_text
from alade_brian.learning import TaskHistory
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.verified_run import VerifiedTask


def run_metrics(config: RunConfig, scenario: Scenario, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`metrics.json` for the tasks done so far, each as `task_metrics` gives it."""
    order, dataset = [int(c) for c in scenario.class_order], scenario.dataset
    problem = PROBLEMS.find(dataset.problem)
    result: dict[str, Any] = {
        "format": 1,
        "config": to_mapping(config),
        "method": config.method,
        "dataset": config.dataset,
        **problem.run_facts(order, [dataset.class_names[c] for c in order], dataset.target_shape),
        "tasks_planned": len(scenario),
        "tasks": list(tasks),
    }
    for network in ("torch", "brian2"):
        result |= problem.run_scores(network, tasks)
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
        **verified.problem.task_facts(task.classes, task.classes_seen),
        "training": history.record(),
        "seconds": {"train": seconds, **own["seconds"]},
    }
    for network, logits in (("torch", found.logits_reference), ("brian2", found.logits_brian2)):
        result |= verified.problem.scores(network, test, logits, task.classes_seen)
    return result
