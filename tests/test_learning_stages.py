"""What a stage can be told: warm-up, fresh heads, the loss per step, unused gamma, and DER as ALADE-SNN without its
parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from test_learning_synthetic import SHAPE, STAGE, learn, make_config, make_learner, same, task_data, weights

from alade_brian.config.run import AladeConfig, StageConfig
from alade_brian.errors import UserError
from alade_brian.learning import Learner
from alade_brian.learning.incremental import learner as learner_module
from alade_brian.learning.incremental.methods.alade_stages import RepresentationStage
from alade_brian.learning.losses import per_step
from alade_brian.learning.optimisers import learning_rate
from alade_brian.learning.stage import StageTrainer


def test_the_learning_rate_rises_then_falls() -> None:
    config = StageConfig(epochs=6, warmup=3, milestones=(4, 5), factor=0.5)
    assert [learning_rate(config, epoch) for epoch in range(6)] == [0.25, 0.5, 0.75, 1.0, 0.5, 0.25]


def test_the_loss_per_step_by_scipy() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4, 5))
    labels = np.array([0, 4, 2, 2])
    entropy = -log_softmax(logits, axis=2)[:, np.arange(4), labels].mean()
    expected = 0.75 * entropy + 0.25 * np.square(logits - 1).mean()
    assert per_step(torch.from_numpy(logits), torch.from_numpy(labels), 0.25).item() == pytest.approx(expected)


def stage_of_task_2(**switches: object) -> tuple[Learner, RepresentationStage]:
    learner = make_learner(replace(make_config(), alade=AladeConfig(distillation=False, auxiliary=False, **switches)))
    learn(learner, 1)
    data = task_data(2)
    learner.method.begin_task(data)
    return learner, learner.method.representation(data)


def test_stage_1_takes_the_loss_per_step_with_gamma_on_every_step() -> None:
    learner, stage = stage_of_task_2(per_step=0.1)
    batch = stage.data.select(torch.arange(6))
    assert batch.features is None
    stage.gamma = 0.7
    with torch.no_grad():
        network = learner.network
        features = torch.cat([extractor(batch.inputs) for extractor in network.extractors], 1)
        logits = network.classifier(features).reshape(network.steps, 6, -1)
        logits[..., 2:] += 0.7
        assert stage.loss(batch).item() == pytest.approx(per_step(logits, batch.labels, 0.1).item(), rel=1e-6)


def test_gamma_can_be_measured_without_being_used() -> None:
    for used in (True, False):
        _, stage = stage_of_task_2(gamma_in_loss=used)
        batch = stage.data.select(torch.arange(6))
        with torch.no_grad():
            before = stage.loss(batch).item()
            stage.gamma = 3.0
            assert (stage.loss(batch).item() != before) == used


@pytest.mark.parametrize("number", [1, 2])
def test_heads_begin_anew_in_the_epoch_that_is_named(number: int) -> None:
    learner = make_learner(make_config(stage=replace(STAGE, epochs=3, reset_heads=2, learning_rate=1e-12)))
    learn(learner, *range(1, number))
    seen: list[torch.Tensor] = []
    data = task_data(number)
    learner.learn(data, lambda: seen.append(learner.network.classifier.weight.detach().clone()))
    first, second, third = seen[:3]
    torch.testing.assert_close(first, second)
    assert not torch.allclose(second, third)
    if number == 2:
        assert torch.all(third[2:, : learner.network.widths[0]] == 0)  # suppression holds for a fresh head too


def test_training_that_diverges_ends_in_a_sentence() -> None:
    learner = make_learner(replace(make_config(), learning=replace(STAGE, learning_rate=1e30)))
    with pytest.raises(
        UserError, match=r"training diverged: in epoch \d of stage 1 the loss became (nan|inf); use a lower"
    ):
        learn(learner, 1)


def test_der_is_alade_without_what_alade_adds() -> None:
    plain = AladeConfig(suppression=False, distillation=False, align_learning=False, align_finetuning=False)
    one = replace(make_config("alade"), alade=plain)
    one = replace(one, finetuning=replace(one.finetuning, temperature=5.0))
    learners = Learner(one, SHAPE), Learner(make_config("der"), SHAPE)
    for learner in learners:
        learn(learner, 1, 2)
    assert same(weights(learners[0]), weights(learners[1]))
    learn(hot := Learner(replace(one, finetuning=replace(one.finetuning, temperature=1.0)), SHAPE), 1, 2)
    assert not same(weights(hot), weights(learners[1]))


def test_frozen_extractors_see_every_image_once_per_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once per epoch, and not once more for the teacher."""
    learner = make_learner(make_config(stage=replace(STAGE, epochs=4)))
    learn(learner, 1)
    shown = []
    first = learner.network.extractors[0]
    first.register_forward_hook(lambda module, inputs, output: shown.append(len(inputs[0])))
    data = task_data(2)

    class CountingTrainer(StageTrainer):
        def run_epoch(self) -> None:
            before = len(shown)
            super().run_epoch()
            # The mean logits before alignment are measured on all training images once.
            allowed = 1 if isinstance(self.stage, RepresentationStage) and self.epoch - 1 == STAGE.align_from else 0
            assert len(shown) - before == allowed

    monkeypatch.setattr(learner_module, "StageTrainer", CountingTrainer)
    learner.learn(data)
    assert shown


def test_augmented_images_reach_both_stages_anew() -> None:
    drawn = []

    def augment(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        drawn.append(len(images))
        return images + generator.normal(0, 0.1, images.shape).astype(np.float32)

    learner = Learner(make_config(), SHAPE, augment)
    learn(learner, 1)
    drawn.clear()
    data = task_data(2)
    learner.learn(data)
    balanced = len(learner.method.finetuning(data, np.random.default_rng(0)).data)
    assert sum(drawn) == STAGE.epochs * (len(data.labels) + balanced)
