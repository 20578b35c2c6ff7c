"""The loop over a task's stages, the same for all methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from alade_brian.config import RunConfig
from alade_brian.learning.data import TaskData
from alade_brian.learning.fitting import fit, seeded
from alade_brian.learning.methods import method_class
from alade_brian.learning.methods.base import mean_features
from alade_brian.models import ConvBackbone, ExpandableNetwork


@dataclass
class TaskHistory:
    """What happened while one task was learnt; JSON-ready through `dataclasses.asdict`."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    logits_before_alignment: list[float] | None = None
    logits_after_alignment: list[float] | None = None


class Learner:
    """A network and the method that trains it, task after task.

    Every task draws its random numbers from (seed, task) alone, so that a run resumed at a task equals one that was
    never interrupted.
    """

    def __init__(self, config: RunConfig, image_shape: tuple[int, int, int]) -> None:
        net = config.network

        def extractor() -> ConvBackbone:
            return ConvBackbone(image_shape, net.channels, net.strides, net.pool, net.steps, net.decay, net.threshold)

        self.config, self.image_shape = config, image_shape
        self.network = ExpandableNetwork(extractor, net.steps)
        self.method = method_class(config.method)(config, self.network)

    def take(self, network: ExpandableNetwork) -> None:
        """Go on with a network that was trained before."""
        self.network = self.method.network = network

    @property
    def rehearses(self) -> bool:
        return self.method.rehearses

    def learn(self, data: TaskData, progress: Callable[[], None] = lambda: None) -> TaskHistory:
        """Train on one task; `progress` is called after every epoch."""
        history = TaskHistory()
        order = np.random.default_rng([self.config.seed, data.number])
        with seeded(self.config.seed, data.number):
            self.method.begin_task(data)
            self.network.train()
            for stage in self.method.stages(data, order):
                history.epochs += fit(stage, order, progress)
            self.method.end_task(data)
        self.network.eval()
        history.logits_before_alignment = self.method.logits_before_alignment
        history.logits_after_alignment = self.method.logits_after_alignment
        return history

    def epochs(self, first: bool) -> int:
        """Epochs of one task, for a progress bar."""
        finetunes = self.method.rehearses and not first
        return self.config.learning.epochs + (self.config.finetuning.epochs if finetunes else 0)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Time-averaged features ``(n, width)`` of images ``(n, C, H, W)``, for herding."""
        return mean_features(self.network, torch.from_numpy(images)).numpy()
