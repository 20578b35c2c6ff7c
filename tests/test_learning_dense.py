"""The fully connected network: learns, is the same for the same seed, and takes no sequences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_learning_synthetic import one_thread

from alade_brian.data import make_dataset
from alade_brian.errors import UserError
from alade_brian.learning import dense
from alade_brian.learning.dense import accuracy, read_images, train_dense


def patterns(steps: int | None = None):
    """Two classes, told apart by a pixel."""
    labels = np.arange(40) % 2
    images = np.zeros((40, *(() if steps is None else (steps,)), 1, 2, 2))
    images[labels == 1] = 1.0
    return make_dataset("two", (images, labels), (images, labels), ("a", "b"))


def test_it_learns_the_same_for_the_same_seed_alone() -> None:
    with one_thread():
        one, same, other = (train_dense(patterns(), seed) for seed in (1, 1, 2))
    assert accuracy(one, patterns()) == 1.0 and not one.training
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one[1].weight, other[1].weight)


def test_a_data_set_of_sequences_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "load_dataset", lambda name, root: patterns(steps=3))
    with pytest.raises(UserError, match="an image of 'moving' is a sequence"):
        read_images("moving", None)
