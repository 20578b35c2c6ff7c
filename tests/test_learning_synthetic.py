"""A problem of three tasks and tiny images that a tiny network learns in no time, and a check that it is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from alade_brian.config.run import AladeConfig, NetworkConfig, RunConfig, StageConfig
from alade_brian.learning import Learner, TaskData, TaskHistory

SHAPE = (1, 6, 6)
WIDTH = 4 * 3 * 3
TASKS = ((0, 1), (2,), (3, 4))
TASK_OF_LABEL = (1, 1, 2, 3, 3)
PER_CLASS, QUOTA = 10, 4
STAGE = StageConfig(epochs=2, batch_size=8, learning_rate=0.1, milestones=(1,), align_from=1)


def images_of(label: int) -> torch.Tensor:
    """Ten noisy copies of a class's pattern."""
    pattern = np.random.default_rng([1, label]).normal(0, 1, SHAPE)
    noise = np.random.default_rng([2, label]).normal(0, 0.3, (PER_CLASS, *SHAPE))
    return torch.from_numpy((pattern + noise).astype(np.float32))


def task_data(number: int, rehearses: bool = True) -> TaskData:
    """A task's images: the new ones, then four exemplars of every old class."""
    new, old = TASKS[number - 1], range(TASKS[number - 1][0] if rehearses else 0)
    images = [images_of(c) for c in new] + [images_of(c)[:QUOTA] for c in old]
    labels = [torch.full((len(part),), c) for part, c in zip(images, [*new, *old], strict=True)]
    classes = new[-1] + 1
    return TaskData(
        number, torch.cat(images), torch.cat(labels), new[0], classes, QUOTA if rehearses else 0,
        torch.tensor(TASK_OF_LABEL[:classes]),
    )  # fmt: skip


def make_config(method: str = "alade", seed: int = 3, stage: StageConfig = STAGE, **switches: bool) -> RunConfig:
    """A tiny network; `switches` are those of ALADE-SNN."""
    network = NetworkConfig(channels=(4,), strides=(1,), pool=2, steps=3)
    return RunConfig(
        method=method, seed=seed, network=network, learning=stage, finetuning=replace(stage),
        alade=AladeConfig(**switches),
    )  # fmt: skip


def make_learner(config: RunConfig | None = None) -> Learner:
    return Learner(config or make_config(), SHAPE)


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors this small gain nothing from threads, and lose much where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def learn(learner: Learner, *numbers: int) -> list[TaskHistory]:
    """Let a learner learn some tasks."""
    with one_thread():
        return [learner.learn(task_data(number, learner.rehearses)) for number in numbers]


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    """A copy of all tensors of its network."""
    return {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors agree to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_problem_can_be_learnt() -> None:
    learner = make_learner(make_config(stage=replace(STAGE, epochs=10, milestones=(8,), align_from=8)))
    learn(learner, 1, 2, 3)
    images, labels = torch.cat([images_of(c) for c in range(5)]), torch.arange(5).repeat_interleave(PER_CLASS)
    with torch.no_grad():
        assert (learner.network(images).argmax(1) == labels).float().mean() > 0.9
