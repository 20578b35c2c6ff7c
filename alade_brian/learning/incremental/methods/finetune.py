"""Finetune: one network goes on learning whatever comes, without memory. The lower bound."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alade_brian.learning.incremental.methods.base import Method
from alade_brian.learning.incremental.methods.observed import CrossEntropyStage
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.stage import Stage


class Finetune(Method):
    name = "finetune"
    rehearses = False

    def begin_task(self, data: TaskData) -> None:
        if data.first:
            self.network.add_extractor()
        self.network.set_classifier(data.classes, keep=True)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        yield CrossEntropyStage(self, data)
