"""The class-incremental scenario: the classes of each task. Labels are positions in the class order.

Values are learnt all at once: their scenario is one task without classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import index as whole_number

import numpy as np

from alade_brian.data.dataset import Dataset, problem_of_targets, require_classes
from alade_brian.data.memory import ExemplarMemory
from alade_brian.errors import UserError


@dataclass(frozen=True)
class Task:
    """One task. `number` counts from 1; `classes` are the data set's own labels; `first_label` is the position of the
    first of them in the class order."""

    number: int
    classes: tuple[int, ...]
    first_label: int

    @property
    def labels(self) -> range:
        """The incremental labels of the task's classes."""
        return range(self.first_label, self.first_label + len(self.classes))

    @property
    def old_classes(self) -> range:
        """The incremental labels of earlier tasks."""
        return range(self.first_label)

    @property
    def classes_seen(self) -> int:
        """Number of classes seen up to and including this task."""
        return self.first_label + len(self.classes)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """images float32 ``(n, C, H, W)`` or ``(n, steps, C, H, W)``; labels int64 ``(n,)``, incremental; indices int64
    ``(n,)`` into the data set's split; tasks int64 ``(n,)``, the number of the task of the image's class; targets None,
    or float32 ``(n, ...)``, values in place of classes (every label is `NO_CLASS` then)."""

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    tasks: np.ndarray
    targets: np.ndarray | None = None

    @property
    def problem(self) -> str:
        """As `Dataset.problem`."""
        return problem_of_targets(self.targets)

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, chosen: np.ndarray) -> ImageSet:
        """Select images, in the given order."""
        targets = None if self.targets is None else self.targets[chosen]
        return ImageSet(self.images[chosen], self.labels[chosen], self.indices[chosen], self.tasks[chosen], targets)

    def followed_by(self, other: ImageSet) -> ImageSet:
        """These images and then those of another set of the same split, both with targets or both without."""
        values = [each.targets for each in (self, other) if each.targets is not None]
        return ImageSet(
            np.concatenate([self.images, other.images]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.indices, other.indices]),
            np.concatenate([self.tasks, other.tasks]),
            np.concatenate(values) if values else None,
        )


