"""The two stages of ALADE-SNN. Each part of them is a switch of the configuration's section `alade`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alade_brian.config.run import AladeConfig
from alade_brian.learning.incremental.alignment import AlignmentController
from alade_brian.learning.incremental.methods.base import Method, mean_features
from alade_brian.learning.incremental.methods.observed import LogitGapStage, reset_heads
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.losses import auxiliary_targets, distillation, per_step
from alade_brian.learning.stage import TrainingSet
from alade_brian.models import ExpandableNetwork

OLD = slice(None, -1)


class Aligned(LogitGapStage):
    """A stage whose training logits of new classes carry gamma; the controller sees raw logits, once per epoch."""

    def __init__(self, method: Method, data: TaskData, align: bool, *stage: Any) -> None:
        super().__init__(method, data, *stage)
        self.controller = AlignmentController(finetuning=self.number == 2) if align else None

    def with_gamma(self, logits: Tensor) -> Tensor:
        """Logits ``(..., classes)`` with gamma on the new classes' columns."""
        if not self.gamma:
            return logits
        new = torch.arange(logits.shape[-1], device=logits.device) >= self.old_classes
        return logits + self.gamma * new

    def suppress(self) -> None:
        """OtoN suppression: new classes do not read old features. A projection of the classifier, not a penalty."""
        assert self.network.classifier is not None
        with torch.no_grad():
            self.network.classifier.weight[self.old_classes :, : sum(self.network.widths[:-1])] = 0

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        found = super().after_epoch(epoch)
        if self.controller is not None and epoch >= self.config.align_from and {"logit_old", "logit_new"} <= set(found):
            self.gamma = self.controller.update(found["logit_old"], found["logit_new"])
        return found

    def state(self) -> dict[str, Any]:
        return {"gamma": self.gamma, "controller": self.controller.state() if self.controller else None}

    def restore(self, state: dict[str, Any]) -> None:
        self.gamma = state["gamma"]
        if self.controller is not None:
            self.controller.restore(state["controller"])


class RepresentationStage(Aligned):
    """Stage 1: the new extractor and both heads; new classes read the new extractor only.

    What frozen extractors make of an image never changes: it is computed once, unless images are shown in another way
    each time or every step counts by itself; then once per batch, for student and teacher together.

    switches   which parts are on
    teacher    the classifier's weights before the task, ``(old classes, old width)``
    logits_before_alignment   what `true_logits_by_task` gives when alignment begins; None before
    """

    number = 1

    def __init__(self, method: Method, data: TaskData, switches: AladeConfig, teacher: Tensor) -> None:
        self.switches, self.teacher, self.task = switches, teacher, data
        self.logits_before_alignment: list[float] | None = None
        kept = not method.augments and self.switches.per_step is None
        old = mean_features(method.network, data.images, OLD) if kept else None
        super().__init__(
            method, data, self.switches.align_learning, method.config.learning,
            [p for p in method.network.parameters() if p.requires_grad], TrainingSet(data.images, data.labels, old),
        )  # fmt: skip
        self.after_step()

    def after_step(self) -> None:
        if self.switches.suppression:
            self.suppress()

    def before_epoch(self, epoch: int) -> None:
        if epoch == self.config.reset_heads:
            reset_heads(self.network)
            self.after_step()
        if epoch == self.config.align_from:
            self.logits_before_alignment = true_logits_by_task(self.network, self.task)

    def state(self) -> dict[str, Any]:
        return super().state() | {"logits_before_alignment": self.logits_before_alignment}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.logits_before_alignment = state["logits_before_alignment"]

    def loss(self, batch: TrainingSet) -> Tensor:
        assert self.network.classifier is not None
        new_steps = self.network.extractors[-1](batch.inputs)
        old_steps = self._frozen(batch) if batch.features is None else None
        new = self.network.decision(new_steps)
        old = batch.features if old_steps is None else self.network.decision(old_steps)
        assert old is not None
        logits = self.note(self.network.classifier(torch.cat([old, new], 1)), batch.labels)
        if self.switches.per_step is None:
            loss = self._cross_entropy(logits, batch.labels)
        else:
            assert old_steps is not None
            loss = self._loss_per_step(torch.cat([old_steps, new_steps], 1), batch.labels)
        if self.switches.distillation:
            # The frozen extractors are the teacher's: its logits cost one small matrix product.
            taught = old @ self.teacher.to(old).T
            loss = loss + distillation(logits[:, : self.old_classes], taught, self.switches.temperature)
        if self.switches.auxiliary and self.network.auxiliary is not None:
            targets = auxiliary_targets(batch.labels, self.old_classes)
            loss = loss + F.cross_entropy(self.network.auxiliary(new), targets)
        return loss

    def _frozen(self, batch: TrainingSet) -> Tensor:
        """Features of the frozen extractors in every step, ``(steps * n, old width)``."""
        with torch.no_grad():
            return torch.cat([extractor(batch.inputs) for extractor in list(self.network.extractors)[OLD]], 1)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        shown = self.with_gamma(logits) if self.switches.gamma_in_loss else logits
        return F.cross_entropy(shown / (self.config.temperature or 1.0), labels)

    def _loss_per_step(self, features: Tensor, labels: Tensor) -> Tensor:
        assert self.network.classifier is not None and self.switches.per_step is not None
        logits = self.network.classifier(features).reshape(self.network.steps, len(labels), -1)
        return per_step(self.with_gamma(logits), labels, self.switches.per_step)


