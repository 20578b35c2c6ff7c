"""Plain training: one network, nothing incremental. All classes at once, which `alade-brian train` runs, or values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from alade_brian.config.sections import StageConfig
from alade_brian.learning.incremental.methods.base import Method
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.losses import value_error
from alade_brian.learning.parallel import total
from alade_brian.learning.stage import Stage, TrainingSet


class Plain(Method):
    """One extractor and its classifier, trained in one stage with the settings of section `learning`."""

    name = "plain"
    rehearses = False
    all_at_once = True
    takes_values = True

    def begin_task(self, data: TaskData) -> None:
        self.network.add_extractor()
        self.network.set_classifier(data.outputs)
        self.network.decision.decision = "class" if data.targets is None else "value"

    def respond(self, images: Tensor) -> Tensor:
        """The network's outputs ``(n, outputs)`` in training, with the gradient that it is trained by."""
        return self.network(images)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        yield self.stage(data)

    def stage(self, data: TaskData, config: StageConfig | None = None, number: int = 1) -> PlainStage:
        """A stage of what there is to be learnt: classes or values; `config` as of `PlainStage`."""
        kind = ClassStage if data.targets is None else ValueStage
        return kind(self, data, config, number)


class PlainStage(Stage):
    """All images, and what is to be learnt of them; subclasses have the loss.

    config   default: that of stage 1
    """

    def __init__(self, method: Plain, data: TaskData, config: StageConfig | None = None, number: int = 1) -> None:
        trained = [p for p in method.network.parameters() if p.requires_grad]
        shown = TrainingSet(data.images, data.labels, targets=data.targets)
        super().__init__(config or method.config.stage_one(first=True), trained, shown)
        self.respond, self.number = method.respond, number


class ValueStage(PlainStage):
    """Mean squared error of the mean outputs, which is the loss that every epoch records."""

    def loss(self, batch: TrainingSet) -> Tensor:
        assert batch.targets is not None, "a stage of values is made of targets"
        return value_error(self.respond(batch.inputs), batch.targets)


class ClassStage(PlainStage):
    """Cross-entropy on the mean logits; records the accuracy on the training images as they were shown."""

    def __init__(self, method: Plain, data: TaskData, config: StageConfig | None = None, number: int = 1) -> None:
        super().__init__(method, data, config, number)
        self._correct: list[Tensor] = []

    def loss(self, batch: TrainingSet) -> Tensor:
        return self.entropy(self.respond(batch.inputs), batch.labels)

    def entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of logits ``(n, classes)``, at the stage's temperature; counts those that are right."""
        self._correct.append((logits.detach().argmax(1) == labels).sum().cpu())
        return F.cross_entropy(logits / (self.config.temperature or 1.0), labels)

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        correct = total(sum(self._correct, start=self._correct[0] * 0))
        self._correct.clear()
        return {"training_accuracy": correct.item() / len(self.data)}
