"""Learning that is left between two epochs and entered again ends as if it had never been left."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from test_learning_synthetic import STAGE, make_config, make_learner, one_thread, same, task_data, weights

from alade_brian.config.run import AladeConfig
from alade_brian.learning import Learner, State, incremental_methods

# Three epochs in both stages, and an alignment that has something to remember from the first on.
LONGER = replace(STAGE, epochs=3, milestones=(2,), align_from=0, warmup=1, reset_heads=1)


def stored(state: State) -> State:
    """A state as a file gives it back."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def noise(images, generator):
    """An augmentation that draws numbers."""
    return images + generator.normal(0, 0.05, images.shape).astype("float32")


def learner_after_one(config, augment) -> Learner:
    learner = Learner(config, make_learner().image_shape, augment)
    finish(learner, 1)
    return learner


def finish(learner: Learner, number: int, keep=None, state=None):
    data = task_data(number, learner.rehearses)
    history = learner.learn(data, keep=keep, state=state)
    learner.method.remember(data.images, data.labels)
    return history


def methods_and_options() -> list:
    plain = [(method, {}, None) for method in incremental_methods()]
    return [*plain, ("alade", {}, noise), ("alade", {"per_step": 0.1}, None), ("der", {}, noise)]


@pytest.mark.parametrize(("method", "switches", "augment"), methods_and_options())
def test_every_epoch_can_be_the_last_before_a_stop(method: str, switches: dict, augment) -> None:
    config = replace(make_config(method, stage=LONGER), alade=AladeConfig(**switches))
    with one_thread():
        whole, kept = learner_after_one(config, augment), []
        memory = whole.method.state()
        history = finish(whole, 2, keep=lambda state: kept.append(stored(state())))
        assert len(kept) == len(history.epochs)
        for state in kept:
            again = learner_after_one(config, augment)
            again.method.restore(stored(memory))
            found = finish(again, 2, state=state)
            assert same(weights(again), weights(whole))
            assert found == history
            # And the task after that, which sees what the method remembers.
            if state is kept[0]:
                finish(again, 3)
                later = weights(again)
        finish(whole, 3)
        assert same(later, weights(whole))


def test_a_state_is_made_only_when_it_is_asked_for() -> None:
    asked = []
    make_learner().learn(task_data(1), keep=lambda state: asked.append(state))
    assert len(asked) == STAGE.epochs and all(callable(state) for state in asked)
