"""Class orders, drawn from a seed or published under a name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from alade_brian.errors import UserError

PYCIL_SEED = 1993

# The three orders of CIFAR-100 that PODNet and DER share (Douillard et al., ECCV 2020; Yan, Xie, He, CVPR 2021), as
# their repositories list them: arthurdouillard/incremental_learning.pytorch, options/data/cifar100_3orders.yaml, and
# Rhyssiyan/DER-ClassIL.pytorch, inclearn/datasets/dataset.py, trials 2 to 4. The first is iCaRL's too (Rebuffi et al.,
# CVPR 2017).
CIFAR100_ORDERS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        name: tuple(int(label) for label in labels.split())
        for name, labels in {
            "der-1": """
                87 0 52 58 44 91 68 97 51 15 94 92 10 72 49 78 61 14 8 86 84 96 18 24 32 45 88 11 4 67 69 66 77 47 79
                93 29 50 57 83 17 81 41 12 37 59 25 20 80 73 1 28 6 46 62 82 53 9 31 75 38 63 33 74 27 22 36 3 16 21
                60 19 70 90 89 43 5 42 65 76 40 30 23 85 2 95 56 48 71 64 98 13 99 7 34 55 54 26 35 39
            """,
            "der-2": """
                58 30 93 69 21 77 3 78 12 71 65 40 16 49 89 46 24 66 19 41 5 29 15 73 11 70 90 63 67 25 59 72 80 94 54
                33 18 96 2 10 43 9 57 81 76 50 32 6 37 7 68 91 88 95 85 4 60 36 22 27 39 42 34 51 55 28 53 48 38 17 83
                86 56 35 45 79 99 84 97 82 98 26 47 44 62 13 31 0 75 14 52 74 8 20 1 92 87 23 64 61
            """,
            "der-3": """
                71 54 45 32 4 8 48 66 1 91 28 82 29 22 80 27 86 23 37 47 55 9 14 68 25 96 36 90 58 21 57 81 12 26 16 89
                79 49 31 38 46 20 92 88 40 39 98 94 19 95 72 24 64 18 60 50 63 61 83 76 69 35 0 52 7 65 42 73 74 30 41
                3 6 53 13 56 70 77 34 97 75 2 17 93 33 84 99 51 62 87 5 15 10 78 67 44 59 85 43 11
            """,
        }.items()
    }
)
ORDER_NAMES = ("natural", "seed", "pycil", *CIFAR100_ORDERS)


def class_order(seed: int, classes: int) -> tuple[int, ...]:
    """Draw a class order from a seed: ``numpy.random.seed(seed); numpy.random.permutation(classes)``, as in PyCIL.

    UserError where the seed is not within 0..2**32 - 1.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}; use a whole number from 0 to 2**32 - 1")
    return tuple(int(c) for c in np.random.RandomState(seed).permutation(classes))


def named_class_order(name: str, classes: int, seed: int | None = None) -> tuple[int, ...]:
    """Return the published class order of a name for a number of classes.

    natural               0, 1, 2, ...
    seed                  `class_order` of the run's seed
    pycil                 `class_order` of the seed 1993, which PyCIL's configurations share
    der-1, der-2, der-3   the three published orders of CIFAR-100
    UserError where the name is unknown or does not fit the number of classes.
    """
    if name == "natural":
        return tuple(range(classes))
    if name == "pycil":
        return class_order(PYCIL_SEED, classes)
    if name == "seed":
        if seed is None:
            raise UserError("class_order is 'seed', but no seed is given; give one, or name another order")
        return class_order(seed, classes)
    if name not in CIFAR100_ORDERS:
        raise UserError(f"unknown class_order '{name}'; use a list of all classes or one of {', '.join(ORDER_NAMES)}")
    order = CIFAR100_ORDERS[name]
    if classes != len(order):
        raise UserError(
            f"class_order '{name}' orders the {len(order)} classes of CIFAR-100, but the data set has {classes}; use a "
            "list of all classes or one of natural, seed, pycil"
        )
    return order
