"""The methods with one network: their losses by scipy, what each keeps of old classes, what each decides, in Brian2 too."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from networks import assert_same
from scipy.special import log_softmax, rel_entr, softmax
from test_learning_synthetic import (
    PER_CLASS,
    QUOTA,
    SHAPE,
    STAGE,
    WIDTH,
    images_of,
    make_config,
    one_thread,
    same,
    weights,
)

from alade_brian.config.run import DistillationConfig, RunConfig
from alade_brian.errors import UserError
from alade_brian.learning import Learner, TaskData, TaskHistory
from alade_brian.learning.stage import TrainingSet

METHODS = ("icarl", "joint", "lwf", "replay", "wa")
DISTILLING = ("icarl", "lwf", "wa")
LONGER = replace(STAGE, epochs=3, milestones=(2,))


def task_data(number: int, learner: Learner) -> TaskData:
    """Two new classes in every task; of the old ones what the method is given: all images, exemplars, or nothing."""
    new, method = (2 * number - 2, 2 * number - 1), learner.method
    of_old = PER_CLASS if method.sees_all else QUOTA if method.rehearses else 0
    images = [images_of(c) for c in new] + [images_of(c)[:of_old] for c in range(new[0])]
    labels = [torch.full((len(part),), c) for part, c in zip(images, [*new, *range(new[0])], strict=True)]
    brought = torch.arange(1, number + 1).repeat_interleave(2)
    quota = QUOTA if method.rehearses else 0
    return TaskData(number, torch.cat(images), torch.cat(labels), new[0], new[1] + 1, quota, brought)


def exemplars(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.cat([images_of(c)[:QUOTA] for c in range(classes)])
    return images, torch.arange(classes).repeat_interleave(QUOTA)


def settings(method: str, distillation: DistillationConfig | None = None, **changes: Any) -> RunConfig:
    config = make_config(method, stage=replace(LONGER, **changes))
    return replace(config, distillation=distillation or DistillationConfig())


def make_learner(config: RunConfig, augment: Callable | None = None) -> Learner:
    return Learner(config, SHAPE, augment)


def learn(learner: Learner, *numbers: int) -> list[TaskHistory]:
    """Let a learner learn some tasks as a run does, exemplars and all."""
    histories = []
    with one_thread():
        for number in numbers:
            histories.append(learner.learn(task_data(number, learner)))
            if learner.method.rehearses:
                learner.method.remember(*exemplars(2 * number))
    return histories


def noise(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """An augmentation that draws numbers."""
    return images + generator.normal(0, 0.05, images.shape).astype(np.float32)


def second_stage(learner: Learner) -> Any:
    """The stage of the second task, before its first step."""
    learn(learner, 1)
    data = task_data(2, learner)
    learner.method.begin_task(data)
    (stage,) = learner.method.stages(data, np.random.default_rng(0))
    return stage


def logits(network: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return copy.deepcopy(network).eval()(images).double().numpy()


def entropy(found: np.ndarray, labels: torch.Tensor) -> float:
    return float(-log_softmax(found, 1)[np.arange(len(labels)), labels.numpy()].mean())


def divergence(teacher: np.ndarray, student: np.ndarray, temperature: float) -> float:
    return float(rel_entr(softmax(teacher / temperature, 1), softmax(student / temperature, 1)).sum(1).mean())


# Losses


@pytest.mark.parametrize("augment", [None, noise])
@pytest.mark.parametrize("temperature", [2.0, 3.0])
@pytest.mark.parametrize("weight", [None, 0.25])
@pytest.mark.parametrize("method", DISTILLING)
def test_the_loss_of_a_later_task_by_scipy(method, weight, temperature, augment) -> None:
    learner = make_learner(settings(method, DistillationConfig(temperature, weight)), augment)
    stage = second_stage(learner)
    learner.network.eval()
    # The student has moved away from its teacher.
    with torch.no_grad():
        learner.network.classifier.weight += torch.linspace(-0.5, 0.5, 4 * WIDTH).reshape(4, WIDTH)
    images, labels = stage.data.inputs, stage.data.labels
    found, taught = logits(learner.network, images), logits(learner.method.teacher, images)
    compared, of_compared = (found[:, 2:], labels - 2) if method == "lwf" else (found, labels)
    of_entropy, of_kept = {
        ("lwf", None): (1, 1), ("lwf", 0.25): (1, 0.25),
        ("icarl", None): (1, 1), ("icarl", 0.25): (1, 0.25),
        ("wa", None): (2 / 4, 2 / 4), ("wa", 0.25): (0.75, 0.25),
    }[method, weight]  # fmt: skip
    kept = divergence(taught, found[:, :2], temperature)
    assert taught.shape == (len(labels), 2) and kept > 0.001
    with torch.no_grad():
        loss = stage.loss(stage.data).item()
    assert loss == pytest.approx(of_entropy * entropy(compared, of_compared) + of_kept * kept, rel=1e-5)


@pytest.mark.parametrize("method", ["replay", "joint"])
def test_the_loss_without_distillation_is_cross_entropy_over_all_classes(method) -> None:
    stage = second_stage(make_learner(settings(method)))
    assert stage.data.labels.unique().tolist() == [0, 1, 2, 3]
    stage.network.eval()
    with torch.no_grad():
        loss = stage.loss(stage.data).item()
    assert loss == pytest.approx(entropy(logits(stage.network, stage.data.inputs), stage.data.labels), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_cross_entropy_has_the_stage_s_temperature(method) -> None:
    """The distillation has its own."""
    stage = second_stage(make_learner(settings(method, DistillationConfig(weight=0.0), temperature=4.0)))
    found = logits(stage.network, stage.data.inputs) / 4
    labels = stage.data.labels
    compared, of_compared = (found[:, 2:], labels - 2) if method == "lwf" else (found, labels)
    stage.network.eval()
    with torch.no_grad():
        assert stage.loss(stage.data).item() == pytest.approx(entropy(compared, of_compared), rel=1e-5)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "wa"])
def test_the_first_task_is_plain_cross_entropy(method) -> None:
    """To the last bit what `finetune` learns; `wa` clips weights besides."""
    found, plain = make_learner(settings(method)), make_learner(settings("finetune"))
    histories = [learner.learn(task_data(1, learner)) for learner in (found, plain)]
    assert histories[0] == histories[1]
    assert same(weights(found), weights(plain))


@pytest.mark.parametrize("method", METHODS)
def test_every_epoch_says_how_far_new_classes_stand_above_old_ones(method) -> None:
    learner = make_learner(settings(method))
    first, second = learn(learner, 1, 2)
    plain = {"stage", "epoch", "loss", "gamma", "logit_new", "norm_new"}
    assert [set(record) for record in first.epochs] == [plain] * LONGER.epochs
    old = {"norm_old"} if method == "lwf" else {"norm_old", "logit_old"}  # lwf is shown no old image
    assert [set(record) for record in second.epochs] == [plain | old] * LONGER.epochs


# The teacher


@pytest.mark.parametrize("augment", [None, noise])
@pytest.mark.parametrize("method", DISTILLING)
def test_the_teacher_is_the_network_before_the_task_and_never_changes(method, augment) -> None:
    learner, seen = make_learner(settings(method), augment), []
    learn(learner, 1)
    before = weights(learner)
    if method == "icarl":
        before["classifier.weight"] = learner.method.trained.clone()

    def keep(state: Callable[[], dict]) -> None:
        teacher = learner.method.teacher
        assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
        assert same(teacher.state_dict(), before)
        seen.append(weights(learner))

    with one_thread():
        learner.learn(task_data(2, learner), keep=keep)
    assert len(seen) == LONGER.epochs and not same(seen[0], seen[1])
    assert learner.method.teacher is None


@pytest.mark.parametrize("method", DISTILLING)
def test_the_teacher_s_logits_are_computed_once_unless_images_change(method) -> None:
    stage = second_stage(make_learner(settings(method)))
    expected = logits(stage.teacher, stage.data.inputs)
    np.testing.assert_allclose(stage.data.features.numpy(), expected, rtol=1e-5, atol=1e-6)
    stage = second_stage(make_learner(settings(method), noise))
    assert stage.data.features is None
    shown = TrainingSet(stage.data.inputs[:3] + 1, stage.data.labels[:3])
    np.testing.assert_array_equal(stage._taught(shown).numpy(), stage.teacher(shown.inputs).numpy())


@pytest.mark.parametrize("method", DISTILLING)
def test_distillation_keeps_old_answers(method) -> None:
    moved = []
    for weight in (0.0, 0.9 if method == "wa" else 5.0):
        learner, teachers = make_learner(settings(method, DistillationConfig(weight=weight), epochs=10)), []
        learn(learner, 1)
        data = task_data(2, learner)
        with one_thread():
            learner.learn(data, lambda kept=teachers, method=learner.method: kept.append(method.teacher))
        found = logits(learner.network, data.images)[:, :2]
        moved.append(divergence(logits(teachers[0], data.images), found, 2.0))
    assert moved[1] < 0.5 * moved[0]


# What is shown


@pytest.mark.parametrize(
    ("method", "rehearses", "sees_all"),
    [
        ("replay", True, False),
        ("joint", False, True),
        ("lwf", False, False),
        ("icarl", True, False),
        ("wa", True, False),
    ],
)
def test_what_a_method_asks_for(method, rehearses, sees_all) -> None:
    learner = make_learner(settings(method))
    assert (learner.rehearses, learner.method.sees_all, learner.method.grows) == (rehearses, sees_all, False)
    shown = second_stage(learner).data.labels
    of_old = PER_CLASS if sees_all else QUOTA if rehearses else 0
    assert np.bincount(shown.numpy(), minlength=4).tolist() == [of_old, of_old, PER_CLASS, PER_CLASS]


@pytest.mark.parametrize("method", METHODS)
def test_one_extractor_and_a_row_for_every_class_seen(method) -> None:
    learner = make_learner(settings(method))
    for number in (1, 2, 3):
        learn(learner, number)
        assert learner.network.widths == (WIDTH,)
        assert learner.network.classifier.weight.shape == (2 * number, WIDTH)
        assert not learner.network.training


def test_replay_keeps_what_finetune_forgets() -> None:
    answers = {}
    for method in ("replay", "finetune"):
        learner = make_learner(settings(method, epochs=10, milestones=(8,)))
        learn(learner, 1, 2)
        old = torch.cat([images_of(0), images_of(1)])
        found = logits(learner.network, old).argmax(1)
        answers[method] = (found == np.repeat([0, 1], PER_CLASS)).mean()
    assert answers["replay"] > 0.9 > 0.5 > answers["finetune"]


# Joint


def test_joint_training_owes_nothing_to_earlier_tasks() -> None:
    whole, only = make_learner(settings("joint")), make_learner(settings("joint"))
    learn(whole, 1, 2, 3)
    learn(only, 3)
    assert same(weights(whole), weights(only))


def test_every_task_of_joint_training_has_the_settings_of_a_first_one() -> None:
    first = replace(LONGER, epochs=4, reset_heads=1)
    learner = make_learner(replace(settings("joint"), first_learning=first))
    heads, counts = [], []
    for number in (1, 2):
        kept = []
        with one_thread():
            learner.learn(
                task_data(number, learner), lambda kept=kept: kept.append(weights(learner)["classifier.weight"])
            )
        counts.append((len(kept), learner.epochs(first=number == 1)))
        heads.append((kept[0] - kept[1]).norm() / kept[0].norm())
    assert counts == [(4, 4), (4, 4)]
    # The classifier begins anew in the second epoch: nearly at right angles to what it was.
    assert all(change > 1 for change in heads)


# In Brian2, and over a stop


@pytest.mark.parametrize("method", METHODS)
def test_brian2_spikes_and_decides_as_torch_after_every_task(method) -> None:
    learner = make_learner(settings(method))
    images = torch.cat([images_of(label)[:5] for label in range(4)]).double().numpy()
    for number in (1, 2):
        learn(learner, number)
        found = assert_same(learner.network, images)
        np.testing.assert_array_equal(found.logits_reference.argmax(1), found.logits_brian2.argmax(1))
        assert len(set(found.logits_brian2.argmax(1))) > 1


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """A state as a file gives it back."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("augment", [None, noise])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_stops_in_a_task_goes_on_from_network_and_state_alone(method, augment) -> None:
    whole, kept = make_learner(settings(method), augment), []
    learn(whole, 1)
    network, state = copy.deepcopy(whole.network), stored(whole.method.state())
    with one_thread():
        data = task_data(2, whole)
        history = whole.learn(data, keep=lambda now: kept.append(stored(now())))
        for progress in (None, *kept):
            again = make_learner(settings(method), augment)
            again.take(copy.deepcopy(network))
            again.method.restore(copy.deepcopy(state))
            assert again.learn(data, state=progress) == history
            assert same(weights(again), weights(whole))
    assert len(kept) == LONGER.epochs


# Refusals


def test_lwf_needs_two_new_classes_in_later_tasks() -> None:
    method = make_learner(replace(settings("lwf"), increment=1)).method
    method.check([5])
    with pytest.raises(UserError, match="increment is 1.*'lwf'.*at least 2"):
        method.check([4, 1])
    other = make_learner(settings("lwf")).method
    other.check([2, 2])
    other.check([1])
    with pytest.raises(UserError, match="init_cls 2 and increment 2 leave 1 of 5 classes for the last task.*'lwf'"):
        other.check([2, 2, 1])
