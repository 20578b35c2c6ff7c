"""The seam for methods: one small class with hooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from alade_brian.config.run import RunConfig
from alade_brian.data import Dataset
from alade_brian.errors import UserError
from alade_brian.learning.incremental.task_data import TaskData, time_first
from alade_brian.learning.stage import Stage
from alade_brian.models import BackboneDescription, ExpandableNetwork


@dataclass(frozen=True)
class Companion:
    """A network in eval mode, and the architecture that a checkpoint needs to build it anew (`save_network`)."""

    network: ExpandableNetwork
    architecture: Mapping[str, Any]


class Method(ABC):
    """How a network learns a task. One object lives through all tasks; what it remembers beside the network is its
    `state`.

    name        as chosen in a configuration
    rehearses   whether exemplars of old classes are kept and trained on
    sees_all    whether it is given all images of old classes instead: the upper bound
    all_at_once whether there is one task, of all classes
    grows       whether every task brings an extractor
    takes_values whether targets may be values in place of classes
    learns_times whether the times of single spikes are learnt: networks that answer by the first of them need that
    augments    whether images are changed at random whenever they are shown: features are then never kept
    description of an extractor, for the run's images; the learner gives it
    """

    name: ClassVar[str]
    rehearses: ClassVar[bool] = True
    sees_all: ClassVar[bool] = False
    all_at_once: ClassVar[bool] = False
    grows: ClassVar[bool] = False
    takes_values: ClassVar[bool] = False
    learns_times: ClassVar[bool] = False
    augments: bool = False
    description: BackboneDescription

    def __init__(self, config: RunConfig, network: ExpandableNetwork) -> None:
        self.config, self.network = config, network

    def check(self, sizes: Sequence[int]) -> None:  # noqa: B027 - most methods have nothing to refuse
        """UserError where a run of tasks with these numbers of classes cannot end well; called before it begins."""

    def see(self, dataset: Dataset) -> None:  # noqa: B027 - most methods take any images
        """UserError where the method cannot learn from these images; called before anything is computed."""

    @abstractmethod
    def begin_task(self, data: TaskData) -> None:
        """Let the network grow for the task's classes."""

    @abstractmethod
    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        """The stages of training, in order; each is made when the one before has ended."""

    def epochs(self, first: bool) -> int:
        """Epochs of all stages of a task."""
        return self.config.stage_one(first).epochs

    def end_task(self, data: TaskData) -> None:
        """Called when all stages have ended."""
        self.network.set_auxiliary(None)

    def remember(self, exemplars: Tensor, labels: Tensor) -> None:  # noqa: B027
        """Called after the task with all exemplars ``(n, C, H, W)``, int64 ``(n,)``; the network is complete from here
        on."""

    def task_facts(self) -> dict[str, Any]:
        """What the method adds to the history of the task that has ended; JSON-ready."""
        return {}

    def companions(self) -> dict[str, Companion]:
        """Networks that were trained in the task beside the one that is converted, by name; kept with the run."""
        return {}

    def state(self) -> dict[str, Any]:
        """What the method remembers beside the network, as tensors and plain values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Go on from a `state`."""


def require_two_classes(config: RunConfig, sizes: Sequence[int]) -> None:
    """UserError where the last of several tasks has one class, for a method that distinguishes only those of a task."""
    if len(sizes) > 1 and sizes[-1] < 2:
        raise UserError(
            f"init_cls {config.init_cls} and increment {config.increment} leave {sizes[-1]} of {sum(sizes)} classes "
            f"for the last task, but the method '{config.method}' distinguishes only the classes of one task; use "
            "another increment"
        )


@contextmanager
def evaluating(network: ExpandableNetwork) -> Iterator[None]:
    """In eval mode while the block runs."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def mean_features(
    network: ExpandableNetwork, images: Tensor, extractors: slice = slice(None), batch: int = 500
) -> Tensor:
    """Time-averaged features ``(n, width)`` of some extractors in eval mode, without gradient."""
    with evaluating(network), torch.no_grad():
        device = next(network.parameters()).device
        parts = [network.mean_features(time_first(part.to(device)), extractors).cpu() for part in images.split(batch)]
        return torch.cat(parts)
