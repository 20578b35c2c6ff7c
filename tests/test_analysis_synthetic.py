"""A run folder made of random arrays, for the tests of figures and report, and a check that its parts fit together."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from alade_brian.analysis.metrics import incremental
from alade_brian.analysis.metrics.energy import energy_metrics
from alade_brian.analysis.statistics.summary import layer_summary
from alade_brian.spec import Dense, NetworkSpec, NeuronEquations, Population, Projection, Readout, Stimulus, constant
from alade_brian.spikes.task_record import LayerRecord, TaskRecord, load_record, save_record

DT = 1e-3
STEPS = 8
LAYERS = {"conv1": 96, "conv2": 320, "features": 64}


def make_spikes(rng: np.random.Generator, images: int, steps: int) -> dict[str, np.ndarray]:
    """Bool arrays (images, steps, neurons), each neuron with its own probability."""
    return {
        name: rng.random((images, steps, neurons)) < 0.4 * rng.random(neurons) ** 2 for name, neurons in LAYERS.items()
    }


def flip(spikes: dict[str, np.ndarray], entries: list[tuple[str, int, int, int]]) -> dict[str, np.ndarray]:
    """A copy in which the entries (layer, image, step, neuron) are turned over."""
    copy = {name: array.copy() for name, array in spikes.items()}
    for layer, image, step, neuron in entries:
        copy[layer][image, step, neuron] ^= True
    return copy


def make_record(torch: dict[str, np.ndarray], brian2: dict[str, np.ndarray], classes: int) -> TaskRecord:
    """A record whose answers are all right, with random logits."""
    images = len(next(iter(torch.values())))
    labels = np.arange(images) % classes
    logits = np.random.default_rng(5).normal(size=(images, classes))
    return TaskRecord(
        dt=DT,
        labels=labels,
        tasks=1 + labels // 2,
        predictions_torch=labels,
        predictions_brian2=labels.copy(),
        logits_torch=logits,
        logits_brian2=logits + 1e-7,
        layers={name: LayerRecord.from_spikes(torch[name], brian2[name]) for name in torch},
    )


def _energy(task: int, images: int) -> dict[str, Any]:
    """Of a chain of layers that are wholly connected, at a firing rate that grows with the tasks."""
    neuron = NeuronEquations("v : 1", {"v_threshold": constant(1.0)}, reset="none")
    sizes = {"image": 16, **LAYERS, "head": 2 * task}
    names = list(sizes)
    spec = NetworkSpec(
        (Stimulus((16,)),),
        tuple(Population(name, (sizes[name],), neuron) for name in names[1:]),
        tuple(Projection(a, b, Dense(np.ones((sizes[b], sizes[a])))) for a, b in pairwise(names)),
        Readout("head", "spike_count"),
        STEPS,
    )
    synapses = [sizes[a] * sizes[b] for a, b in pairwise(names)]
    events = {b: int(0.04 * (4 + task) * STEPS * images * sizes[a] * sizes[b]) for a, b in pairwise(names[1:])}
    return energy_metrics(spec, synapses, events, images)


def _layer(name: str, torch: np.ndarray, brian2: np.ndarray, classes: int) -> dict[str, Any]:
    return {
        "name": name,
        "neurons": torch.shape[2],
        "spikes_torch": int(torch.sum()),
        "spikes_brian2": int(brian2.sum()),
        "mismatched_spikes": int((torch ^ brian2).sum()),
        **layer_summary(brian2, np.arange(len(brian2)) % classes, DT),
    }


def _training(rng: np.random.Generator, task: int, aligned: bool) -> dict[str, Any]:
    epochs = []
    for stage, length in ((1, 12), (2, 6)) if task > 1 else ((1, 12),):
        for epoch in range(1, length + 1):
            measured = aligned and task > 1 and epoch > length // 2
            epochs.append(
                {
                    "stage": stage,
                    "epoch": epoch,
                    "loss": float(2 / epoch),
                    "gamma": 0.4 * (epoch - length // 2) if measured else 0.0,
                    "norm_old": 1.2 - 0.02 * epoch if task > 1 else None,
                    "norm_new": 0.8 + 0.05 * epoch + 0.05 * stage,
                    "logit_old": 4 + 0.1 * epoch if measured else None,
                    "logit_new": 7 - 0.2 * epoch + float(rng.normal(0, 0.1)) if measured else None,
                }
            )
    both = aligned and task > 1
    return {
        "epochs": epochs,
        "logits_before_alignment": [4.0 + 0.2 * j for j in range(task - 1)] + [7.5] if both else None,
        "logits_after_alignment": [5.0 + 0.1 * j for j in range(task - 1)] + [5.4] if both else None,
    }


def make_run(
    folder: Path,
    tasks: int = 5,
    planned: int | None = None,
    wrong: bool = False,
    aligned: bool = True,
    images: int = 60,
    steps: int = STEPS,
    class_names: list[str] | None = None,
    every_record: bool = False,
) -> dict[str, Any]:
    """Write a run folder of `tasks` tasks of two classes, with the spikes of the last or of every task; returns what
    metrics.json holds."""
    (folder / "spikes").mkdir(parents=True)
    rng = np.random.default_rng(1993)
    planned = planned or tasks
    rows = [[round(0.99 - 0.02 * (row - j) - 0.004 * j, 4) for j in range(row + 1)] for row in range(tasks)]
    entries = [("conv2", 7, 3, 11), ("conv2", 7, 4, 11), ("features", 7, 5, 2)] if wrong else []
    per_task: list[dict[str, Any]] = []
    for task in range(1, tasks + 1):
        torch = make_spikes(rng, images, steps)
        brian2 = flip(torch, entries if task == tasks else [])
        layers = [_layer(name, torch[name], brian2[name], 2 * task) for name in torch]
        labels = np.arange(images) % (2 * task)
        confusion = incremental.confusion_matrix(np.where(rng.random(images) < 0.1, 0, labels), labels, range(2 * task))
        broken = bool(entries) and task == tasks
        if every_record or task == tasks:
            save_record(folder / "spikes" / f"task-{task:02d}.npz", make_record(torch, brian2, 2 * task))
        per_task.append(
            {
                "task": task,
                "classes": [2 * task - 2, 2 * task - 1],
                "classes_seen": 2 * task,
                "images": images,
                "accuracy_torch": float(np.mean(rows[task - 1])),
                "accuracy_brian2": float(np.mean(rows[task - 1])),
                "prediction_agreement": 1.0,
                "accuracy_per_task_torch": rows[task - 1],
                "accuracy_per_task_brian2": rows[task - 1],
                "logit_max_abs_difference": 2.4e-6,
                "layers": layers,
                "readout_layers": ["features"],
                "spikes_compared": sum(layer["spikes_torch"] for layer in layers),
                "mismatched_spikes": sum(layer["mismatched_spikes"] for layer in layers),
                "synaptic_events": 1234567 + task,
                "energy": _energy(task, images),
                "seconds": {"train": 21.5 + task, "build": 9.25, "simulate": 4.5 + task, "compare": 0.5},
                "confusion_torch": confusion.tolist(),
                "confusion_brian2": confusion.tolist(),
                "first_divergence": {
                    "layer": "conv2",
                    "image": 7,
                    "step": 3,
                    "neuron": 11,
                    "membrane_torch": 1.0000001,
                    "membrane_brian2": 0.9999999,
                    "distance_to_threshold": 1e-7,
                }
                if broken
                else None,
                "training": _training(rng, task, aligned),
            }
        )
    accuracies = [task["accuracy_torch"] for task in per_task]
    metrics: dict[str, Any] = {
        "format": 1,
        "config": {"seed": 1993},
        "method": "alade" if aligned else "replay",
        "dataset": "digits",
        "class_order": list(range(2 * planned)),
        "class_names": class_names or [str(number) for number in range(2 * planned)],
        "tasks_planned": planned,
        "tasks": per_task,
        "energy": per_task[-1]["energy"],
    }
    for network in ("torch", "brian2"):
        metrics[f"accuracy_matrix_{network}"] = rows
        metrics[f"average_incremental_accuracy_{network}"] = incremental.average_incremental_accuracy(accuracies)
        metrics[f"last_accuracy_{network}"] = incremental.last_accuracy(accuracies)
        metrics[f"forgetting_{network}"] = incremental.forgetting(rows)
        metrics[f"backward_transfer_{network}"] = incremental.backward_transfer(rows)
    (folder / "metrics.json").write_text(json.dumps(metrics, allow_nan=False), encoding="utf-8")
    (folder / "config.yaml").write_text("dataset: digits\nmethod: alade\nseed: 1993\ninit_cls: 2\n", encoding="utf-8")
    environment = {"python": "3.11.2", "packages": {"numpy": "2.3.5", "brian2": "2.9.0"}, "gpu": None, "cores": [0, 1]}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    return metrics


def test_metrics_and_record_tell_the_same_mismatches(tmp_path: Path) -> None:
    metrics = make_run(tmp_path, tasks=2, wrong=True)
    record = load_record(tmp_path / "spikes" / "task-02.npz")
    counts = {layer["name"]: layer["mismatched_spikes"] for layer in metrics["tasks"][-1]["layers"]}
    assert {name: len(layer.mismatches) for name, layer in record.layers.items()} == counts
    assert counts == {"conv1": 0, "conv2": 2, "features": 1}
