"""The main job: learn a task, convert, simulate, compare, keep; then the next task."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alade_brian.analysis.problems import PROBLEMS
from alade_brian.analysis.report.report import write_report
from alade_brian.config.run import RunConfig
from alade_brian.content import wrong_content
from alade_brian.data import ExemplarMemory, ImageSet, Task, herd
from alade_brian.errors import RunStopped, UserError
from alade_brian.learning import State, TaskData, TaskHistory
from alade_brian.learning.checkpoint import save_checkpoint, save_network
from alade_brian.learning.incremental.methods.distilling import logits_of
from alade_brian.learning.incremental.resume import take_checkpoint
from alade_brian.learning.parallel import is_main_process
from alade_brian.models.kernels.kernels import reuse_freed_memory
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.gpu_memory import check_job_memory
from alade_brian.runs.metrics import run_metrics, task_metrics, write_metrics
from alade_brian.runs.progress import progress_bar
from alade_brian.runs.setup import (
    convert_options,
    load_images,
    make_learner,
    make_memory,
    make_scenario,
    simulation_settings,
)
from alade_brian.runs.verified_run import VerifiedRun, VerifiedTask
from alade_brian.simulation import check_machine

log = logging.getLogger(__name__)

# Where a task stands between two epochs is kept at most this often; what was learnt since is learnt again.
SECONDS_BETWEEN_STATES = 10.0


class IncrementalJob:
    """One run: a configuration, a data set, and a folder that takes everything computed.

    Everything that can be wrong with the configuration is refused in the constructor, before anything is computed.

    workers, cluster, python   who simulates, see `SimulationSettings`: no result depends on it
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        download: bool = False,
        progress: bool = True,
        workers: int | None = None,
        cluster: str | None = None,
        python: Path | None = None,
    ) -> None:
        self.config, self.folder, self.progress = config, RunFolder(folder), progress and is_main_process()
        self.settings = dataclasses.replace(
            simulation_settings(config), workers=workers, cluster=cluster, python=python
        )
        check_machine(self.settings)
        self.dataset = load_images(config, download)
        self.scenario = make_scenario(config, self.dataset)
        self.memory = make_memory(config, self.scenario)
        self.learner = make_learner(config, self.dataset)
        self.learner.method.check(self.scenario.sizes)
        check_job_memory(config, self.dataset, self.scenario, self.settings)
        self.tasks: list[dict[str, Any]] = []
        self.seconds_between_states = SECONDS_BETWEEN_STATES

    def start(self) -> None:
        """Begin a new run in an unused folder."""
        if is_main_process():
            self.folder.begin(self.config)

    def resume(self) -> None:
        """Go on with the run in the folder: behind its last complete task, where one has begun at its last epoch."""
        self.folder.check_same(self.config)
        self.folder.warn_of_threads()
        state = self.folder.load_state()
        if state is not None:
            take_checkpoint(self.folder.checkpoint(state["task"]), self.learner)
            remedy = "restore it, or start anew in another folder with --out"
            with wrong_content(f"resume.pt in {self.folder.path} is damaged ({{}}); {remedy}"):
                self.learner.method.restore(state["method"])
                self.memory = ExemplarMemory.from_state(state["memory"])
                self.scenario.exemplars(self.memory)
            self.tasks = state["tasks"]

    def run(self) -> dict[str, Any]:
        """All tasks that are left, then the report; returns the metrics."""
        reuse_freed_memory()
        if not is_main_process():
            for task in list(self.scenario)[len(self.tasks) :]:
                self._learn(task)
            return {}
        handler = self.folder.log_to_file()
        try:
            self._report_smaller_task()
            for task in list(self.scenario)[len(self.tasks) :]:
                self._task(task)
            metrics = self.metrics()
            write_metrics(self.folder, metrics)
            write_report(self.folder.path)
            return metrics
        finally:
            logging.getLogger("alade_brian").removeHandler(handler)
            handler.close()

    def _report_smaller_task(self) -> None:
        sizes = self.scenario.sizes
        if len(sizes) > 1 and sizes[-1] < self.config.increment:
            log.warning(
                "the last of %d tasks has %d classes, those that increments of %d leave of %d", len(sizes), sizes[-1],
                self.config.increment, sum(sizes),
            )  # fmt: skip

    def metrics(self) -> dict[str, Any]:
        """`metrics.json` for the tasks done so far."""
        return run_metrics(self.config, self.scenario, self.tasks)

    def _task(self, task: Task) -> None:
        began = time.perf_counter()
        history = self._learn(task)
        seconds = time.perf_counter() - began
        test = evenly_spaced(self.scenario.test_set(task), self.config.verify_images)
        self._keep_companions(task, test, history)
        verified = self._verify(task, test)
        self.tasks.append(task_metrics(task, verified, history, seconds))
        write_metrics(self.folder, self.metrics())
        self.folder.save_state(
            task.number,
            {"memory": self.memory.state(), "tasks": self.tasks, "method": self.learner.method.state()},
        )

    def _learn(self, task: Task) -> TaskHistory:
        new = self.scenario.train_set(task)
        shown = new.followed_by(self._old_images(task))
        brought = [t.number for t in self.scenario for _ in t.labels]
        data = TaskData(
            task.number, torch.from_numpy(shown.images), torch.from_numpy(shown.labels), len(task.old_classes),
            task.classes_seen, self.memory.quota(task.classes_seen),
            torch.tensor(brought[: task.classes_seen], dtype=torch.int64),
            None if shown.targets is None else torch.from_numpy(shown.targets),
        )  # fmt: skip
        state = self.folder.load_progress(task.number)
        with progress_bar(self.learner.epochs(data.first), f"task {task.number}: training", self.progress) as bar:
            history = self.learner.learn(data, bar.update, self._keeper(task), state, self._stage_keeper(task))
        if self.memory.holds_any:
            self._remember(task, new)
        return history

    def _old_images(self, task: Task) -> ImageSet:
        """Images of earlier tasks that are learnt again: the exemplars, or all."""
        if self.learner.method.sees_all:
            return self.scenario.train_sets_before(task)
        return self.scenario.exemplars(self.memory)

    def _keeper(self, task: Task) -> Callable[[Callable[[], State]], None]:
        last = time.monotonic()

        def keep(state: Callable[[], State]) -> None:
            nonlocal last
            if is_main_process() and time.monotonic() - last >= self.seconds_between_states:
                self.folder.save_progress(task.number, state())
                last = time.monotonic()

        return keep

    def _stage_keeper(self, task: Task) -> Callable[[Callable[[], State]], None]:
        """Keep the state at the end of a stage, however soon: if the simulation fails, training is not repeated."""

        def keep(state: Callable[[], State]) -> None:
            if is_main_process():
                self.folder.save_progress(task.number, state())

        return keep

    def _remember(self, task: Task, new: ImageSet) -> None:
        """Herd exemplars of the new classes on the network's features."""
        features, quota, chosen = self.learner.features(new.images), self.memory.quota(task.classes_seen), {}
        for label in task.labels:
            rows = np.flatnonzero(new.labels == label)
            chosen[label] = new.indices[rows[herd(features[rows], quota)]]
        self.memory.update(task.classes_seen, chosen)
        kept = self.scenario.exemplars(self.memory)
        self.learner.method.remember(torch.from_numpy(kept.images), torch.from_numpy(kept.labels))

    def _verify(self, task: Task, test: ImageSet) -> VerifiedTask:
        coding, last = convert_options(self.dataset, self.learner.network), task.number == len(self.scenario)
        try:
            return VerifiedRun(self.folder, self.settings, self.progress).verify_task(
                task.number, self.learner.network, self.dataset.image_shape, test, coding, self._saver(task), last
            )
        except UserError as error:
            raise RunStopped(f"{error}; everything that was learnt, task {task.number} too, is kept") from error

    def _keep_companions(self, task: Task, test: ImageSet, history: TaskHistory) -> None:
        """Write what was trained beside the network, and note how well it does on the images that are verified."""
        for name, companion in self.learner.method.companions().items():
            header = self._header(task)
            save_network(self.folder.companion(task.number, name), companion.network, companion.architecture, header)
            answers = logits_of(companion.network, torch.from_numpy(test.images)).argmax(1).numpy()
            history.facts[f"accuracy_{name}"] = float((answers == test.labels).mean())

    def _saver(self, task: Task) -> Callable[[Path], None]:
        header = self._header(task)
        return lambda path: save_checkpoint(path, self.learner.network, self.config, header)

    def _header(self, task: Task) -> dict[str, Any]:
        """What a checkpoint says of the data that its network learnt."""
        seen = [int(c) for c in self.scenario.class_order[: task.classes_seen]]
        names = [self.dataset.class_names[c] for c in seen]
        return {
            "task": task.number,
            "method": self.config.method,
            "dataset": self.config.dataset,
            "image_shape": list(self.dataset.image_shape),
            "sequence": self.dataset.sequence_steps is not None,
            **PROBLEMS.find(self.dataset.problem).header_facts(seen, names, self.dataset.target_shape),
            "normalisation": {
                "scale": self.dataset.scale, "mean": self.dataset.mean.tolist(), "std": self.dataset.std.tolist(),
            },
        }  # fmt: skip


def evenly_spaced(images: ImageSet, count: int | None) -> ImageSet:
    """At most `count` images, spread evenly over the set (which is ordered by task), or all."""
    if count is None or count >= len(images):
        return images
    return images.select(np.linspace(0, len(images) - 1, count).round().astype(np.int64))
