"""Exemplars: herding against hand and brute force, and a memory that stays within its size."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alade_brian.data import ExemplarMemory, herd
from alade_brian.errors import UserError


def brute_force(features: np.ndarray, count: int) -> list[int]:
    """The greedy choice as the paper words it: the mean of the chosen, with the candidate, closest to the mean."""
    unit = np.array([row / np.sqrt(row @ row) for row in features])
    mean, chosen = unit.mean(0), []
    while len(chosen) < min(count, len(unit)):
        candidates = [i for i in range(len(unit)) if i not in chosen]
        chosen.append(min(candidates, key=lambda i: np.sqrt(((mean - unit[[*chosen, i]].mean(0)) ** 2).sum())))
    return chosen


def test_herding_by_hand() -> None:
    # Unit vectors (1, 0), (0, 1), (0.6, 0.8), (-0.6, 0.8); their mean is (0.25, 0.65).
    # First: its products with them are 0.25, 0.65, 0.67, 0.37; the largest is the closest -> image 2.
    # With it the means are (0.8, 0.4), (0.3, 0.9), (0, 0.8); squared distances 0.365, 0.065, 0.085 -> image 1.
    # With both they are (0.533, 0.6) and (0, 0.867); squared distances 0.083 and 0.109 -> image 0.
    features = np.array([[2.0, 0.0], [0.0, 5.0], [3.0, 4.0], [-6.0, 8.0]])
    assert herd(features, 4).tolist() == [2, 1, 0, 3]
    assert herd(features, 2).tolist() == [2, 1]


def test_herding_normalises_each_image() -> None:
    features = np.random.default_rng(0).normal(size=(12, 3))
    scaled = features * np.linspace(0.1, 50, 12)[:, None]
    assert herd(features, 12).tolist() == herd(scaled, 12).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_herding_is_the_greedy_choice(seed: int) -> None:
    generator = np.random.default_rng(seed)
    features = generator.normal(0.5, 1, (int(generator.integers(5, 25)), int(generator.integers(2, 9))))
    assert herd(features, 15).tolist() == brute_force(features, 15)


def test_a_shorter_choice_begins_a_longer_one() -> None:
    features = np.random.default_rng(3).random((20, 5), np.float32)
    assert herd(features, 6).tolist() == herd(features, 20).tolist()[:6]


@pytest.mark.parametrize("count", [7, 8, 1000])
def test_each_image_is_taken_once(count: int) -> None:
    # Three different images among seven: without the rule the best would come again and again.
    features = np.random.default_rng(1).normal(size=(3, 4))[[0, 1, 2, 0, 1, 2, 0]]
    chosen = herd(features, count)
    assert chosen.dtype == np.int64
    assert sorted(chosen) == list(range(7))


def test_of_equal_images_the_first_is_taken() -> None:
    assert herd(np.ones((4, 2)), 3).tolist() == [0, 1, 2]


def test_rows_of_zeros_stay_zeros() -> None:
    # The mean is (0.5, 0): both distances are 0.5, so the first wins, and the other two follow in order.
    assert herd(np.array([[0.0, 0.0], [2.0, 0.0]]), 2).tolist() == [0, 1]
    # The mean is (2/3, 0): the images at 1/3 come before the zeros at 2/3; then 2/3 is met exactly.
    assert herd(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]), 3).tolist() == [1, 0, 2]
    assert herd(np.zeros((3, 2)), 2).tolist() == [0, 1]


def test_nothing_chosen_where_nothing_is_wanted() -> None:
    assert herd(np.ones((4, 2)), 0).shape == (0,)


def test_quota_is_the_floor() -> None:
    memory = ExemplarMemory(20)
    assert [memory.quota(n) for n in (1, 2, 3, 7, 20, 21)] == [20, 10, 6, 2, 1, 0]


def test_old_lists_are_cut_and_the_best_stay() -> None:
    memory = ExemplarMemory(7)
    memory.update(2, {0: np.array([9, 8, 7, 6]), 1: np.array([1, 2, 3])})
    assert {k: v.tolist() for k, v in memory.lists.items()} == {0: [9, 8, 7], 1: [1, 2, 3]}
    memory.update(3, {2: np.array([5, 4])})
    assert {k: v.tolist() for k, v in memory.lists.items()} == {0: [9, 8], 1: [1, 2], 2: [5, 4]}
    assert memory.indices.tolist() == [9, 8, 1, 2, 5, 4]
    assert memory.indices.dtype == np.int64


def test_the_memory_never_exceeds_its_size() -> None:
    memory = ExemplarMemory(11)
    for seen in range(1, 12):
        memory.update(seen, {seen - 1: np.arange(100 * seen, 100 * seen + 30)})
        assert len(memory.indices) == seen * (11 // seen) <= 11


def test_state_survives_json() -> None:
    memory = ExemplarMemory(5)
    memory.update(2, {0: np.array([4, 2]), 1: np.array([3])})
    again = ExemplarMemory.from_state(json.loads(json.dumps(memory.state())))
    assert again.size == 5
    assert {k: v.tolist() for k, v in again.lists.items()} == {0: [4, 2], 1: [3]}
    for each in (memory, again):
        each.update(3, {2: np.array([7, 8])})
    assert again.indices.tolist() == memory.indices.tolist() == [4, 3, 7]


def test_a_fresh_memory_is_empty() -> None:
    assert ExemplarMemory(3).indices.shape == (0,)
    assert ExemplarMemory(3).lists == {}


def test_without_memory_nothing_is_kept() -> None:
    memory = ExemplarMemory(0)
    memory.update(2, {0: np.array([1, 2]), 1: np.array([3])})
    assert len(memory.indices) == 0


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(UserError, match="memory_size is -1"):
        ExemplarMemory(-1)


def test_fewer_exemplars_than_classes_are_refused_and_nothing_changes() -> None:
    memory = ExemplarMemory(3)
    memory.update(3, {0: np.array([1]), 1: np.array([2]), 2: np.array([3])})
    with pytest.raises(UserError, match="memory_size is 3.*4 classes"):
        memory.update(4, {3: np.array([4])})
    assert memory.indices.tolist() == [1, 2, 3]


# A fixed number per class


def test_a_fixed_number_per_class_lets_the_memory_grow() -> None:
    memory = ExemplarMemory(1, per_class=2)
    assert [memory.quota(n) for n in (1, 50, 100)] == [2, 2, 2]
    memory.update(2, {0: np.array([9, 8, 7]), 1: np.array([1])})
    memory.update(3, {2: np.array([5, 4, 3])})
    assert {k: v.tolist() for k, v in memory.lists.items()} == {0: [9, 8], 1: [1], 2: [5, 4]}


@pytest.mark.parametrize(
    ("size", "per_class", "holds"), [(0, None, False), (1, None, True), (0, 1, True), (200, 20, True)]
)
def test_whether_there_is_room_for_exemplars(size: int, per_class: int | None, holds: bool) -> None:
    assert ExemplarMemory(size, per_class).holds_any is holds


def test_state_keeps_the_number_per_class() -> None:
    memory = ExemplarMemory(7, per_class=1)
    memory.update(2, {0: np.array([4, 2]), 1: np.array([3])})
    again = ExemplarMemory.from_state(json.loads(json.dumps(memory.state())))
    assert (again.size, again.per_class, again.state()) == (7, 1, memory.state())
    again.update(30, {2: np.array([7, 8])})
    assert again.indices.tolist() == [4, 3, 7]


@pytest.mark.parametrize("per_class", [0, -3])
def test_fewer_than_one_per_class_is_refused(per_class: int) -> None:
    with pytest.raises(UserError, match=f"memory_per_class is {per_class}"):
        ExemplarMemory(10, per_class)
