"""The main job: learn a task, convert, simulate, compare, keep; then the next task."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from alade_brian.analysis import incremental
from alade_brian.analysis.records import LayerRecord, TaskRecord, save_record
from alade_brian.analysis.report import write_report
from alade_brian.analysis.statistics import layer_statistics
from alade_brian.config import RunConfig, to_mapping
from alade_brian.conversion.nir_write import write_nir
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.conversion.table import format_rows, lowering_table
from alade_brian.conversion.torch_lower import convert
from alade_brian.conversion.verify import Verification, verify
from alade_brian.data import (
    Dataset,
    ExemplarMemory,
    ImageSet,
    Scenario,
    Task,
    check_memory,
    class_order,
    herd,
    load_dataset,
)
from alade_brian.errors import UserError
from alade_brian.files import write_json, write_text
from alade_brian.learning import Learner, TaskData, TaskHistory, method_class
from alade_brian.learning.checkpoint import load_checkpoint, save_checkpoint
from alade_brian.runs import RunFolder
from alade_brian.simulation import SimulationSettings, advice

log = logging.getLogger(__name__)

# Energy of one 32-bit accumulate in 45 nm CMOS.
JOULE_PER_SYNAPTIC_EVENT = 0.9e-12
ENERGY_SOURCE = "0.9 pJ per 32-bit accumulate, 45 nm: Horowitz, ISSCC 2014; synaptic events between populations only"


class IncrementalJob:
    """One run: a configuration, a data set, and a folder that takes everything computed.

    Everything that can be wrong with the configuration is refused in the constructor, before anything is computed.

    workers, cluster   who simulates, see `SimulationSettings`: no result depends on it
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        download: bool = False,
        progress: bool = True,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> None:
        self.config, self.folder, self.progress = config, RunFolder(folder), progress
        self.settings = dataclasses.replace(simulation_settings(config), workers=workers, cluster=cluster)
        self.settings.check()
        method = method_class(config.method)
        root = Path(config.data_root) if config.data_root is not None else None
        self.dataset = load_dataset(config.dataset, root, download)
        self.scenario = make_scenario(config, self.dataset)
        self.memory = ExemplarMemory(config.memory_size if method.rehearses else 0)
        check_memory(self.memory.size, self.scenario)
        if method.rehearses and not self.memory.size:
            raise UserError(f"memory_size is 0, but the method '{config.method}' learns from exemplars; give it some")
        try:
            self.learner = Learner(config, self.dataset.image_shape)
            self._try_extractor()
        except ValueError as error:
            raise UserError(
                f"section 'network' does not fit the {config.dataset} images of {self.dataset.image_shape}: {error}"
            ) from None
        self.tasks: list[dict[str, Any]] = []

    def _try_extractor(self) -> None:
        """Make one extractor and throw it away: a network that cannot exist is refused before any training."""
        Learner(self.config, self.dataset.image_shape).network.add_extractor()

    def start(self) -> None:
        """Begin a new run in an unused folder."""
        self.folder.begin(self.config)

    def resume(self) -> None:
        """Go on behind the last complete task of the run in the folder."""
        self.folder.check_same(self.config)
        state = self.folder.load_state()
        if state is not None:
            load_checkpoint(self.folder.checkpoint(state["task"]), self.learner)
            self.memory = ExemplarMemory.from_state(state["memory"])
            self.tasks = state["tasks"]

    def run(self) -> dict[str, Any]:
        """All tasks that are left, then the report; returns the metrics."""
        handler = self.folder.log_to_file()
        try:
            for task in list(self.scenario)[len(self.tasks) :]:
                self._task(task)
            metrics = self.metrics()
            self._write_metrics(metrics)
            write_report(self.folder.path)
            return metrics
        finally:
            logging.getLogger("alade_brian").removeHandler(handler)
            handler.close()

    def _task(self, task: Task) -> None:
        began = time.perf_counter()
        history = self._learn(task)
        seconds = time.perf_counter() - began
        test = self.scenario.test_set(task)
        test = spread(test, self.config.verify_images)
        spec = convert(self.learner.network, self.dataset.image_shape)
        log.info("task %d, lowered:\n%s", task.number, format_rows(lowering_table(spec)))
        log.info("task %d: %s", task.number, advice(spec, self.settings))
        with self._bar(len(test), f"task {task.number} simulate") as bar:
            found = verify(self.learner.network, test.images, spec, self.settings, bar.update)
        log.info("task %d: %s", task.number, found)
        self._keep(task, spec, test, found)
        self.tasks.append(task_metrics(task, self.scenario, spec, test, found, history, seconds))
        self._write_metrics(self.metrics())
        self.folder.save_state(task.number, {"memory": self.memory.state(), "tasks": self.tasks})

    def _learn(self, task: Task) -> TaskHistory:
        new, old = self.scenario.train_set(task), self.scenario.exemplars(self.memory)
        images, labels = np.concatenate([new.images, old.images]), np.concatenate([new.labels, old.labels])
        brought = [t.number for t in self.scenario for _ in t.labels]
        data = TaskData(
            task.number, torch.from_numpy(images), torch.from_numpy(labels), len(task.old_classes), task.classes_seen,
            self.memory.quota(task.classes_seen) if self.memory.size else 0, torch.tensor(brought[: task.classes_seen]),
        )  # fmt: skip
        with self._bar(self.learner.epochs(data.first), f"task {task.number} learn") as bar:
            history = self.learner.learn(data, bar.update)
        if self.memory.size:
            self._remember(task, new)
        return history

    def _remember(self, task: Task, new: ImageSet) -> None:
        """Herd exemplars of the new classes on the network's features."""
        features, quota, chosen = self.learner.features(new.images), self.memory.quota(task.classes_seen), {}
        for label in task.labels:
            rows = np.flatnonzero(new.labels == label)
            chosen[label] = new.indices[rows[herd(features[rows], quota)]]
        self.memory.update(task.classes_seen, chosen)

    def _keep(self, task: Task, spec: NetworkSpec, test: ImageSet, found: Verification) -> None:
        header = {
            "task": task.number,
            "method": self.config.method,
            "dataset": self.config.dataset,
            "image_shape": list(self.dataset.image_shape),
            "classes": [int(c) for c in self.scenario.class_order[: task.classes_seen]],
            "class_names": [self.dataset.class_names[c] for c in self.scenario.class_order[: task.classes_seen]],
        }
        save_checkpoint(self.folder.checkpoint(task.number), self.learner.network, self.config, header)
        write_nir(spec, self.folder.nir(task.number))
        layers = {
            a.name: LayerRecord(found.packed(a), (found.images, found.steps, a.neurons), a.mismatched())
            for a in found.layers
        }
        record = TaskRecord(
            dt=spec.dt, labels=test.labels, tasks=test.tasks, predictions_torch=found.logits_torch.argmax(1),
            predictions_brian2=found.logits_brian2.argmax(1), logits_torch=found.logits_torch,
            logits_brian2=found.logits_brian2, layers=layers,
        )  # fmt: skip
        save_record(self.folder.spikes(task.number), record)

    def metrics(self) -> dict[str, Any]:
        """`metrics.json` for the tasks done so far."""
        order = [int(c) for c in self.scenario.class_order]
        result: dict[str, Any] = {
            "format": 1,
            "config": to_mapping(self.config),
            "method": self.config.method,
            "dataset": self.config.dataset,
            "class_order": order,
            "class_names": [self.dataset.class_names[c] for c in order],
            "tasks_planned": len(self.scenario),
            "tasks": self.tasks,
        }
        for network in ("torch", "brian2"):
            matrix = [task[f"accuracy_per_task_{network}"] for task in self.tasks]
            accuracies = [task[f"accuracy_{network}"] for task in self.tasks]
            result[f"average_incremental_accuracy_{network}"] = incremental.average_incremental_accuracy(accuracies)
            result[f"last_accuracy_{network}"] = incremental.last_accuracy(accuracies)
            result[f"forgetting_{network}"] = incremental.forgetting(matrix)
            result[f"backward_transfer_{network}"] = incremental.backward_transfer(matrix)
            result[f"accuracy_matrix_{network}"] = matrix
        events = self.tasks[-1]["synaptic_events"] / self.tasks[-1]["images"]
        result["energy"] = {
            "synaptic_events_per_image": events,
            "joule_per_synaptic_event": JOULE_PER_SYNAPTIC_EVENT,
            "joule_per_image": events * JOULE_PER_SYNAPTIC_EVENT,
            "source": ENERGY_SOURCE,
        }
        return result

    def _write_metrics(self, metrics: dict[str, Any]) -> None:
        write_json(self.folder.metrics, metrics)
        buffer = io.StringIO()
        columns = [
            "task",
            "classes_seen",
            "images",
            "accuracy_torch",
            "accuracy_brian2",
            "prediction_agreement",
            "spikes_compared",
            "mismatched_spikes",
            "synaptic_events",
        ]
        writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(metrics["tasks"])
        write_text(self.folder.path / "metrics.csv", buffer.getvalue())

    def _bar(self, total: int, label: str) -> Any:
        # tqdm's None switches the bar off where there is no terminal.
        return tqdm(total=total, desc=label, disable=None if self.progress else True, leave=False)


