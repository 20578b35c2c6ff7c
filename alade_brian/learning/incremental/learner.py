"""The loop over a task's stages, the same for all methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from alade_brian.config.run import RunConfig
from alade_brian.content import wrong_content
from alade_brian.errors import UserError
from alade_brian.learning.architectures import backbone_description
from alade_brian.learning.incremental.methods import method_class
from alade_brian.learning.incremental.methods.base import mean_features
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.parallel import average_statistics
from alade_brian.learning.stage import Augment, Stage, StageTrainer, seeded
from alade_brian.models import ExpandableNetwork, build_backbone
from alade_brian.models.layers.first_to_fire import FirstToFire

# Where a task stands between two epochs: plain values and tensors, as `Learner.learn` takes it back.
State = dict[str, Any]
# Is given a function that returns the state to go on from; it may call it or not.
Keep = Callable[[Callable[[], State]], None]


@dataclass
class TaskHistory:
    """What happened while one task was learnt.

    epochs   a record per epoch
    facts    what the method adds, see `Method.task_facts`
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        return {"epochs": self.epochs, **self.facts}


class Learner:
    """A network and the method that trains it, task after task.

    Every task draws its random numbers from (seed, task) alone, so that a run resumed at a task equals one that was
    never interrupted; resumed between two epochs it does too, from the state that was kept there.

    augment    what is done to a batch of training images before it is shown
    sequence   whether an image is a sequence with one frame per step
    """

    def __init__(
        self,
        config: RunConfig,
        image_shape: tuple[int, int, int],
        augment: Augment | None = None,
        sequence: bool = False,
    ) -> None:
        self.config, self.image_shape, self.augment = config, image_shape, augment
        description = backbone_description(config.network, image_shape, sequence)
        self.network = ExpandableNetwork(
            lambda: build_backbone(description), description.steps, description.make_decision()
        )
        self.method = method_class(config.method)(config, self.network)
        if isinstance(self.network.decision, FirstToFire) and not self.method.learns_times:
            raise UserError(
                f"network.neuron is '{config.network.neuron}', which fires once, but the method '{config.method}' "
                "learns means over the steps; use the method 'relpsp', or another neuron"
            )
        self.method.augments, self.method.description = augment is not None, description

    def take(self, network: ExpandableNetwork) -> None:
        """Go on with a network that was trained before."""
        self.network = self.method.network = network

    @property
    def rehearses(self) -> bool:
        return self.method.rehearses

    def learn(
        self,
        data: TaskData,
        progress: Callable[[], None] = lambda: None,
        keep: Keep | None = None,
        state: State | None = None,
        keep_stage: Keep | None = None,
    ) -> TaskHistory:
        """Train on one task.

        progress     called after every epoch
        keep         called after every epoch with a function that gives the state to go on from; it may ask or not
        state        go on from this
        keep_stage   called like `keep`, in its place, after the last epoch of a stage

        UserError where the targets are values, and the method learns classes alone; nothing is computed then.
        """
        if data.targets is not None and not self.method.takes_values:
            raise UserError(
                f"the method '{self.config.method}' learns classes, but the targets are values; use the method 'plain'"
            )
        order = np.random.default_rng([self.config.seed, data.number])
        with seeded(self.config.seed, data.number):
            self.method.begin_task(data)
            self.network.to(self.config.training.device).train()
            epochs = TaskTrainer(self, data, order, state).run(progress, keep, keep_stage or keep)
            self.method.end_task(data)
        self.network.to("cpu").eval()
        return TaskHistory(epochs, self.method.task_facts())

    def epochs(self, first: bool) -> int:
        """Epochs of one task, for a progress bar."""
        return self.method.epochs(first)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Time-averaged features ``(n, width)`` of images ``(n, C, H, W)``, for herding."""
        return mean_features(self.network, torch.from_numpy(images)).numpy()


_DAMAGED = (
    "the state of training between two epochs is damaged ({}); remove resume-epoch.pt from the run folder, and the "
    "task is learnt again"
)


class TaskTrainer:
    """A task's stages one behind the other, and where it stands between two epochs.

    A stage is made when the one before has ended, and draws random numbers: what the network and the generators were
    then belongs to the state.
    """

    def __init__(self, learner: Learner, data: TaskData, order: np.random.Generator, state: State | None) -> None:
        self.learner, self.data, self.order, self.state = learner, data, order, state
        self.method, self.network = learner.method, learner.network
        self.history: list[dict[str, Any]] = [] if state is None else list(state["history"])

    def run(self, progress: Callable[[], None], keep: Keep | None, keep_stage: Keep | None) -> list[dict[str, Any]]:
        stages, number = self.method.stages(self.data, self.order), 0
        while True:
            resumed = self.state if self.state is not None and self.state["stage"] == number else None
            if resumed is not None:
                self._restore(resumed["before"])
            before = self._snapshot()
            stage = next(stages, None)
            if stage is None:
                return self.history
            if self.state is None or number >= self.state["stage"]:
                self._stage(stage, number, before, resumed, progress, keep, keep_stage)
            number += 1

    def _stage(
        self,
        stage: Stage,
        number: int,
        before: State,
        resumed: State | None,
        progress: Callable[[], None],
        keep: Keep | None,
        keep_stage: Keep | None,
    ) -> None:
        fitting = StageTrainer(stage, self.order, self.learner.config.training, self.learner.augment)
        earlier = self.history
        if resumed is not None:
            self._restore(resumed["now"])
            with wrong_content(_DAMAGED):
                fitting.restore(resumed["fitting"])

        def state() -> State:
            return {
                "stage": number, "before": before, "now": self._snapshot(), "fitting": fitting.state(),
                "history": earlier,
            }  # fmt: skip

        while not fitting.finished:
            fitting.run_epoch()
            average_statistics(self.network)
            progress()
            keep_now = keep_stage if fitting.finished else keep
            if keep_now is not None:
                keep_now(state)
        self.history = [*earlier, *fitting.history]

    def _snapshot(self) -> State:
        """What training changes: the network without its frozen extractors, the method's memory, random numbers."""
        return {
            "network": {name: tensor.detach().clone() for name, tensor in self._changing().items()},
            "method": self.method.state(),
            "generator": self.order.bit_generator.state,
            "torch": torch.get_rng_state(),
        }

    def _restore(self, snapshot: State) -> None:
        with wrong_content(_DAMAGED):
            self.network.load_state_dict(snapshot["network"], strict=False)
            self.method.restore(snapshot["method"])
            self.order.bit_generator.state = snapshot["generator"]
            torch.set_rng_state(snapshot["torch"])

    def _changing(self) -> dict[str, torch.Tensor]:
        frozen = tuple(f"extractors.{k}." for k in range(len(self.network.extractors) - 1))
        return {name: t for name, t in self.network.state_dict().items() if not name.startswith(frozen)}
