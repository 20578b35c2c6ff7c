"""One training stage: epochs of SGD over a fixed set, with hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.config import StageConfig


@dataclass(frozen=True)
class TrainingSet:
    """What a stage trains on.

    inputs     images ``(n, C, H, W)``, or features ``(n, width)`` where a stage trains the classifier only
    labels     int64 ``(n,)``, incremental labels
    features   mean features of the frozen extractors ``(n, old width)``, or None
    """

    inputs: Tensor
    labels: Tensor
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> TrainingSet:
        return TrainingSet(
            self.inputs[index], self.labels[index], None if self.features is None else self.features[index]
        )


class Stage:
    """A stage of a method: its settings, parameters, data and loss; subclasses add what happens between."""

    number: int = 1
    gamma: float = 0.0

    def __init__(self, config: StageConfig, parameters: list[nn.Parameter], data: TrainingSet) -> None:
        self.config, self.parameters, self.data = config, parameters, data

    def loss(self, batch: TrainingSet) -> Tensor:
        """Mean loss of a batch."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after every optimiser step."""

    def before_epoch(self, epoch: int) -> None:
        """Called before every epoch, counted from 0."""

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        """Called after every epoch; what it returns is kept in the history."""
        return {}


def fit(
    stage: Stage, generator: np.random.Generator, progress: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Run a stage; returns one record per epoch (stage, epoch, loss, gamma, and what the stage adds).

    The order of images comes from `generator` alone.
    """
    config = stage.config
    optimiser = torch.optim.SGD(
        stage.parameters, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(config.milestones), config.factor)
    history = []
    for epoch in range(config.epochs):
        stage.before_epoch(epoch)
        gamma, total = stage.gamma, 0.0
        for index in _batches(len(stage.data), config.batch_size, generator):
            optimiser.zero_grad()
            loss = stage.loss(stage.data.select(index))
            loss.backward()
            optimiser.step()
            stage.after_step()
            total += loss.item() * len(index)
        schedule.step()
        history.append(
            {
                "stage": stage.number,
                "epoch": epoch,
                "loss": total / len(stage.data),
                "gamma": gamma,
                **stage.after_epoch(epoch),
            }
        )
        progress()
    return history


def _batches(count: int, size: int, generator: np.random.Generator) -> Iterator[Tensor]:
    """A random order cut into batches; a last batch of one image, which batch norm cannot take, joins the one
    before."""
    order = torch.from_numpy(generator.permutation(count))
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """torch's global random numbers, as initialisers use them, from a seed; as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        yield
