"""DSD-SNN: one network in which every task grows units of its own, prunes the weak ones, and freezes the rest.

Han, Zhao, Zhao, Li, Zeng, Shen, IJCAI 2023 (arXiv 2308.04749).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from alade_brian.config.run import RunConfig
from alade_brian.errors import UserError
from alade_brian.learning.incremental.methods.base import Method, require_two_classes
from alade_brian.learning.incremental.methods.observed import CrossEntropyStage
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.incremental.units import Guard, Units
from alade_brian.learning.stage import Stage, TrainingSet
from alade_brian.models import ExpandableNetwork

log = logging.getLogger(__name__)

REMEDY = "use a smaller dsd.initial or dsd.growth, or more network.channels"


class Dsd(Method):
    """New units read all older ones, older ones never read new ones: an old sub-network spikes for ever as it did when
    its task ended. The rows of the classifier are learnt in their own task alone, without exemplars; the decision is
    the largest logit of all rows (the source asks a second network for the task first).

    Units are the output channels of the small network's convolutions. The optimiser is SGD, as of all methods here.
    """

    name = "dsd"
    rehearses = False

    units: Units
    stage: DsdStage

    def __init__(self, config: RunConfig, network: ExpandableNetwork) -> None:
        if config.network.backbone != "small":
            raise UserError(
                f"network.backbone is '{config.network.backbone}', but the method 'dsd' supports only convolutions "
                "without shortcuts; use 'small'"
            )
        for key in ("init_cls", "increment"):
            if getattr(config, key) < 2:
                raise UserError(
                    f"{key} is {getattr(config, key)}, but the method 'dsd' distinguishes only the classes "
                    "of one task; use at least 2"
                )
        super().__init__(config, network)

    def check(self, sizes: Sequence[int]) -> None:
        """UserError where the last task has one class, or a run of so many tasks is bound to run out of free units;
        with pruning nobody can know."""
        require_two_classes(self.config, sizes)
        switches, tasks = self.config.dsd, len(sizes)
        for width in self.config.network.channels:
            wanted = _units(switches.initial, width) + (tasks - 1) * _units(switches.growth, width)
            if not switches.prune and wanted > width:
                raise UserError(
                    f"{tasks} tasks of the method 'dsd' take {wanted} of the {width} units of a layer, and none is "
                    f"pruned; {REMEDY}"
                )

    def begin_task(self, data: TaskData) -> None:
        if data.first:
            self.network.add_extractor()
        self.units = Units(self.network.extractors[0], empty=data.first)
        self._grow(data)
        self.network.set_classifier(data.classes, keep=True)

    def _grow(self, data: TaskData) -> None:
        switches = self.config.dsd
        fraction = switches.initial if data.first else switches.growth
        for number, layer in enumerate(self.units.layers):
            width = len(layer.fixed)
            taken = layer.grow(_units(fraction, width), self.units.read(number), switches.credit)
            if not taken:
                raise UserError(
                    f"task {data.number} of the method 'dsd' finds no free unit in {layer.name}, whose {width} units "
                    f"all belong to earlier tasks; {REMEDY}"
                )
            if taken < _units(fraction, width):
                log.warning("task %d grows %d units in %s, the last free ones", data.number, taken, layer.name)

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        self.stage = DsdStage(self, data)
        yield self.stage

    def end_task(self, data: TaskData) -> None:
        super().end_task(data)
        # The mean of several processes' equal statistics, taken after every epoch, may be off by a rounding.
        self.stage.guard.restore()


class DsdStage(CrossEntropyStage):
    """The task's own units and rows of the classifier, with cross-entropy over the task's own classes."""

    def __init__(self, method: Dsd, data: TaskData) -> None:
        super().__init__(method, data)
        self.switches, self.units = method.config.dsd, method.units
        self._epoch = ExitStack()
        self._guard()

    def _guard(self) -> None:
        assert self.network.classifier is not None
        self.guard = Guard(self.units, self.network.classifier, self.old_classes, self.switches.moving_norm)
        self.guard.restore()

    def after_step(self) -> None:
        self.guard.restore()

    def before_epoch(self, epoch: int) -> None:
        super().before_epoch(epoch)
        self._epoch.enter_context(self.guard.training())

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        self._epoch.close()
        if self.switches.prune:
            for layer in self.units.layers:
                layer.prune(epoch, self.switches.rho[1 if self.old_classes else 0])
            self._guard()
        return super().after_epoch(epoch) | self.units.counts()

    def loss(self, batch: TrainingSet) -> Tensor:
        logits = self.note(self.network(batch.inputs), batch.labels)[:, self.old_classes :]
        return F.cross_entropy(logits / (self.config.temperature or 1.0), batch.labels - self.old_classes)

    def state(self) -> dict[str, Any]:
        return {"units": self.units.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.guard.restore()  # for the reason in `end_task`
        self.units.restore(state["units"])
        self._guard()


def _units(fraction: float, width: int) -> int:
    """A fraction of a layer's units, at least one."""
    return max(1, int(fraction * width))
