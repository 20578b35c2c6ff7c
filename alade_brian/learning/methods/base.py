"""The seam for methods: one small class with hooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from alade_brian.config import RunConfig
from alade_brian.learning.data import TaskData
from alade_brian.learning.fitting import Stage
from alade_brian.models import ExpandableNetwork


class Method(ABC):
    """How a network learns a task. One object lives through all tasks; its state is the network.

    name        as chosen in a configuration
    rehearses   whether exemplars of old classes are kept and trained on
    """

    name: ClassVar[str]
    rehearses: ClassVar[bool]

    # Mean true-class logit of each task's training images, where a method aligns logits; kept in the history.
    logits_before_alignment: list[float] | None = None
    logits_after_alignment: list[float] | None = None

    def __init__(self, config: RunConfig, network: ExpandableNetwork) -> None:
        self.config, self.network = config, network

    @abstractmethod
    def begin_task(self, data: TaskData) -> None:
        """Let the network grow for the task's classes."""

    @abstractmethod
    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        """The stages of training, in order; each is made when the one before has ended."""

    def end_task(self, data: TaskData) -> None:
        """Called when all stages have ended; the network is complete from here on."""
        self.network.set_auxiliary(None)


def mean_features(
    network: ExpandableNetwork, images: Tensor, extractors: slice = slice(None), batch: int = 500
) -> Tensor:
    """Time-averaged features ``(n, width)`` of some extractors in eval mode, without gradient."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        features = torch.cat([network.mean_features(part, extractors) for part in images.split(batch)])
    network.train(was_training)
    return features
