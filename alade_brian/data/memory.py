"""Exemplar memory: the training images of old classes that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from alade_brian.errors import UserError


def herd(features: np.ndarray, count: int) -> np.ndarray:
    """iCaRL's herding: indices of at most `count` images whose mean stays closest to the class mean, in order of
    choice.

    features   ``(n, d)`` of one class; L2-normalised here (a row of zeros stays zero)
    Each image is taken once; of equal ones the first. UserError where the features are not finite.

    Source: Rebuffi et al., iCaRL (CVPR 2017), algorithm 4.
    """
    if features.ndim != 2 or not np.all(np.isfinite(features)):
        raise UserError(
            f"herding needs finite features of shape (n, d), those given have the shape {features.shape} or are not "
            "finite; lower the learning rate if the training diverged"
        )
    if not len(features):
        return np.zeros(0, dtype=np.int64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features.astype(np.float64) / np.where(norms > 0, norms, 1.0)
    mean, total, chosen = unit.mean(0), np.zeros(unit.shape[1]), []
    free = np.ones(len(unit), dtype=bool)
    for k in range(1, min(count, len(unit)) + 1):
        distance = np.linalg.norm(mean - (total + unit) / k, axis=1)
        best = int(np.where(free, distance, np.inf).argmin())
        free[best] = False
        total += unit[best]
        chosen.append(best)
    return np.array(chosen, dtype=np.int64)


class ExemplarMemory:
    """Exemplars of the classes seen: training images, equally many per class. Lists are truncated, never chosen again.

    size        at most so many in all (the B0 protocols' budget)
    per_class   a fixed number of every class instead, so that the memory grows (B50: 20); `size` then does not count
    """

    def __init__(self, size: int, per_class: int | None = None) -> None:
        if size < 0:
            raise UserError(f"memory_size is {size}; use 0 or more")
        if per_class is not None and per_class < 1:
            raise UserError(f"memory_per_class is {per_class}; use at least 1, or leave it out for memory_size")
        self.size, self.per_class = size, per_class
        self._lists: dict[int, np.ndarray] = {}

    @property
    def holds_any(self) -> bool:
        """Whether there is room for exemplars at all."""
        return self.size > 0 or self.per_class is not None

    def quota(self, classes_seen: int) -> int:
        """Number of exemplars per class: `per_class`, else ``floor(size / classes seen)``; 0 without room for any."""
        if not self.holds_any:
            return 0
        return self.size // classes_seen if self.per_class is None else self.per_class

    def update(self, classes_seen: int, new: Mapping[int, np.ndarray]) -> None:
        """Truncate the old lists and add new ones: incremental label -> indices into the training split, best first.

        UserError where the memory is too small for the classes; ValueError where a label is remembered already.
        """
        quota = self.quota(classes_seen)
        if self.holds_any and not quota:
            raise UserError(
                f"memory_size is {self.size}, fewer than one exemplar for each of {classes_seen} classes; use more, "
                "or 0"
            )
        for label in new:
            if label in self._lists:
                raise ValueError(f"label {label} is remembered already; exemplars are never chosen again")
        added = {int(label): np.array(indices, dtype=np.int64) for label, indices in new.items()}
        self._lists = {label: indices[:quota] for label, indices in (self._lists | added).items()}

    @property
    def lists(self) -> dict[int, np.ndarray]:
        """Indices of exemplars in the training split, by incremental label."""
        return dict(self._lists)

    @property
    def indices(self) -> np.ndarray:
        """Indices of all exemplars, class by class; int64."""
        return np.concatenate([np.zeros(0, np.int64), *self._lists.values()]).astype(np.int64)

    def state(self) -> dict[str, Any]:
        """State of the memory as plain values for a checkpoint."""
        lists = {label: indices.tolist() for label, indices in self._lists.items()}
        return {"size": self.size, "per_class": self.per_class, "lists": lists}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ExemplarMemory:
        """Restore a memory from its `state`."""
        memory = cls(state["size"], state["per_class"])
        memory._lists = {int(label): np.array(indices, dtype=np.int64) for label, indices in state["lists"].items()}
        return memory
