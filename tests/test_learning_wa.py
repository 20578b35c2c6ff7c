"""WA: the share of distillation, weights that are never negative, and rows of equal length at the end of a task."""

from __future__ import annotations

import pytest
import torch
from test_learning_methods import LONGER, learn, make_learner, settings, task_data
from test_learning_synthetic import one_thread, same, weights

from alade_brian.config.run import DistillationConfig
from alade_brian.errors import UserError
from alade_brian.learning.incremental.methods.wa import align


def test_the_share_of_distillation_in_wa_grows_with_the_old_classes() -> None:
    learner = make_learner(settings("wa"))
    shares = [learner.method.weights(task_data(number, learner)) for number in (2, 3, 4)]
    assert shares == [pytest.approx(pair) for pair in ((1 / 2, 1 / 2), (1 / 3, 2 / 3), (1 / 4, 3 / 4))]


def test_alignment_by_hand() -> None:
    classifier = torch.nn.Linear(2, 4, bias=False)
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor([[3.0, 4], [0, 1], [6, 8], [0, 2]]))
    align(classifier, 2)
    # Norms 5 and 1, then 10 and 2: new rows are twice as long.
    assert classifier.weight.tolist() == [[3, 4], [0, 1], [3, 4], [0, 1]]


def test_alignment_leaves_rows_of_zeros() -> None:
    classifier = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor([[3.0, 4], [0, 0]]))
    align(classifier, 1)
    assert classifier.weight.tolist() == [[3, 4], [0, 0]]


def test_wa_ends_every_later_task_with_equal_norms_and_changes_nothing_else() -> None:
    learner, last = make_learner(settings("wa")), []
    learn(learner, 1)
    for number in (2, 3):
        last.clear()
        with one_thread():
            learner.learn(task_data(number, learner), lambda: last.append(weights(learner)))
        old, found, before = 2 * number - 2, weights(learner), last[-1]
        norms = found["classifier.weight"].double().norm(dim=1)
        assert norms[:old].mean().item() == pytest.approx(norms[old:].mean().item(), rel=1e-6)
        after, trained = found.pop("classifier.weight"), before.pop("classifier.weight")
        assert same(found, before) and torch.equal(after[:old], trained[:old])
        factors = (after[old:] / trained[old:])[trained[old:] != 0]
        assert factors.max() - factors.min() < 1e-5 and abs(factors.mean() - 1) > 1e-3


def test_no_weight_of_wa_s_classifier_is_negative() -> None:
    learner, seen = make_learner(settings("wa")), []
    for number in (1, 2):
        learner.learn(task_data(number, learner), lambda: seen.append(weights(learner)["classifier.weight"]))
    assert len(seen) == 2 * LONGER.epochs
    assert all(rows.min() == 0 and rows.any(1).all() for rows in seen)


def test_wa_leaves_cross_entropy_a_share() -> None:
    with pytest.raises(UserError, match=r"distillation\.weight is 1\.5.*'wa'.*at most 1"):
        make_learner(settings("wa", DistillationConfig(weight=1.5)))
    make_learner(settings("lwf", DistillationConfig(weight=1.5)))
