"""Whether the simulated network is the trained one, by the metrics of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def agrees(metrics: Mapping[str, Any]) -> bool:
    """Whether in every task spikes were compared and some fired, none differed, and predictions and logits were the
    same; not where there is no task."""
    return bool(metrics["tasks"]) and not differs(metrics) and not doubts(metrics)


def doubts(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence for every way in which the comparison proves nothing, with the tasks that it is true of."""
    tasks, found = metrics["tasks"], []
    uncompared = [task for task in tasks if not task["spikes_compared"]]
    silent = [task for task in tasks if task["spikes_compared"] and not _fired(task)]
    if uncompared:
        found.append(f"no spike of the two networks was compared ({_numbers(uncompared)})")
    if silent:
        found.append(
            f"no neuron fired in either network ({_numbers(silent)}): this comparison proves nothing about spikes"
        )
    return found


def differs(metrics: Mapping[str, Any]) -> bool:
    """Whether a spike, a prediction or a logit differed in any task."""
    tasks = metrics["tasks"]
    same = all(task["mismatched_spikes"] == 0 and task["prediction_agreement"] == 1.0 for task in tasks)
    # `agrees` also knows the logits' scale; records from elsewhere may lack it. Where nothing fired it says no more.
    fired = [task for task in tasks if task["spikes_compared"] and _fired(task)]
    return not (same and all(task.get("agrees", True) for task in fired))


def _fired(task: Mapping[str, Any]) -> bool:
    return any(layer["spikes_torch"] or layer["spikes_brian2"] for layer in task["layers"])


def _numbers(tasks: Sequence[Mapping[str, Any]]) -> str:
    return f"task{'s' if len(tasks) > 1 else ''} {', '.join(str(task['task']) for task in tasks)}"
