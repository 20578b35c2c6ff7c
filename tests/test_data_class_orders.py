"""Class orders by name, against what was published."""

from __future__ import annotations

import hashlib

import pytest

from alade_brian.data import ORDER_NAMES, class_order, named_class_order
from alade_brian.errors import UserError


@pytest.mark.parametrize(
    ("name", "begins", "ends", "digest"),
    [
        # Digests of the numbers, separated by spaces, as PODNet's repository lists them.
        ("der-1", (87, 0, 52, 58, 44), (54, 26, 35, 39), "267358b4b4a66ddb"),
        ("der-2", (58, 30, 93, 69, 21), (87, 23, 64, 61), "9f3e8e0936236759"),
        ("der-3", (71, 54, 45, 32, 4), (59, 85, 43, 11), "d6e629bb25bcc77b"),
    ],
)
def test_the_published_orders_of_cifar100(name: str, begins, ends, digest: str) -> None:
    order = named_class_order(name, 100)
    assert sorted(order) == list(range(100))
    assert order[: len(begins)] == begins and order[-len(ends) :] == ends
    assert hashlib.sha256(" ".join(str(label) for label in order).encode()).hexdigest().startswith(digest)


def test_pycils_order_is_the_one_of_seed_1993() -> None:
    assert named_class_order("pycil", 100)[:10] == (68, 56, 78, 8, 23, 84, 90, 65, 74, 76)
    assert named_class_order("pycil", 10) == class_order(1993, 10)


def test_natural_and_seed() -> None:
    assert named_class_order("natural", 4) == (0, 1, 2, 3)
    assert named_class_order("seed", 10, seed=7) == class_order(7, 10) != class_order(8, 10)


@pytest.mark.parametrize("name", [n for n in ORDER_NAMES if n.startswith("der")])
@pytest.mark.parametrize("classes", [10, 99, 101, 242])
def test_an_order_for_another_number_of_classes_is_refused(name: str, classes: int) -> None:
    with pytest.raises(UserError, match=f"'{name}' orders the 100 classes of CIFAR-100.*has {classes}; use"):
        named_class_order(name, classes)


def test_an_unknown_order_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown class_order 'icarl'.*natural, seed, pycil, der-1, der-2, der-3"):
        named_class_order("icarl", 100)


def test_seed_without_a_seed_is_refused() -> None:
    with pytest.raises(UserError, match="no seed is given"):
        named_class_order("seed", 10)
