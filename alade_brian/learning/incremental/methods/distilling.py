"""Methods with one network that is held to what it answered before the task: knowledge distillation."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from alade_brian.learning.incremental.methods.base import mean_features
from alade_brian.learning.incremental.methods.finetune import Finetune
from alade_brian.learning.incremental.methods.observed import CrossEntropyStage
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.losses import distillation
from alade_brian.learning.stage import Stage, TrainingSet
from alade_brian.models import ExpandableNetwork


class Distilling(Finetune):
    """One network, taught by a frozen copy of what it was before the task.

    new_only   whether cross-entropy compares the new classes with each other alone
    teacher    the copy, in eval mode; None in the first task and between tasks. It follows from the network with which
               a task begins, so it is no part of the `state`
    """

    new_only: ClassVar[bool] = False
    teacher: ExpandableNetwork | None = None

    def begin_task(self, data: TaskData) -> None:
        self.teacher = None if data.first else copy.deepcopy(self.network).requires_grad_(False).eval()
        super().begin_task(data)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        yield CrossEntropyStage(self, data) if data.first else DistillingStage(self, data)

    def weights(self, data: TaskData) -> tuple[float, float]:
        """Weights of cross-entropy and distillation in the loss."""
        weight = self.config.distillation.weight
        return 1.0, 1.0 if weight is None else weight

    def end_task(self, data: TaskData) -> None:
        super().end_task(data)
        self.teacher = None


class DistillingStage(CrossEntropyStage):
    """The whole network, with cross-entropy and the distillation of the teacher's logits on the old classes' columns.

    The teacher never changes: its logits are computed once, unless images are shown in another way each time.
    """

    def __init__(self, method: Distilling, data: TaskData) -> None:
        super().__init__(method, data)
        assert method.teacher is not None
        self.teacher = method.teacher.to(method.config.training.device)
        self.weights, self.temperature = method.weights(data), method.config.distillation.temperature
        self.first_compared = data.old_classes if method.new_only else 0
        if not method.augments:
            self.data = dataclasses.replace(self.data, features=logits_of(self.teacher, data.images))

    def loss(self, batch: TrainingSet) -> Tensor:
        logits = self.note(self.network(batch.inputs), batch.labels)
        of_entropy, of_distillation = self.weights
        compared = logits[:, self.first_compared :]
        kept = distillation(logits[:, : self.old_classes], self._taught(batch), self.temperature)
        return of_entropy * self.entropy(compared, batch.labels - self.first_compared) + of_distillation * kept

    def _taught(self, batch: TrainingSet) -> Tensor:
        """The teacher's logits, ``(n, old classes)``."""
        if batch.features is not None:
            return batch.features
        with torch.no_grad():
            return self.teacher(batch.inputs)


def logits_of(network: ExpandableNetwork, images: Tensor) -> Tensor:
    """Mean logits ``(n, classes)`` of images ``(n, C, H, W)`` in eval mode, without gradient, on the CPU."""
    assert network.classifier is not None
    return mean_features(network, images) @ network.classifier.weight.detach().cpu().T
