"""The class-incremental scenario on a data set in which every image knows its own place."""

from __future__ import annotations

import numpy as np
import pytest

from alade_brian.data import Dataset, ExemplarMemory, Scenario, check_memory, class_order, make_dataset
from alade_brian.errors import UserError

TRAIN_LABELS = np.array([0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 2, 2])
TEST_LABELS = np.array([4, 3, 2, 1, 0, 0, 1, 2, 3, 4])
ORDER = (3, 1, 4, 0, 2)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Image k of the training split is k everywhere, image k of the test split 100 + k, before normalisation."""
    train = np.broadcast_to(np.arange(12.0)[:, None, None, None], (12, 1, 2, 2))
    test = np.broadcast_to(100 + np.arange(10.0)[:, None, None, None], (10, 1, 2, 2))
    return make_dataset("made", (train, TRAIN_LABELS), (test, TEST_LABELS), tuple("abcde"))


@pytest.fixture(scope="module")
def scenario(dataset) -> Scenario:
    return Scenario(dataset, 1, 2, ORDER)


def identity(images: np.ndarray, dataset: Dataset) -> list[int]:
    """Which images these are: 0.. of training, 100.. of test."""
    return np.rint(images[:, 0, 0, 0] * dataset.std[0] + dataset.mean[0]).astype(int).tolist()


def test_tasks_by_hand(scenario) -> None:
    assert len(scenario) == 3
    assert [task.number for task in scenario] == [1, 2, 3]
    assert [task.classes for task in scenario] == [(3,), (1, 4), (0, 2)]
    assert [list(task.labels) for task in scenario] == [[0], [1, 2], [3, 4]]
    assert [list(task.old_classes) for task in scenario] == [[], [0], [0, 1, 2]]
    assert [task.classes_seen for task in scenario] == [1, 3, 5]
    assert scenario[1].number == 2 and scenario.class_order == ORDER


def test_one_task_holds_everything(dataset) -> None:
    scenario = Scenario(dataset, 5, 3, ORDER)
    assert [task.classes for task in scenario] == [ORDER]
    assert len(scenario.train_set(scenario[0])) == 12


def test_train_set_holds_the_tasks_own_classes_with_incremental_labels(scenario, dataset) -> None:
    expected = {
        1: ([3, 6], [0, 0]),
        2: ([1, 4, 5, 8], [1, 2, 2, 1]),
        3: ([0, 2, 7, 9, 10, 11], [3, 4, 4, 3, 4, 4]),
    }
    for task in scenario:
        found = scenario.train_set(task)
        assert (found.indices.tolist(), found.labels.tolist()) == expected[task.number]
        assert set(found.tasks) == {task.number}
        assert identity(found.images, dataset) == found.indices.tolist()
        assert found.images.dtype == np.float32 and found.labels.dtype == np.int64


def test_test_set_holds_all_classes_seen_ordered_by_task(scenario, dataset) -> None:
    indices = {1: [1, 8], 2: [1, 8, 0, 3, 6, 9], 3: [1, 8, 0, 3, 6, 9, 2, 4, 5, 7]}
    labels = {1: [0, 0], 2: [0, 0, 2, 1, 1, 2], 3: [0, 0, 2, 1, 1, 2, 4, 3, 3, 4]}
    tasks = {1: [1, 1], 2: [1, 1, 2, 2, 2, 2], 3: [1, 1, 2, 2, 2, 2, 3, 3, 3, 3]}
    for task in scenario:
        found = scenario.test_set(task)
        assert found.indices.tolist() == indices[task.number]
        assert found.labels.tolist() == labels[task.number]
        assert found.tasks.tolist() == tasks[task.number]
        assert identity(found.images, dataset) == [100 + i for i in indices[task.number]]


def test_all_training_images_of_the_classes_seen_ordered_by_task(scenario, dataset) -> None:
    by_task = {1: [3, 6], 2: [1, 4, 5, 8], 3: [0, 2, 7, 9, 10, 11]}
    for task in scenario:
        seen = [by_task[number] for number in range(1, task.number + 1)]
        until, before = scenario.train_sets_until(task), scenario.train_sets_before(task)
        assert until.indices.tolist() == [index for part in seen for index in part]
        assert before.indices.tolist() == [index for part in seen[:-1] for index in part]
        assert identity(until.images, dataset) == until.indices.tolist()
        assert until.tasks.tolist() == [number for number, part in enumerate(seen, start=1) for _ in part]
        np.testing.assert_array_equal(np.array(ORDER)[until.labels], dataset.train_labels[until.indices])


def test_label_mapping_leads_back_to_the_data_sets_own_classes(scenario, dataset) -> None:
    for task in scenario:
        train, test = scenario.train_set(task), scenario.test_set(task)
        np.testing.assert_array_equal(np.array(ORDER)[train.labels], dataset.train_labels[train.indices])
        np.testing.assert_array_equal(np.array(ORDER)[test.labels], dataset.test_labels[test.indices])


def test_training_and_test_images_never_mix(scenario, dataset) -> None:
    trained: list[int] = []
    for task in scenario:
        trained += identity(scenario.train_set(task).images, dataset)
        assert min(identity(scenario.test_set(task).images, dataset)) >= 100
    # Every training image comes in one task alone.
    assert sorted(trained) == list(range(12))


def test_exemplars_are_training_images_with_their_label_and_task(scenario, dataset) -> None:
    memory = ExemplarMemory(6)
    memory.update(3, {0: np.array([6]), 1: np.array([8, 1]), 2: np.array([4])})
    found = scenario.exemplars(memory)
    assert found.indices.tolist() == [6, 8, 1, 4]
    assert found.labels.tolist() == [0, 1, 1, 2]
    assert found.tasks.tolist() == [1, 2, 2, 2]
    assert identity(found.images, dataset) == [6, 8, 1, 4]


def test_no_exemplars_are_an_empty_set_of_images(scenario) -> None:
    found = scenario.exemplars(ExemplarMemory(0))
    assert len(found) == 0 and found.images.shape == (0, 1, 2, 2)
    assert found.labels.shape == found.indices.shape == found.tasks.shape == (0,)


def test_select_keeps_the_fields_together(scenario) -> None:
    whole = scenario.test_set(scenario[2])
    chosen = whole.select(np.array([9, 0, 4]))
    assert len(chosen) == 3
    assert chosen.indices.tolist() == [7, 1, 6]
    assert chosen.labels.tolist() == [4, 0, 1]
    assert chosen.tasks.tolist() == [3, 1, 2]
    np.testing.assert_array_equal(chosen.images[0], whole.images[9])


def test_class_order_of_1993_is_the_published_one() -> None:
    order = class_order(1993, 100)
    assert order[:6] == (68, 56, 78, 8, 23, 84)
    assert sorted(order) == list(range(100))
    assert all(type(c) is int for c in order)


def test_class_order_leaves_numpys_global_numbers_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert class_order(1, 10) != class_order(2, 10)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("init_cls", "increment", "sizes"), [(1, 3, (1, 3, 1)), (2, 2, (2, 2, 1)), (4, 3, (4, 1)), (2, 9, (2, 3))]
)
def test_what_is_left_is_a_last_smaller_task(dataset, init_cls: int, increment: int, sizes: tuple[int, ...]) -> None:
    scenario = Scenario(dataset, init_cls, increment, ORDER)
    assert scenario.sizes == sizes
    assert [task.classes_seen for task in scenario] == np.cumsum(sizes).tolist()
    assert [c for task in scenario for c in task.classes] == list(ORDER)
    last, whole = scenario[-1], scenario.test_set(scenario[-1])
    assert list(last.labels) == list(range(5 - sizes[-1], 5)) and len(whole) == 10
    assert np.bincount(whole.tasks)[1:].tolist() == [2 * size for size in sizes]
    assert set(scenario.train_set(last).labels) == set(last.labels)


@pytest.mark.parametrize(("init_cls", "increment"), [(0, 5), (-1, 2), (6, 1), (1, 0), (5, 0), (1, -2)])
def test_sizes_that_no_scenario_has_are_refused_and_named(dataset, init_cls: int, increment: int) -> None:
    with pytest.raises(UserError) as caught:
        Scenario(dataset, init_cls, increment, ORDER)
    sentence = str(caught.value)
    bad, value = ("increment", increment) if increment < 1 else ("init_cls", init_cls)
    assert bad in sentence and str(value) in sentence


def test_sizes_that_add_up_are_accepted(dataset) -> None:
    for init_cls, increment, tasks in ((1, 1, 5), (1, 2, 3), (1, 4, 2), (2, 3, 2), (3, 1, 3), (5, 1, 1)):
        assert len(Scenario(dataset, init_cls, increment, ORDER)) == tasks


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ((0, 1, 2, 3), r"lacks \[4\]:"),
        ((0, 1, 2, 3, 5), r"lacks \[4\]; has the unknown \[5\]:"),
        ((0, 1, 2, 3, 3), r"lacks \[4\]; repeats \[3\]:"),
        ((0, 1, 2, 3, 4, 0), r"class_order repeats \[0\]:"),
        ((-1, 1, 2, 3, 4), r"lacks \[0\]; has the unknown \[-1\]:"),
        ((), r"lacks \[0, 1, 2, 3, 4\]:"),
    ],
)
def test_an_order_that_is_no_permutation_is_refused(dataset, order, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scenario(dataset, 1, 2, order)


@pytest.mark.parametrize(("size", "per_class"), [(0, None), (5, None), (12, None), (0, 1), (0, 4), (1, 4), (99, 4)])
def test_a_memory_that_can_be_is_accepted(scenario, size: int, per_class: int | None) -> None:
    check_memory(ExemplarMemory(size, per_class), scenario)


@pytest.mark.parametrize(
    ("size", "per_class", "message"),
    [
        (13, None, "memory_size is 13.*only 12 training images"),
        (4, None, "memory_size is 4, fewer than one.*5 classes"),
        (1, None, "memory_size is 1, fewer than one"),
        # Class 2 has four images, the others two each.
        (0, 5, "memory_per_class is 5, but 'made' has at most 4 training images of a class"),
    ],
)
def test_a_memory_that_cannot_be_is_refused(scenario, size: int, per_class: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_memory(ExemplarMemory(size, per_class), scenario)
