"""Read the `metrics.json` of a run, which may have been edited, cut off or written by another program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alade_brian.analysis.problems import problem_of
from alade_brian.content import NOTHING, NUMBER, fault
from alade_brian.errors import UserError
from alade_brian.files import read_json

_MAYBE = (NUMBER, NOTHING)
_LAYER = {
    "name": str, "neurons": int, "spikes_torch": int, "spikes_brian2": int, "mismatched_spikes": int,
    "mean_rate_hz": _MAYBE, "cv_isi?": _MAYBE, "fano_factor?": _MAYBE, "silent_fraction?": _MAYBE,
}  # fmt: skip
_ENERGY = {
    "joule_per_image?": _MAYBE, "joule_per_image_relu?": _MAYBE, "ratio?": _MAYBE, "synaptic_events_per_image?": _MAYBE,
    "layers?": [{"name": str}],
}  # fmt: skip
TASK: Mapping[str, Any] = {
    "task": int, "images": int, "prediction_agreement": _MAYBE, "layers": [_LAYER], "spikes_compared": int,
    "mismatched_spikes": int, "seconds": {str: NUMBER}, "classes?": [int], "classes_seen?": int,
    "accuracy_torch?": NUMBER, "accuracy_brian2?": NUMBER, "accuracy_per_task_torch?": [NUMBER],
    "accuracy_per_task_brian2?": [NUMBER], "confusion_torch?": [[int]], "confusion_brian2?": [[int]],
    "logit_max_abs_difference?": _MAYBE, "output_max_abs_difference?": _MAYBE, "synaptic_events?": (int, NOTHING),
    "readout_layers?": [str], "training?": {"epochs?": [{"stage": int, "epoch": int, "loss": NUMBER}]},
    "energy?": (_ENERGY, NOTHING), "first_divergence?": ({str: object}, NOTHING), "r2_torch?": _MAYBE,
    "r2_brian2?": _MAYBE,
}  # fmt: skip
_METRICS: Mapping[str, Any] = {
    "tasks": [TASK], "config?": ({str: object}, NOTHING), "method?": str, "dataset?": str, "problem?": str,
    "class_order?": [int], "class_names?": [str], "tasks_planned?": int, "energy?": (_ENERGY, NOTHING),
    **{f"{name}_{network}?": _MAYBE for network in ("torch", "brian2")
       for name in ("average_incremental_accuracy", "last_accuracy", "forgetting", "backward_transfer")},
}  # fmt: skip


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of a metrics.json with at least one task. UserError if it is missing, damaged, or lacks what every
    run writes."""
    try:
        metrics = read_json(path)
    except FileNotFoundError:
        raise UserError(f"There is no {path}; a report needs the folder of a run.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); restore it or run again.") from error
    if not (isinstance(metrics, dict) and isinstance(metrics.get("tasks"), list) and metrics["tasks"]):
        raise UserError(f"{path} holds no finished task to report on.")
    found = fault(metrics, _METRICS) or _names(metrics)
    if found is not None:
        raise UserError(f"{path} is damaged ({found}); restore it or run again.")
    for number, task in enumerate(metrics["tasks"], start=1):
        missing = [key for key in problem_of(metrics).task_keys if key not in task]
        if missing:
            raise UserError(f"{path} lacks {missing[0]} in its task number {number}.")
    return metrics


def _names(metrics: Mapping[str, Any]) -> str | None:
    """The first name that cannot be shown, in words."""
    names = [*metrics.get("class_names", ()), *(each["name"] for task in metrics["tasks"] for each in task["layers"])]
    wrong = next((name for name in names if not name.isprintable()), None)
    return None if wrong is None else f"the name {wrong!a} holds characters that cannot be shown"
