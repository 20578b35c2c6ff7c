"""Incremental metrics against matrices calculated by hand."""

from __future__ import annotations

import numpy as np
import pytest

from alade_brian.analysis.metrics import incremental
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


# Every definition gives another number here; by hand below.
FOUR = [[0.9], [0.8, 0.6], [0.85, 0.7, 0.9], [0.6, 0.5, 0.7, 0.8]]


def continuum_forgetting(matrix: list[list[float]]) -> float:
    """As continuum.metrics documents it (Chaudhry et al., equation 3) and counts it: tasks and rows end two early."""
    end = len(matrix) - 2
    lost = [max(matrix[row][task] for row in range(task, end)) - matrix[-1][task] for task in range(end)]
    return sum(lost) / (len(matrix) - 1)


def continuum_backward_transfer(matrix: list[list[float]]) -> float:
    """As continuum.metrics documents it (Lopez-Paz and Ranzato, over all rows as Diaz-Rodriguez et al.), without the
    task learnt just before each row's."""
    changes = [matrix[row][task] - matrix[task][task] for row in range(len(matrix)) for task in range(row - 1)]
    return sum(changes) / (len(matrix) * (len(matrix) - 1) / 2)


def continuum_accuracy_a(matrix: list[list[float]]) -> float:
    """continuum.metrics' accuracy_A (Diaz-Rodriguez et al. 2018): the mean of all entries."""
    return float(np.mean([entry for row in matrix for entry in row]))


def avalanche_stream_forgetting(matrix: list[list[float]]) -> float:
    """avalanche.evaluation.metrics.StreamForgetting: "the average over the difference between the accuracy result
    obtained after first training on a experience and [that] at the end of successive experiences"."""
    return float(np.mean([matrix[task][task] - matrix[-1][task] for task in range(len(matrix) - 1)]))


def test_ours_beside_continuum() -> None:
    assert incremental.forgetting(FOUR) == pytest.approx((0.3 + 0.2 + 0.2) / 3)
    assert continuum_forgetting(FOUR) == pytest.approx((0.3 + 0.1) / 3)
    assert incremental.backward_transfer(FOUR) == pytest.approx((-0.3 - 0.1 - 0.2) / 3)
    assert continuum_backward_transfer(FOUR) == pytest.approx((-0.05 - 0.3 - 0.1) / 6)
    # With two tasks Continuum has nothing left to forget.
    assert incremental.forgetting(FOUR[:2]) == pytest.approx(0.1)
    assert continuum_forgetting(FOUR[:2]) == continuum_backward_transfer(FOUR[:2]) == 0
    assert continuum_accuracy_a(FOUR) == pytest.approx(7.35 / 10)
    # Tasks of as many images each: the accuracy on all of them is a row's mean.
    assert incremental.average_incremental_accuracy([float(np.mean(row)) for row in FOUR]) == pytest.approx(
        (0.9 + 0.7 + 2.45 / 3 + 0.65) / 4
    )


def test_ours_beside_avalanche() -> None:
    assert avalanche_stream_forgetting(FOUR) == pytest.approx((0.3 + 0.1 + 0.2) / 3)
    assert avalanche_stream_forgetting(FOUR) == pytest.approx(-incremental.backward_transfer(FOUR))
    # The second task was best after the third, which is what the first accuracy does not know.
    assert incremental.forgetting(FOUR) - avalanche_stream_forgetting(FOUR) == pytest.approx((0.7 - 0.6) / 3)


def test_where_every_task_was_best_when_learnt_forgetting_is_lost_transfer() -> None:
    falling = [[0.9], [0.8, 0.7], [0.6, 0.5, 0.9]]
    assert incremental.forgetting(falling) == pytest.approx(-incremental.backward_transfer(falling))
    assert incremental.forgetting(falling) == pytest.approx(avalanche_stream_forgetting(falling))


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
