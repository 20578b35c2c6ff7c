"""Joint training on all images of all classes seen so far: the upper bound."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alade_brian.learning.incremental.methods.base import Method
from alade_brian.learning.incremental.methods.observed import CrossEntropyStage
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.stage import Stage


class Joint(Method):
    """One network per task, trained from fresh weights on everything seen: what a learner reaches that never had to
    learn in increments.

    Going on with the network before would make the bound depend on the order of classes, and lower it: networks that
    are started from trained weights generalise worse (Ash and Adams, NeurIPS 2020, arXiv 1910.08475). So every task is
    a first one, with the settings of a first one.
    """

    name = "joint"
    rehearses = False
    sees_all = True

    def begin_task(self, data: TaskData) -> None:
        del self.network.extractors[:]
        self.network.add_extractor()
        self.network.set_classifier(data.classes)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        yield CrossEntropyStage(self, data, anew=True)

    def epochs(self, first: bool) -> int:
        return super().epochs(first=True)