def simulation_settings(config: RunConfig) -> SimulationSettings:
    """The simulation section of a configuration as settings."""
    return SimulationSettings(**dataclasses.asdict(config.simulation), reuse=True)


def make_scenario(config: RunConfig, dataset: Dataset) -> Scenario:
    """The class-incremental scenario that a configuration asks for."""
    order = config.class_order if config.class_order is not None else class_order(config.seed, dataset.classes)
    return Scenario(dataset, config.init_cls, config.increment, order)


def spread(images: ImageSet, count: int | None) -> ImageSet:
    """At most `count` images, spread evenly over the set (which is ordered by task), or all."""
    if count is None or count >= len(images):
        return images
    return images.select(np.linspace(0, len(images) - 1, count).round().astype(np.int64))


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
        "first_divergence": dataclasses.asdict(found.first_divergence) if found.first_divergence else None,
        "training": dataclasses.asdict(history),
        "seconds": {"train": seconds, **found.seconds},
    }
    for network, logits in (("torch", found.logits_torch), ("brian2", found.logits_brian2)):
        predictions = logits.argmax(1)
        result[f"accuracy_{network}"] = incremental.accuracy(predictions, test.labels)
        result[f"accuracy_per_task_{network}"] = incremental.accuracy_per_task(predictions, test.labels, test.tasks)
        result[f"confusion_{network}"] = incremental.confusion_matrix(
            predictions, test.labels, range(task.classes_seen)
        ).tolist()
    result["layers"] = [
        {
            "name": a.name,
            "neurons": a.neurons,
            "spikes_torch": a.spikes_torch,
            "spikes_brian2": a.spikes_brian2,
            "mismatched_spikes": a.mismatched_spikes,
            **layer_statistics(
                LayerRecord(found.packed(a), (found.images, found.steps, a.neurons), a.mismatched()).brian2(),
                spec.dt,
            ),
        }
        for a in found.layers
    ]
    return result
