"""What a run keeps of every task, and of all of them: `metrics.json` and `metrics.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alade_brian.analysis.metrics import incremental
from alade_brian.analysis.metrics.energy import energy_metrics
from alade_brian.analysis.metrics.metrics_csv import metrics_csv
from alade_brian.analysis.statistics.rates import layer_statistics
from alade_brian.analysis.statistics.summary import response_statistics
from alade_brian.config.run import RunConfig, to_mapping
from alade_brian.data import ImageSet, Scenario, Task
from alade_brian.files import write_json, write_text
from alade_brian.learning import TaskHistory
from alade_brian.runs.folder import RunFolder
from alade_brian.spec.cost_table import synapses_per_projection
from alade_brian.spec.network import NetworkSpec
from alade_brian.spikes.task_record import LayerRecord
from alade_brian.verification.comparison import LayerAgreement, Verification


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


def task_metrics(
    task: Task,
    scenario: Scenario,
    spec: NetworkSpec,
    test: ImageSet,
    found: Verification,
    history: TaskHistory,
    seconds: float,
) -> dict[str, Any]:
    """The entry of one task in `metrics.json`."""
    result: dict[str, Any] = {
        "task": task.number,
        "classes": [int(c) for c in task.classes],
        "classes_seen": task.classes_seen,
        "images": found.images,
        "prediction_agreement": found.prediction_agreement,
        "logit_max_abs_difference": found.logit_max_abs_difference,
        "spikes_compared": found.spikes_compared,
        "mismatched_spikes": found.mismatched_spikes,
        "agrees": found.agrees,
        "synaptic_events": found.synaptic_events,
        "synaptic_events_per_layer": found.synaptic_events_per_layer,
        "energy": energy_metrics(spec, synapses_per_projection(spec), found.synaptic_events_per_layer, found.images),
        "first_divergence": found.first_divergence.record() if found.first_divergence else None,
        "training": history.record(),
        "seconds": {"train": seconds, **found.seconds},
    }
    for network, logits in (("torch", found.logits_reference), ("brian2", found.logits_brian2)):
        predictions = logits.argmax(1)
        result[f"accuracy_{network}"] = incremental.accuracy(predictions, test.labels)
        result[f"accuracy_per_task_{network}"] = incremental.accuracy_per_task(predictions, test.labels, test.tasks)
        result[f"confusion_{network}"] = incremental.confusion_matrix(
            predictions, test.labels, range(task.classes_seen)
        ).tolist()
    result["layers"] = [_layer_metrics(a, found, test.labels, spec.dt) for a in found.layers]
    result["readout_layers"] = readout_layers(spec)
    return result


def _layer_metrics(layer: LayerAgreement, found: Verification, labels: np.ndarray, dt: float) -> dict[str, Any]:
    """Spikes of both networks, and statistics of Brian2's."""
    record = LayerRecord(found.packed(layer), (found.images, found.steps, layer.neurons), layer.mismatched())
    spikes = record.brian2()
    return {
        "name": layer.name,
        "neurons": layer.neurons,
        "spikes_torch": layer.spikes_reference,
        "spikes_brian2": layer.spikes_brian2,
        "mismatched_spikes": layer.mismatched_spikes,
        **layer_statistics(spikes, dt),
        **response_statistics(spikes, labels, dt),
    }


def readout_layers(spec: NetworkSpec) -> list[str]:
    """Names of the spiking populations that the answer is read from, directly or through others that do not spike."""
    spiking, found = {p.name for p in spec.spiking}, {spec.readout.population}
    while before := {p.source for p in spec.projections if p.target in found - spiking} - found:
        found |= before
    return [p.name for p in spec.spiking if p.name in found]
