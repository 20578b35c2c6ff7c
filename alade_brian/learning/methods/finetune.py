"""Finetune: one network goes on learning whatever comes, without memory. The lower bound."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from alade_brian.learning.data import TaskData
from alade_brian.learning.fitting import Stage, TrainingSet
from alade_brian.learning.methods.base import Method


class CrossEntropyStage(Stage):
    """The whole newest extractor and the classifier, with cross-entropy on the mean logits."""

    def __init__(self, method: Method, data: TrainingSet) -> None:
        self.network = method.network
        super().__init__(method.config.learning, [p for p in self.network.parameters() if p.requires_grad], data)

    def loss(self, batch: TrainingSet) -> Tensor:
        return F.cross_entropy(self.network(batch.inputs), batch.labels)


class Finetune(Method):
    name = "finetune"
    rehearses = False

    def begin_task(self, data: TaskData) -> None:
        if data.first:
            self.network.add_extractor()
        self.network.set_classifier(data.classes, keep=True)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        yield CrossEntropyStage(self, TrainingSet(data.images, data.labels))
