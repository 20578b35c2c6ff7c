"""The parts of training: losses against scipy, the balanced subset, batches, seeds, and SGD by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from alade_brian.config.run import StageConfig
from alade_brian.learning.incremental.methods.alade_stages import balanced
from alade_brian.learning.losses import auxiliary_targets, distillation
from alade_brian.learning.stage import Stage, TrainingSet, _batches, fit, seeded

# Losses


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_is_the_mean_relative_entropy_without_a_factor(temperature: float) -> None:
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(0, 3, (2, 7, 4))
    each = rel_entr(softmax(teacher / temperature, 1), softmax(student / temperature, 1)).sum(1)
    found = distillation(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert found.item() == pytest.approx(each.mean(), rel=1e-12)


def test_distillation_by_hand() -> None:
    # At temperature 2 the teacher gives (3/4, 1/4), the student (1/2, 1/2).
    teacher, student = torch.tensor([[2 * np.log(3.0), 0.0]]), torch.zeros(1, 2, dtype=torch.float64)
    assert distillation(student, teacher, 2.0).item() == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))


def test_distillation_vanishes_for_equal_logits_and_ignores_a_shift() -> None:
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(5, 3)))
    assert distillation(logits + 4, logits, 2.0).item() == pytest.approx(0, abs=1e-12)


def test_distillation_pulls_the_student_towards_the_teacher() -> None:
    student, teacher = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True), torch.tensor([[2.0, 0.0, -2.0]])
    distillation(student, teacher.double(), 2.0).backward()
    # d KL / d student = (softmax(student / T) - softmax(teacher / T)) / T
    expected = (softmax([0, 0, 0]) - softmax([1, 0, -1])) / 2
    np.testing.assert_allclose(student.grad[0].numpy(), expected)


def test_auxiliary_targets_put_all_old_classes_together() -> None:
    assert auxiliary_targets(torch.tensor([0, 3, 4, 5, 2, 6]), 4).tolist() == [0, 0, 1, 2, 0, 3]
    assert auxiliary_targets(torch.tensor([0, 1]), 1).dtype == torch.int64


# The balanced subset

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 2, 2, 2, 0, 2, 2])


def counts(labels: torch.Tensor) -> list[int]:
    return np.bincount(labels.numpy(), minlength=3).tolist()


@pytest.mark.parametrize(("quota", "expected"), [(1, [1, 1, 1]), (2, [2, 2, 2]), (3, [3, 2, 3]), (99, [3, 2, 7])])
def test_balanced_takes_so_many_of_every_class_or_all_there_are(quota: int, expected: list[int]) -> None:
    chosen = balanced(LABELS, quota, np.random.default_rng(0))
    assert counts(LABELS[chosen]) == expected
    assert len(set(chosen.tolist())) == len(chosen)


def test_balanced_is_random_in_choice_and_order_and_decided_by_the_generator() -> None:
    draws = [balanced(LABELS, 2, np.random.default_rng(seed)).tolist() for seed in range(20)]
    assert draws[0] == balanced(LABELS, 2, np.random.default_rng(0)).tolist()
    assert {i for draw in draws for i in draw} == set(range(12))
    assert any(LABELS[draw].tolist() != sorted(LABELS[draw].tolist()) for draw in draws)
    assert len({tuple(sorted(draw)) for draw in draws}) > 5


# Seeds


def test_seeded_is_reproducible_and_puts_torchs_numbers_back() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1, 2):
        first = torch.rand(4)
    assert torch.equal(torch.rand(3), expected)
    with seeded(1, 2):
        assert torch.equal(torch.rand(4), first)


def test_seeded_puts_torchs_numbers_back_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(3):
        torch.rand(1)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


def test_every_part_of_a_seed_counts() -> None:
    drawn = set()
    for seed in [(1, 2), (2, 1), (1, 3), (12,), (1,), (2**32 - 1, 1)]:
        with seeded(*seed):
            drawn.add(torch.rand(1).item())
    assert len(drawn) == 6


# Batches


@pytest.mark.parametrize("count", range(1, 26))
@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_batches_cover_every_index_once_without_a_last_one_alone(count: int, size: int) -> None:
    parts = list(_batches(count, size, np.random.default_rng(count)))
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    lengths = [len(part) for part in parts]
    assert all(n == size for n in lengths[:-1])
    # One too many joins the batch before it.
    assert lengths[-1] == ((count - 1) % size + 1 if count % size != 1 or count == 1 else size + 1)
    assert count == 1 or min(lengths) >= 2


def test_batches_come_in_an_order_that_the_generator_decides() -> None:
    generator = np.random.default_rng(7)
    first, second = (torch.cat(list(_batches(20, 6, generator))).tolist() for _ in range(2))
    assert first != second
    assert torch.cat(list(_batches(20, 6, np.random.default_rng(7)))).tolist() == first


# A stage


class Quadratic(Stage):
    """Loss ``mean((w - x)^2) / 2``, whose gradient is w - mean(x)."""

    def __init__(self, config: StageConfig, inputs: list[float], start: float = 1.0) -> None:
        self.weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
        data = TrainingSet(torch.tensor(inputs, dtype=torch.float64), torch.zeros(len(inputs), dtype=torch.int64))
        super().__init__(config, [self.weight], data)
        self.calls, self.weights = [], []

    def loss(self, batch: TrainingSet) -> torch.Tensor:
        self.calls.append(len(batch))
        return ((self.weight - batch.inputs) ** 2).mean() / 2

    def after_step(self) -> None:
        self.calls.append("step")
        self.weights.append(self.weight.item())

    def before_epoch(self, epoch: int) -> None:
        self.calls.append(f"before {epoch}")

    def after_epoch(self, epoch: int) -> dict:
        self.calls.append(f"after {epoch}")
        return {"extra": epoch * 10}


def settings(**changes) -> StageConfig:
    plain = {"batch_size": 8, "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0, "milestones": ()}
    return StageConfig(**(plain | changes))


def test_the_learning_rate_falls_at_each_milestone() -> None:
    stage = Quadratic(settings(epochs=4, milestones=(1, 3), factor=0.5), [0.0, 0.0])
    fit(stage, np.random.default_rng(0))
    assert stage.weights == pytest.approx([0.9, 0.9 * 0.95, 0.9 * 0.95**2, 0.9 * 0.95**2 * 0.975])


def test_momentum_and_weight_decay_by_hand() -> None:
    # v1 = 1 + 0.5 * 1 = 1.5, w = 0.85; v2 = 0.9 * 1.5 + 0.85 * 1.5 = 2.625, w = 0.5875.
    stage = Quadratic(settings(epochs=2, momentum=0.9, weight_decay=0.5), [0.0])
    fit(stage, np.random.default_rng(0))
    assert stage.weights == pytest.approx([0.85, 0.5875])


def test_the_recorded_loss_is_the_mean_over_images_not_over_batches() -> None:
    # A step of next to nothing leaves w = 0: the loss of x is x² / 2.
    inputs = [0.0, 1.0, 2.0, 3.0, 4.0]
    stage = Quadratic(settings(epochs=1, batch_size=3, learning_rate=1e-300), inputs, start=0.0)
    record = fit(stage, np.random.default_rng(0))[0]
    assert record["loss"] == pytest.approx(30 / 2 / 5)


def test_hooks_and_records_come_in_order() -> None:
    stage, epochs = Quadratic(settings(epochs=2, batch_size=2), [0.0, 1.0, 2.0, 3.0, 4.0]), []
    history = fit(stage, np.random.default_rng(0), lambda: epochs.append(len(stage.calls)))
    one = [2, "step", 3, "step"]
    assert stage.calls == ["before 0", *one, "after 0", "before 1", *one, "after 1"]
    assert [(r["stage"], r["epoch"], r["extra"]) for r in history] == [(1, 0, 0), (1, 1, 10)]
    assert all(set(r) == {"stage", "epoch", "loss", "extra"} for r in history)
    assert epochs == [6, 12]


def test_select_keeps_images_labels_and_features_together() -> None:
    data = TrainingSet(torch.arange(4.0), torch.arange(4), 10 * torch.arange(4.0)[:, None])
    part = data.select(torch.tensor([3, 1]))
    assert (part.inputs.tolist(), part.labels.tolist(), part.features.tolist()) == ([3, 1], [3, 1], [[30], [10]])
    assert TrainingSet(data.inputs, data.labels).select(torch.tensor([0])).features is None
