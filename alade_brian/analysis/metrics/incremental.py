"""What a class-incremental run has learnt and forgotten: metrics from predictions and from accuracy matrices.

An accuracy matrix is a lower triangular list of lists: row l holds the accuracies after task l, column j the accuracy
on the classes of task j, j <= l. Accuracies are fractions of images, without task identity.

Libraries give other numbers the same names, and `tests/test_analysis_incremental.py` holds them side by side:

- Continuum's `forgetting` leaves out the task before the last and looks for the best accuracy up to two tasks before
  the end, yet divides by N - 1; its `backward_transfer` is a mean over all rows after the first, in which the task that
  was learnt just before counts as zero.
- Avalanche's `StreamForgetting` is the first accuracy minus the last, not the best: the negative of our
  `backward_transfer`, which its `StreamBWT` equals.
- "AA" in papers on prompts and adapters is mostly the last accuracy, not the average over tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alade_brian.errors import UserError

AccuracyMatrix = Sequence[Sequence[float]]


def average_incremental_accuracy(accuracies: Sequence[float]) -> float:
    """Mean over tasks, the first included, of the accuracy on all classes seen after each task.

    `accuracies`: one fraction per task. Raises UserError when there is none. Each is a mean over images; Continuum's
    `accuracy_A` is the mean over all entries of the accuracy matrix instead, in which small tasks count as much.
    Source: Rebuffi et al., iCaRL, CVPR 2017, and the class-incremental protocol since.
    """
    if len(accuracies) == 0:
        raise UserError("The average incremental accuracy needs the accuracy after at least one task.")
    return float(np.mean(np.asarray(accuracies, dtype=np.float64)))


def last_accuracy(accuracies: Sequence[float]) -> float:
    """Accuracy on all classes after the last task (a fraction); UserError when there is no task."""
    if len(accuracies) == 0:
        raise UserError("The last accuracy needs the accuracy after at least one task.")
    return float(accuracies[-1])


def forgetting(matrix: AccuracyMatrix) -> float:
    """How much of each task was lost: 1/(N-1) sum_{j<N} (max_{l<N} a[l,j] - a[N,j]), a difference of fractions.

    Averaged over all tasks but the last, each counting the same whatever its number of images. Negative when a task got
    better at the end; 0.0 for one task. Raises UserError when `matrix` is not lower triangular.
    Source: Chaudhry et al., Riemannian Walk, ECCV 2018, equation 3, with the best accuracy taken before the last task.
    """
    _check_triangular(matrix)
    last = matrix[-1]
    losses = [max(row[j] for row in matrix[j:-1]) - last[j] for j in range(len(matrix) - 1)]
    return float(np.mean(losses)) if losses else 0.0


def backward_transfer(matrix: AccuracyMatrix) -> float:
    """Change since a task was learnt: 1/(N-1) sum_{j<N} (a[N,j] - a[j,j]), a difference of fractions.

    Averaged over all tasks but the last; negative means forgetting; 0.0 for one task. Raises UserError when `matrix` is
    not lower triangular. Source: Lopez-Paz and Ranzato, Gradient Episodic Memory, NeurIPS 2017, equation 3.
    """
    _check_triangular(matrix)
    changes = [matrix[-1][j] - matrix[j][j] for j in range(len(matrix) - 1)]
    return float(np.mean(changes)) if changes else 0.0


def accuracy(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Fraction of images whose prediction is the label; both of shape (n,). UserError for n = 0 or unequal shapes."""
    predicted, true = _same_length(predictions, labels)
    return float(np.mean(predicted == true))


def accuracy_per_task(predictions: ArrayLike, labels: ArrayLike, tasks: ArrayLike) -> list[float]:
    """Accuracy on the images of each task, by rising task number; one row of an accuracy matrix.

    `predictions`, `labels` and `tasks` (the task whose classes an image belongs to) have shape (n,). Averaged over the
    images of a task. Raises UserError for unequal shapes and for a task without images between two that have some,
    because the row would be shifted against its columns.
    """
    predicted, true = _same_length(predictions, labels)
    numbers, _ = _same_length(tasks, labels)
    present = np.unique(numbers)
    missing = sorted(set(range(int(present[0]), int(present[-1]) + 1)) - set(present.tolist()))
    if missing:
        raise UserError(f"Task {missing[0]} has no image to be evaluated on; use more images.")
    right = predicted == true
    return [float(np.mean(right[numbers == task])) for task in present]


def confusion_matrix(predictions: ArrayLike, labels: ArrayLike, classes: Sequence[int]) -> NDArray[np.int64]:
    """Image counts, shape (classes, classes): rows are true classes, columns predicted ones, in the order of `classes`.

    `predictions` and `labels` have shape (n,). Raises UserError for unequal shapes, a repeated class, or a label or
    prediction that is not in `classes`.
    """
    predicted, true = _same_length(predictions, labels)
    if len(set(classes)) != len(classes):
        raise UserError("A class occurs twice in the class order of the confusion matrix.")
    size = len(classes)
    cells = _positions(true, classes, "label") * size + _positions(predicted, classes, "prediction")
    return np.bincount(cells, minlength=size * size).reshape(size, size).astype(np.int64)


def _check_triangular(matrix: AccuracyMatrix) -> None:
    if len(matrix) == 0:
        raise UserError("The accuracy matrix is empty; it needs one row per finished task.")
    for number, row in enumerate(matrix, start=1):
        if len(row) != number:
            raise UserError(f"Row {number} of the accuracy matrix has {len(row)} entries; it must have {number}.")


def _same_length(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    left, right = np.asarray(first), np.asarray(second)
    if left.ndim != 1 or left.shape != right.shape:
        raise UserError(f"Predictions, labels and tasks must be of one shape (n,), not {left.shape} and {right.shape}.")
    if left.size == 0:
        raise UserError("There is no image to take an accuracy over.")
    return left, right


def _positions(values: NDArray[np.int64], classes: Sequence[int], what: str) -> NDArray[np.int64]:
    place = {int(name): position for position, name in enumerate(classes)}
    try:
        return np.array([place[int(value)] for value in values], dtype=np.int64)
    except KeyError as error:
        raise UserError(f"The {what} {error.args[0]} is not among the classes of the confusion matrix.") from None
