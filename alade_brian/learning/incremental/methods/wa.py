"""WA: cross-entropy and distillation, then the rows of new classes are brought to the norm of the old ones.

Zhao, Xiao, Gan, Zhang, Xia, CVPR 2020 (arXiv 1911.07053).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from alade_brian.config.run import RunConfig
from alade_brian.errors import UserError
from alade_brian.learning.incremental.methods.distilling import Distilling, DistillingStage
from alade_brian.learning.incremental.methods.observed import CrossEntropyStage
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.stage import Stage
from alade_brian.models import ExpandableNetwork


class Wa(Distilling):
    """``L = (1 - alpha) CE(all columns) + alpha KD(old columns)`` with alpha = old classes / classes seen, temperature
    2; after the task the new classes' rows are multiplied by (mean norm of old rows) / (mean norm of new rows).

    As in the source, negative weights of the classifier are set to zero after every step. Features are rates, never
    negative either, so that the norm of a row says how large its logits are, and aligning the one aligns the other.
    (Public implementations leave the step out; it is worth much on small networks.)
    The aligned network decides, goes on learning in the next task, and teaches it.
    """

    name = "wa"
    rehearses = True

    def __init__(self, config: RunConfig, network: ExpandableNetwork) -> None:
        weight = config.distillation.weight
        if weight is not None and weight > 1:
            raise UserError(
                f"distillation.weight is {weight}, but the method 'wa' weights cross-entropy by 1 minus this; use "
                "at most 1, or leave it out"
            )
        super().__init__(config, network)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        yield Clipping(self, data) if data.first else ClippingDistilling(self, data)

    def weights(self, data: TaskData) -> tuple[float, float]:
        weight = self.config.distillation.weight
        alpha = data.old_classes / data.classes if weight is None else weight
        return 1 - alpha, alpha

    def end_task(self, data: TaskData) -> None:
        super().end_task(data)
        if not data.first:
            assert self.network.classifier is not None
            align(self.network.classifier, data.old_classes)


class Clipping(CrossEntropyStage):
    """A stage after each of whose steps no weight of the classifier is negative."""

    def after_step(self) -> None:
        assert self.network.classifier is not None
        with torch.no_grad():
            self.network.classifier.weight.clamp_(min=0)


class ClippingDistilling(Clipping, DistillingStage):
    """The same with distillation."""


def align(classifier: nn.Linear, old_classes: int) -> None:
    """Multiply the rows of new classes by one factor, so that their mean L2 norm is that of the old ones; rows that are
    all zero stay so."""
    norms = classifier.weight.detach().norm(dim=1)
    old, new = norms[:old_classes].mean(), norms[old_classes:].mean()
    if new > 0:
        with torch.no_grad():
            classifier.weight[old_classes:] *= old / new