class FinetuningStage(Aligned):
    """Stage 2: a fresh classifier on frozen features of a balanced subset, without the OtoN constraint.

    switches      which parts are on
    temperature   logits are divided by it in the cross-entropy, unless the configuration names another
    """

    number = 2

    def __init__(
        self,
        method: Method,
        data: TaskData,
        generator: np.random.Generator,
        switches: AladeConfig,
        temperature: float,
    ) -> None:
        network, self.switches = method.network, switches
        network.set_classifier(data.classes)
        network.to(method.config.training.device).eval()
        assert network.classifier is not None
        chosen = balanced(data.labels, data.quota, generator)
        images = data.images[chosen]
        shown = images if method.augments else mean_features(network, images)
        super().__init__(
            method, data, self.switches.align_finetuning, method.config.finetuning,
            [network.classifier.weight], TrainingSet(shown, data.labels[chosen]),
        )  # fmt: skip
        self.temperature = self.config.temperature or temperature
        self.after_step()

    def after_step(self) -> None:
        if not self.switches.release:
            self.suppress()

    def loss(self, batch: TrainingSet) -> Tensor:
        assert self.network.classifier is not None
        features = batch.inputs
        if batch.holds_images:
            with torch.no_grad():
                features = self.network.mean_features(batch.inputs)
        logits = self.note(self.network.classifier(features), batch.labels)
        return F.cross_entropy(self.with_gamma(logits) / self.temperature, batch.labels)


def balanced(labels: Tensor, quota: int, generator: np.random.Generator) -> Tensor:
    """Indices of a random subset with `quota` images of every class (all of a class that has fewer), in random
    order."""
    chosen = [generator.permutation(np.flatnonzero(labels.numpy() == c))[:quota] for c in np.unique(labels.numpy())]
    return torch.from_numpy(generator.permutation(np.concatenate(chosen)))


def true_logits_by_task(network: ExpandableNetwork, data: TaskData) -> list[float]:
    """Mean true-class logit of the training images of each task so far, without gamma."""
    assert network.classifier is not None
    with torch.no_grad():
        logits = network.classifier(mean_features(network, data.images).to(network.classifier.weight)).cpu()
    true = logits.gather(1, data.labels[:, None])[:, 0]
    tasks = data.task_of_label[data.labels]
    return [true[tasks == task].mean().item() for task in range(1, data.number + 1)]
