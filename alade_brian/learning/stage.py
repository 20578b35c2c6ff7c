"""One training stage: epochs over a fixed set, with hooks; it can be left and entered again between epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.config.run import StageConfig, TrainingConfig
from alade_brian.errors import UserError
from alade_brian.learning.incremental.task_data import time_first
from alade_brian.learning.optimisers import make_optimiser, make_schedule
from alade_brian.learning.parallel import Share, share

# What is done to a batch of images before it is shown: float32 ``(n, C, H, W)``, and where random numbers come from.
Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Epochs = list[dict[str, Any]]


@dataclass(frozen=True)
class TrainingSet:
    """What a stage trains on.

    inputs     images ``(n, C, H, W)``, or features ``(n, width)`` where a stage trains the classifier only
    labels     int64 ``(n,)``, incremental labels; without meaning where there are targets
    features   what a frozen network makes of the images, computed once: mean features of old extractors or a teacher's
               logits, ``(n, old width or classes)``; or None
    targets    values to be learnt in place of labels, float32 ``(n, ...)``; or None
    """

    inputs: Tensor
    labels: Tensor
    features: Tensor | None = None
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def holds_images(self) -> bool:
        return self.inputs.ndim > 2

    def select(self, index: Tensor) -> TrainingSet:
        return TrainingSet(
            self.inputs[index],
            self.labels[index],
            None if self.features is None else self.features[index],
            None if self.targets is None else self.targets[index],
        )

    def shown_on(self, device: str) -> TrainingSet:
        """On a device, with the inputs as a network takes them."""
        features = None if self.features is None else self.features.to(device)
        targets = None if self.targets is None else self.targets.to(device)
        return TrainingSet(time_first(self.inputs.to(device)), self.labels.to(device), features, targets)


class Stage:
    """A stage of a method: its settings, parameters, data and loss; subclasses add what happens between."""

    number: int = 1

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

    def state(self) -> dict[str, Any]:
        """What the stage itself remembers from epoch to epoch, as tensors and plain values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""


class StageTrainer:
    """The run of one stage, epoch by epoch; its state between two epochs is all that the rest depends on.

    The order of images and their augmentation come from `generator` alone.
    """

    def __init__(
        self,
        stage: Stage,
        generator: np.random.Generator,
        training: TrainingConfig | None = None,
        augment: Augment | None = None,
    ) -> None:
        config = stage.config
        self.stage, self.generator, self.augment = stage, generator, augment
        self.training = training or TrainingConfig()
        self.optimiser = make_optimiser(config, stage.parameters)
        self.schedule = make_schedule(config, self.optimiser)
        self.history: Epochs = []

    @property
    def epoch(self) -> int:
        """The epoch that comes next, from 0."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        return self.epoch >= self.stage.config.epochs

    def run_epoch(self) -> None:
        """One pass over the data; adds a record (stage, epoch, loss, and what the stage adds).

        UserError if the loss is no longer a finite number.
        """
        stage, epoch = self.stage, self.epoch
        stage.before_epoch(epoch)
        total = 0.0
        for index in _batches(len(stage.data), stage.config.batch_size, self.generator):
            total += self._step(index)
            if not math.isfinite(total):
                raise UserError(
                    f"training diverged: in epoch {epoch + 1} of stage {stage.number} the loss became {total}; use a "
                    "lower learning_rate"
                )
        self.schedule.step()
        record = {"stage": stage.number, "epoch": epoch, "loss": total / len(stage.data)}
        self.history.append({**record, **stage.after_epoch(epoch)})

    def _step(self, index: Tensor) -> float:
        """One optimiser step; the loss summed over the batch."""
        # Every process draws for the whole batch, so that all of them stay at the same random number.
        batch, part = self._shown(self.stage.data.select(index)), share(len(index))
        batch = batch.select(part.rows) if part.of > 1 else batch
        self.optimiser.zero_grad()
        with self._precision():
            loss = self.stage.loss(batch.shown_on(self.training.device))
        loss.backward()
        total = self._together(part, loss.detach() * len(batch))
        self.optimiser.step()
        self.stage.after_step()
        return total

    def _shown(self, batch: TrainingSet) -> TrainingSet:
        if self.augment is None or not batch.holds_images:
            return batch
        return replace(batch, inputs=torch.from_numpy(self.augment(batch.inputs.numpy(), self.generator)))

    def _together(self, part: Share, total: Tensor) -> float:
        part.add_gradients(self.stage.parameters)
        return part.add(total).item()

    @contextmanager
    def _precision(self) -> Iterator[None]:
        lower = self.training.precision == "bfloat16"
        with torch.autocast(self.training.device, torch.bfloat16, enabled=lower):
            yield

    def state(self) -> dict[str, Any]:
        """Everything but the network: optimiser, schedule, random numbers, history, and what the stage remembers."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.bit_generator.state,
            "torch": torch.get_rng_state(),
            "history": self.history,
            "stage": self.stage.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`, with the network as it was then."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.bit_generator.state = state["generator"]
        torch.set_rng_state(state["torch"])
        self.history = list(state["history"])
        self.stage.restore(state["stage"])


def fit(
    stage: Stage, generator: np.random.Generator, progress: Callable[[], None] = lambda: None, **options: Any
) -> Epochs:
    """Run a stage from its first epoch to its last; the records. `options`: see `StageTrainer`."""
    fitting = StageTrainer(stage, generator, **options)
    while not fitting.finished:
        fitting.run_epoch()
        progress()
    return fitting.history


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
