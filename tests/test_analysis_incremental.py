"""Incremental metrics against matrices calculated by hand."""

from __future__ import annotations

import numpy as np
import pytest

from alade_brian.analysis import incremental
from alade_brian.errors import UserError

THREE = [[0.9], [0.7, 0.8], [0.75, 0.5, 0.95]]


def test_average_and_last_accuracy() -> None:
    assert incremental.average_incremental_accuracy([1.0, 0.8, 0.6]) == pytest.approx(0.8)
    assert incremental.average_incremental_accuracy([0.7]) == pytest.approx(0.7)
    assert incremental.last_accuracy([1.0, 0.8, 0.6]) == 0.6


@pytest.mark.parametrize("function", [incremental.average_incremental_accuracy, incremental.last_accuracy])
def test_no_task_is_refused(function) -> None:
    with pytest.raises(UserError, match="at least one task"):
        function([])


def test_forgetting_by_hand() -> None:
    # Task 1: 0.9 - 0.75, task 2: 0.8 - 0.5; the last task does not count.
    assert incremental.forgetting(THREE) == pytest.approx((0.15 + 0.30) / 2)


def test_forgetting_takes_the_best_and_not_the_first_accuracy() -> None:
    assert incremental.forgetting([[0.6], [0.9, 0.5], [0.7, 0.5, 0.5]]) == pytest.approx((0.2 + 0.0) / 2)


def test_forgetting_is_negative_where_the_end_is_best() -> None:
    assert incremental.forgetting([[0.6], [0.8, 1.0]]) == pytest.approx(-0.2)


def test_forgetting_is_not_the_formula_that_counts_the_newest_task() -> None:
    matrix = [[0.9], [0.7, 0.9]]
    best_before_the_end = [0.9, 0.0]
    wrong = sum(best - end for best, end in zip(best_before_the_end, matrix[-1], strict=True)) / (len(matrix) + 1)
    assert wrong == pytest.approx(-0.2333, abs=1e-4)
    assert incremental.forgetting(matrix) == pytest.approx(0.2)


def test_backward_transfer_by_hand() -> None:
    assert incremental.backward_transfer(THREE) == pytest.approx((-0.15 - 0.30) / 2)
    assert incremental.backward_transfer([[0.6], [0.9, 0.5], [0.7, 0.5, 0.5]]) == pytest.approx(0.05)


def test_one_task_forgets_nothing() -> None:
    assert incremental.forgetting([[0.4]]) == 0.0
    assert incremental.backward_transfer([[0.4]]) == 0.0


@pytest.mark.parametrize("matrix", [[], [[0.9, 0.8]], [[0.9], [0.8]], [[0.9, 0.0], [0.8, 0.9]]])
def test_a_matrix_that_is_not_triangular_is_refused(matrix) -> None:
    with pytest.raises(UserError, match="accuracy matrix"):
        incremental.forgetting(matrix)
    with pytest.raises(UserError, match="accuracy matrix"):
        incremental.backward_transfer(matrix)


def test_accuracies_from_predictions() -> None:
    labels = np.array([4, 4, 1, 1, 7, 7])
    predictions = np.array([4, 1, 1, 1, 7, 4])
    assert incremental.accuracy(predictions, labels) == pytest.approx(4 / 6)
    assert incremental.accuracy_per_task(predictions, labels, [1, 1, 1, 1, 2, 2]) == [0.75, 0.5]
    assert incremental.accuracy_per_task(predictions, labels, [2, 2, 0, 0, 1, 1]) == [1.0, 0.5, 0.5]


def test_accuracy_refuses_what_has_no_meaning() -> None:
    with pytest.raises(UserError, match="no image"):
        incremental.accuracy([], [])
    with pytest.raises(UserError, match="shape"):
        incremental.accuracy([1, 2], [1])
    with pytest.raises(UserError, match="Task 2 has no image"):
        incremental.accuracy_per_task([0, 1], [0, 1], [1, 3])


def test_confusion_matrix_follows_the_class_order() -> None:
    matrix = incremental.confusion_matrix([7, 4, 7, 4], [7, 7, 7, 4], classes=[7, 4, 9])
    np.testing.assert_array_equal(matrix, [[2, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert matrix.dtype == np.int64


def test_confusion_matrix_refuses_unknown_and_repeated_classes() -> None:
    with pytest.raises(UserError, match="prediction 5"):
        incremental.confusion_matrix([5], [1], classes=[1, 2])
    with pytest.raises(UserError, match="label 5"):
        incremental.confusion_matrix([1], [5], classes=[1, 2])
    with pytest.raises(UserError, match="twice"):
        incremental.confusion_matrix([1], [1], classes=[1, 1])
