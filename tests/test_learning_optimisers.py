"""Optimisers and schedules: their steps by hand, names that are refused, and a resumed stage that goes on alike."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from test_learning_parts import Quadratic, settings

from alade_brian.config import sections
from alade_brian.config.run import StageConfig
from alade_brian.errors import UserError
from alade_brian.learning.optimisers import FIRST, LAST, OPTIMISERS, SCHEDULES, learning_rate
from alade_brian.learning.stage import StageTrainer, fit


def weights(**changes: object) -> list[float]:
    """The weight after every step from 1 on, where the gradient is the weight itself."""
    stage = Quadratic(settings(**{"schedule": "constant", **changes}), [0.0, 0.0])
    fit(stage, np.random.default_rng(0))
    return stage.weights


def test_the_configuration_knows_exactly_what_there_is() -> None:
    assert set(sections.OPTIMISERS) == set(OPTIMISERS) and set(sections.SCHEDULES) == set(SCHEDULES)


@pytest.mark.parametrize("key", ["optimiser", "schedule"])
def test_an_unknown_name_is_refused_with_the_known_ones(key: str) -> None:
    with pytest.raises(UserError, match=f"{key} is 'lion'; use one of .*(adamw|one-cycle)"):
        StageConfig(**{key: "lion"})


def test_a_cycle_refuses_a_warm_up() -> None:
    with pytest.raises(UserError, match="warmup is 2.*one-cycle"):
        StageConfig(schedule="one-cycle", warmup=2)


def test_adam_by_hand() -> None:
    # The first step is the learning rate, whatever the gradient; the weight decay adds to the gradient and so is lost.
    assert weights(optimiser="adam", epochs=1, weight_decay=0.5) == pytest.approx([0.9], abs=1e-7)
    # m2 = 0.5 * 0.5 + 0.5 * 0.9, v2 = 0.999 * 0.001 + 0.001 * 0.81; the means are divided by 0.75 and 0.001999.
    step = (0.7 / 0.75) / math.sqrt(0.001809 / 0.001999)
    assert weights(optimiser="adam", epochs=2, momentum=0.5) == pytest.approx([0.9, 0.9 - 0.1 * step], abs=1e-7)


def test_adamw_decays_beside_the_gradient() -> None:
    assert weights(optimiser="adamw", epochs=1, weight_decay=0.5) == pytest.approx([1 - 0.1 * 0.5 - 0.1], abs=1e-7)


def test_the_cosine_begins_after_the_warm_up() -> None:
    config = StageConfig(epochs=6, warmup=2, schedule="cosine")
    expected = [1 / 3, 2 / 3, *((1 + math.cos(math.pi * k / 4)) / 2 for k in range(4))]
    assert [learning_rate(config, epoch) for epoch in range(6)] == pytest.approx(expected)


def test_a_cycle_rises_and_falls_as_pytorch_has_it() -> None:
    config = StageConfig(epochs=21, schedule="one-cycle")
    found = [learning_rate(config, epoch) for epoch in range(21)]
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimiser = torch.optim.SGD([parameter], 1.0)
    # PyTorch's rise ends one step earlier than its `pct_start` of all steps, for steps count from 0.
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.0, total_steps=21, pct_start=7 / 21)
    expected = []
    for _ in range(21):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cycle.step() if len(expected) < 21 else None
    assert found == pytest.approx(expected)
    assert (found[0], max(found), found[6], found[-1]) == pytest.approx((FIRST, 1.0, 1.0, LAST))


def test_a_constant_rate_ignores_milestones() -> None:
    config = StageConfig(schedule="constant", milestones=(0, 1))
    assert [learning_rate(config, epoch) for epoch in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_resumed_stage_goes_on_as_if_never_interrupted(optimiser: str, schedule: str) -> None:
    config = settings(
        epochs=6, batch_size=2, optimiser=optimiser, schedule=schedule, momentum=0.9, weight_decay=0.1,
        milestones=(2, 4),
    )  # fmt: skip
    inputs = [0.0, 1.0, 2.0, 5.0]
    whole, begun, resumed = (Quadratic(config, inputs) for _ in range(3))
    fit(whole, np.random.default_rng(1))
    trainer = StageTrainer(begun, np.random.default_rng(1))
    for _ in range(3):
        trainer.run_epoch()
    file = io.BytesIO()
    torch.save(trainer.state(), file)
    file.seek(0)
    other = StageTrainer(resumed, np.random.default_rng(2))
    resumed.weight.data.fill_(begun.weight.item())
    other.restore(torch.load(file, weights_only=True))
    while not other.finished:
        other.run_epoch()
    assert begun.weights + resumed.weights == whole.weights
