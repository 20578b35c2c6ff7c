"""Stages that note, epoch by epoch, how far new classes stand above old ones."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alade_brian.config.run import StageConfig
from alade_brian.learning.incremental.methods.base import Method
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.parallel import total
from alade_brian.learning.stage import Stage, TrainingSet
from alade_brian.models import ExpandableNetwork


class LogitGapStage(Stage):
    """A stage that records gamma, the mean raw true-class logits of old and new images, and the mean L2 norms of old
    and new classes' rows in the classifier.

    gamma   what training adds to the logits of new classes to close the gap; 0 unless a stage aligns logits
    """

    gamma: float = 0.0

    def __init__(
        self, method: Method, data: TaskData, config: StageConfig, parameters: list[nn.Parameter], shown: TrainingSet
    ) -> None:
        super().__init__(config, parameters, shown)
        self.network, self.old_classes = method.network, data.old_classes
        self._sums = torch.zeros(2, 2, dtype=torch.float64)

    def note(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Note raw logits ``(n, classes)``; returns them as they are."""
        true = logits.detach().gather(1, labels[:, None])[:, 0].double()
        new = labels >= self.old_classes
        self._sums += torch.stack([torch.stack([true[group].sum(), group.sum()]) for group in (~new, new)]).cpu()
        return logits

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        sums = total(self._sums.clone())
        self._sums.zero_()
        found = {"gamma": self.gamma}
        found |= {name: (s / n).item() for name, (s, n) in zip(("logit_old", "logit_new"), sums, strict=True) if n}
        return found | row_norms(self.network, self.old_classes)


class CrossEntropyStage(LogitGapStage):
    """The whole newest extractor and the classifier, with cross-entropy on the mean logits.

    anew   whether nothing was learnt before: the settings are those of a first task
    """

    def __init__(self, method: Method, data: TaskData, anew: bool = False) -> None:
        self.anew = anew or data.first
        trained = [p for p in method.network.parameters() if p.requires_grad]
        shown = TrainingSet(data.images, data.labels)
        super().__init__(method, data, method.config.stage_one(self.anew), trained, shown)

    def before_epoch(self, epoch: int) -> None:
        if epoch == self.config.reset_heads and self.anew:
            reset_heads(self.network)

    def loss(self, batch: TrainingSet) -> Tensor:
        return self.entropy(self.note(self.network(batch.inputs), batch.labels), batch.labels)

    def entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of logits ``(n, classes)``, at the stage's temperature."""
        return F.cross_entropy(logits / (self.config.temperature or 1.0), labels)


def row_norms(network: ExpandableNetwork, old_classes: int) -> dict[str, float]:
    """Mean L2 norms of the classifier's rows of old and of new classes."""
    assert network.classifier is not None
    norms = network.classifier.weight.detach().norm(dim=1)
    groups = {"norm_old": norms[:old_classes], "norm_new": norms[old_classes:]}
    return {name: rows.mean().item() for name, rows in groups.items() if len(rows)}


def reset_heads(network: ExpandableNetwork) -> None:
    """Initialise the classifier and the auxiliary head anew, in place."""
    for head in (network.classifier, network.auxiliary):
        if head is not None:
            nn.init.kaiming_normal_(head.weight, nonlinearity="linear")
