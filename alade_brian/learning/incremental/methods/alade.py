"""ALADE-SNN: a new extractor per task, adaptive logit alignment, OtoN suppression in stage 1 and its release in stage
2.

Ni, Shen, Xu, Tang, AAAI 2025 (arXiv 2412.12696).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from alade_brian.config.run import AladeConfig
from alade_brian.learning.incremental.methods.alade_stages import (
    FinetuningStage,
    RepresentationStage,
    true_logits_by_task,
)
from alade_brian.learning.incremental.methods.base import Method
from alade_brian.learning.incremental.methods.observed import CrossEntropyStage
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.stage import Stage


class Alade(Method):
    name = "alade"
    grows = True

    finetuning_temperature: ClassVar[float] = 1.0
    teacher: Tensor | None = None
    # Mean true-class logit of each task's training images: when stage 1 begins to align, and after the task.
    logits_before_alignment: list[float] | None = None
    logits_after_alignment: list[float] | None = None

    @property
    def switches(self) -> AladeConfig:
        """Which parts are on."""
        return self.config.alade

    def begin_task(self, data: TaskData) -> None:
        old = self.network.classifier
        self.teacher = None if old is None else old.weight.detach().clone()
        self.logits_before_alignment = self.logits_after_alignment = None
        self.network.add_extractor()
        self.network.set_classifier(data.classes)
        self.network.set_auxiliary(None if data.first else data.new_classes + 1)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        if data.first:
            yield CrossEntropyStage(self, data)
            return
        stage = self.representation(data)
        yield stage
        self.logits_before_alignment = stage.logits_before_alignment
        yield self.finetuning(data, generator)

    def representation(self, data: TaskData) -> RepresentationStage:
        """Stage 1."""
        assert self.teacher is not None, "the first task has no stage 1 of its own"
        return RepresentationStage(self, data, self.switches, self.teacher)

    def finetuning(self, data: TaskData, generator: np.random.Generator) -> FinetuningStage:
        """Stage 2; it replaces the classifier."""
        return FinetuningStage(self, data, generator, self.switches, self.finetuning_temperature)

    def epochs(self, first: bool) -> int:
        return super().epochs(first) + (0 if first else self.config.finetuning.epochs)

    def end_task(self, data: TaskData) -> None:
        super().end_task(data)
        if not data.first:
            self.logits_after_alignment = true_logits_by_task(self.network, data)

    def task_facts(self) -> dict[str, Any]:
        return {
            "logits_before_alignment": self.logits_before_alignment,
            "logits_after_alignment": self.logits_after_alignment,
        }

    def state(self) -> dict[str, Any]:
        return {"logits_before_alignment": self.logits_before_alignment}

    def restore(self, state: dict[str, Any]) -> None:
        self.logits_before_alignment = state["logits_before_alignment"]