class Scenario:
    """Tasks of a data set: `init_cls` classes first, then `increment` classes at a time; those left over are a last,
    smaller task, as in PyCIL and Avalanche.

    UserError where the data set has no classes, `init_cls` is more than it has, or the order is no permutation of them.
    """

    def __init__(self, dataset: Dataset, init_cls: int, increment: int, order: Sequence[int]) -> None:
        require_classes(dataset, "a run in tasks")
        self.dataset, self.class_order = dataset, tuple(whole_number(c) for c in order)
        _check_order(dataset, self.class_order)
        _check_sizes(dataset, init_cls, increment)
        starts = [0, *range(init_cls, dataset.classes, increment)]
        ends = [*starts[1:], dataset.classes]
        self._tasks = [
            Task(n, self.class_order[a:b], a) for n, (a, b) in enumerate(zip(starts, ends, strict=True), start=1)
        ]
        self._position = np.argsort(np.array(self.class_order))
        self._task_of_label = np.array([task.number for task in self._tasks for _ in task.labels])

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    def __getitem__(self, index: int) -> Task:
        return self._tasks[index]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes of each task."""
        return tuple(len(task.classes) for task in self._tasks)

    def train_set(self, task: Task) -> ImageSet:
        """Training images of the task's own classes, in the data set's order."""
        labels = self._position[self.dataset.train_labels]
        return self._set(self.dataset.train_images, labels, np.flatnonzero(np.isin(labels, task.labels)))

    def train_sets_until(self, task: Task) -> ImageSet:
        """Training images of all classes up to this task, ordered by task, as joint training uses them."""
        return self._first_classes(self.dataset.train_images, self.dataset.train_labels, task.classes_seen)

    def train_sets_before(self, task: Task) -> ImageSet:
        """Training images of all classes of earlier tasks, ordered by task."""
        return self._first_classes(self.dataset.train_images, self.dataset.train_labels, task.first_label)

    def test_set(self, task: Task) -> ImageSet:
        """Test images of all classes up to this task, ordered by task."""
        return self._first_classes(self.dataset.test_images, self.dataset.test_labels, task.classes_seen)

    def exemplars(self, memory: ExemplarMemory) -> ImageSet:
        """Training images in the exemplar memory."""
        return self._set(self.dataset.train_images, self._position[self.dataset.train_labels], memory.indices)

    def _first_classes(self, images: np.ndarray, own_labels: np.ndarray, count: int) -> ImageSet:
        """Images of the first `count` classes in the class order, ordered by task, then as in the data set."""
        labels = self._position[own_labels]
        seen = np.flatnonzero(labels < count)
        by_task = np.argsort(self._task_of_label[labels[seen]], kind="stable")
        return self._set(images, labels, seen[by_task])

    def _set(self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> ImageSet:
        return ImageSet(images[indices], labels[indices], indices, self._task_of_label[labels[indices]])


class ValueScenario(Scenario):
    """The one task of a data set whose targets are values: all its images, no classes, and nothing before it."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.class_order, self._tasks = dataset, (), [Task(1, (), 0)]

    def train_set(self, task: Task) -> ImageSet:
        """All training images, in the data set's order."""
        return _whole(self.dataset.train_images, self.dataset.train_labels, self.dataset.train_targets)

    def train_sets_until(self, task: Task) -> ImageSet:
        """The same."""
        return self.train_set(task)

    def train_sets_before(self, task: Task) -> ImageSet:
        """None: there is no earlier task."""
        return self.train_set(task).select(np.arange(0))

    def test_set(self, task: Task) -> ImageSet:
        """All test images, in the data set's order."""
        return _whole(self.dataset.test_images, self.dataset.test_labels, self.dataset.test_targets)

    def exemplars(self, memory: ExemplarMemory) -> ImageSet:
        """Training images in the exemplar memory."""
        return self.train_set(self[0]).select(memory.indices)


def _whole(images: np.ndarray, labels: np.ndarray, targets: np.ndarray | None) -> ImageSet:
    count = len(images)
    return ImageSet(images, labels, np.arange(count), np.ones(count, np.int64), targets)


def check_memory(memory: ExemplarMemory, scenario: Scenario) -> None:
    """Raise UserError for an impossible memory: more exemplars than training images, or fewer than classes."""
    dataset = scenario.dataset
    images = len(dataset.train_labels)
    largest = int(np.bincount(dataset.train_labels).max())
    if memory.per_class is not None:
        if memory.per_class > largest:
            raise UserError(
                f"memory_per_class is {memory.per_class}, but '{dataset.name}' has at most {largest} training images "
                "of a class; use at most that"
            )
        return
    if memory.size > images:
        raise UserError(
            f"memory_size is {memory.size}, but '{dataset.name}' has only {images} training images; use at most that"
        )
    if 0 < memory.size < dataset.classes:
        raise UserError(
            f"memory_size is {memory.size}, fewer than one exemplar for each of the {dataset.classes} classes; "
            "use more, or 0"
        )


def _check_order(dataset: Dataset, order: Sequence[int]) -> None:
    expected = set(range(dataset.classes))
    missing, strange = sorted(expected - set(order)), sorted(set(order) - expected)
    repeated = sorted({c for c in order if list(order).count(c) > 1})
    problems = [
        f"{what} {values}"
        for what, values in (("lacks", missing), ("has the unknown", strange), ("repeats", repeated))
        if values
    ]
    if problems:
        raise UserError(
            f"class_order {'; '.join(problems)}: give each class of '{dataset.name}' from 0 to "
            f"{dataset.classes - 1} once"
        )


def _check_sizes(dataset: Dataset, init_cls: int, increment: int) -> None:
    for key, value in (("init_cls", init_cls), ("increment", increment)):
        if value < 1:
            raise UserError(f"{key} is {value}; use at least 1")
    if init_cls > dataset.classes:
        raise UserError(
            f"init_cls is {init_cls}, but '{dataset.name}' has only {dataset.classes} classes; use at most that"
        )
