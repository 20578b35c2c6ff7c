"""ALADE-SNN: a new extractor per task, adaptive logit alignment, OtoN suppression in stage 1 and its release in stage
2.

Ni, Shen, Xu, Tang, AAAI 2025 (arXiv 2412.12696).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alade_brian.learning.alignment import AlignmentController
from alade_brian.learning.data import TaskData
from alade_brian.learning.fitting import Stage, TrainingSet
from alade_brian.learning.losses import auxiliary_targets, distillation
from alade_brian.learning.methods.base import Method, mean_features
from alade_brian.learning.methods.finetune import CrossEntropyStage
from alade_brian.models import ExpandableNetwork


class Aligned(Stage):
    """A stage whose training logits of new classes carry gamma; the controller sees raw logits, once per epoch."""

    def __init__(self, method: Alade, data: TaskData, align: bool, *stage: Any) -> None:
        super().__init__(*stage)
        self.network, self.old_classes = method.network, data.old_classes
        self.controller = AlignmentController(finetuning=self.number == 2) if align else None
        self._sums = torch.zeros(2, 2, dtype=torch.float64)

    def aligned(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits with gamma on the new classes' columns; the raw true-class logits are noted by the way."""
        true = logits.detach().gather(1, labels[:, None])[:, 0].double()
        new = labels >= self.old_classes
        self._sums += torch.stack([torch.stack([true[group].sum(), group.sum()]) for group in (~new, new)])
        if not self.gamma:
            return logits
        mask = torch.arange(logits.shape[1]) >= self.old_classes
        return logits + self.gamma * mask

    def suppress(self) -> None:
        """OtoN suppression: new classes do not read old features. A projection of the classifier, not a penalty."""
        assert self.network.classifier is not None
        with torch.no_grad():
            self.network.classifier.weight[self.old_classes :, : sum(self.network.widths[:-1])] = 0

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        logit_old, logit_new = (self._sums[:, 0] / self._sums[:, 1]).tolist()
        self._sums.zero_()
        if self.controller is not None and epoch >= self.config.align_from:
            self.gamma = self.controller.update(logit_old, logit_new)
        return {"logit_old": logit_old, "logit_new": logit_new}


class RepresentationStage(Aligned):
    """Stage 1: the new extractor and both heads; new classes read the new extractor only."""

    number = 1

    def __init__(self, method: Alade, data: TaskData) -> None:
        network, switches = method.network, method.config.alade
        old = mean_features(network, data.images, slice(None, -1))
        super().__init__(
            method, data, switches.align_learning, method.config.learning,
            [p for p in network.parameters() if p.requires_grad], TrainingSet(data.images, data.labels, old),
        )  # fmt: skip
        self.switches, self.teacher, self.method, self.task = switches, method.teacher, method, data
        self.after_step()

    def after_step(self) -> None:
        if self.switches.suppression:
            self.suppress()

    def before_epoch(self, epoch: int) -> None:
        if epoch == self.config.align_from:
            self.method.logits_before_alignment = true_logits_by_task(self.network, self.task)

    def loss(self, batch: TrainingSet) -> Tensor:
        assert batch.features is not None and self.network.classifier is not None and self.teacher is not None
        new = self.network.mean_features(batch.inputs, slice(-1, None))
        logits = self.network.classifier(torch.cat([batch.features, new], 1))
        loss = F.cross_entropy(self.aligned(logits, batch.labels), batch.labels)
        if self.switches.distillation:
            # The frozen extractors are the teacher's: its logits cost one small matrix product.
            loss = loss + distillation(
                logits[:, : self.old_classes], batch.features @ self.teacher.T, self.switches.temperature
            )
        if self.switches.auxiliary and self.network.auxiliary is not None:
            loss = loss + F.cross_entropy(
                self.network.auxiliary(new), auxiliary_targets(batch.labels, self.old_classes)
            )
        return loss


class FinetuningStage(Aligned):
    """Stage 2: a fresh classifier on frozen features of a balanced subset, without the OtoN constraint."""

    number = 2

    def __init__(self, method: Alade, data: TaskData, generator: np.random.Generator) -> None:
        network, switches = method.network, method.config.alade
        network.set_classifier(data.classes)
        network.eval()
        assert network.classifier is not None
        chosen = balanced(data.labels, data.quota, generator)
        features = mean_features(network, data.images[chosen])
        super().__init__(
            method, data, switches.align_finetuning, method.config.finetuning,
            [network.classifier.weight], TrainingSet(features, data.labels[chosen]),
        )  # fmt: skip
        self.release = switches.release
        self.after_step()

    def after_step(self) -> None:
        if not self.release:
            self.suppress()

    def loss(self, batch: TrainingSet) -> Tensor:
        assert self.network.classifier is not None
        return F.cross_entropy(self.aligned(self.network.classifier(batch.inputs), batch.labels), batch.labels)


class Alade(Method):
    name = "alade"
    rehearses = True

    teacher: Tensor | None = None

    def begin_task(self, data: TaskData) -> None:
        old = self.network.classifier
        self.teacher = None if old is None else old.weight.detach().clone()
        self.logits_before_alignment = self.logits_after_alignment = None
        self.network.add_extractor()
        self.network.set_classifier(data.classes)
        self.network.set_auxiliary(None if data.first else data.new_classes + 1)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        if data.first:
            yield CrossEntropyStage(self, TrainingSet(data.images, data.labels))
            return
        yield RepresentationStage(self, data)
        yield FinetuningStage(self, data, generator)

    def end_task(self, data: TaskData) -> None:
        super().end_task(data)
        if not data.first:
            self.logits_after_alignment = true_logits_by_task(self.network, data)


def balanced(labels: Tensor, quota: int, generator: np.random.Generator) -> Tensor:
    """Indices of a random subset with `quota` images of every class (all of a class that has fewer), in random
    order."""
    chosen = [generator.permutation(np.flatnonzero(labels.numpy() == c))[:quota] for c in np.unique(labels.numpy())]
    return torch.from_numpy(generator.permutation(np.concatenate(chosen)))


def true_logits_by_task(network: ExpandableNetwork, data: TaskData) -> list[float]:
    """Mean true-class logit of the training images of each task so far, without gamma."""
    assert network.classifier is not None
    with torch.no_grad():
        logits = network.classifier(mean_features(network, data.images))
    true = logits.gather(1, data.labels[:, None])[:, 0]
    tasks = data.task_of_label[data.labels]
    return [true[tasks == task].mean().item() for task in range(1, data.number + 1)]
