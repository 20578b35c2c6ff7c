"""What every operator can do, and the one that each linear one can become: a list of connections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from math import prod
from typing import ClassVar, Self

import numpy as np

from alade_brian.spec.errors import Shape, check_shape, float64, require
from alade_brian.spec.operators.windows import Windows


@dataclass(frozen=True, eq=False)
class Synapses:
    """Synapse k goes from neuron ``pre[k]`` to ``post[k]`` with weight ``values[value_index[k]] * scale``; sorted by
    pre, then post.

    `scale` is what a value is multiplied with to give the weight (1 / window size for pooling).
    """

    pre: np.ndarray
    post: np.ndarray
    value_index: np.ndarray
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.pre)

    def weights(self, operator: Operator) -> np.ndarray:
        """float64 weight of every synapse."""
        return operator.values().ravel()[self.value_index] * self.scale


def sorted_synapses(pre: np.ndarray, post: np.ndarray, index: np.ndarray, scale: float = 1.0) -> Synapses:
    """Synapses in their order: by pre, then post."""
    order = np.lexsort((post, pre))
    return Synapses(pre[order], post[order], index[order], scale)


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """An operator between two populations: frozen, and a dataclass whose fields are its structure and its numbers.

    A subclass gives `output_shape`, `synapses`, `values` and `with_values`; the other methods follow from these, and a
    subclass replaces those that it can do without a list of connections. One whose outputs are no weighted sums of its
    inputs says so by `linear`.
    """

    linear: ClassVar[bool] = True

    @property
    def has_weights(self) -> bool:
        """Whether its numbers are weights, one per connection or kernel place, and not a gain of what passes."""
        return False

    @property
    def changes_nothing(self) -> bool:
        """Whether it passes on all that it reads, unchanged."""
        return False

    @property
    def one_to_one_gain(self) -> np.ndarray | None:
        """The gain, ``()``, ``(channels,)`` or of the source's shape, if it connects one-to-one; else None."""
        return None

    @property
    def full_weight(self) -> np.ndarray | None:
        """The weight ``(outputs, inputs)`` if every output reads every input; else None."""
        return None

    @property
    def windows(self) -> Windows | None:
        """What it sums, if each of its outputs is the sum over a window of one channel; else None."""
        return None

    @abstractmethod
    def output_shape(self, source: Shape) -> Shape:
        """The shape that it makes of a source's. SpecError where it does not fit the source."""

    @abstractmethod
    def synapses(self, source: Shape) -> Synapses:
        """All its synapses on a source of that shape."""

    @abstractmethod
    def values(self) -> np.ndarray:
        """Its numbers (weight or gain), float64: the only part of it that is not structure."""

    @abstractmethod
    def with_values(self, values: np.ndarray) -> Self:
        """The same structure with other numbers."""

    def count(self, source: Shape) -> int:
        """Number of its synapses on a source of that shape."""
        return len(self.synapses(source))

    def scaled(self, factor: float | np.ndarray, source: Shape) -> Operator:
        """The operator times a number, or with its output channels multiplied by `factor`, ``(channels,)``
        (``(features,)`` where it makes features). SpecError for a factor of another shape."""
        factor, made = np.asarray(factor, dtype=np.float64), self.output_shape(source)
        if factor.ndim == 0:
            return self.with_values(self.values() * factor)
        require(factor.shape == made[:1], f"a factor of shape {factor.shape} does not fit the {made[0]} channels made")
        return self._scaled_channels(factor, source)

    def _scaled_channels(self, factor: np.ndarray, source: Shape) -> Operator:
        return self.listed(source)._scaled_channels(factor, source)

    def transposed(self, source: Shape) -> Operator:
        """The operator of the network run backwards: from what this one makes of such a source to the source's
        neurons, in their order. It makes the source's shape, or ``(neurons,)`` where this operator has no axes."""
        return self.listed(source).transposed(source)

    def behind(self, inner: Operator, source: Shape) -> Operator | None:
        """This operator behind `inner`, which reads a source of that shape, as one that is neither full nor a list;
        None if there is none."""
        return None

    def pooled(self, windows: Windows) -> Operator | None:
        """The sums over windows without padding of what this operator makes, as one that is neither full nor a list;
        None if there is none."""
        return None

    def on_channels(self, first: int, count: int) -> Operator | None:
        """This operator on some of its input channels: what they contribute to all that it makes, or, if it has
        `windows`, the channels that it makes of them. None if such a part is not of the same kind."""
        return None

    def flipped(self) -> Operator | None:
        """The same operator with its kernel turned around in both axes; None without a kernel of several pixels."""
        return None

    def listed(self, source: Shape) -> Sparse:
        """The same operator as a list of connections."""
        found = self.synapses(source)
        return Sparse(found.post, found.pre, found.weights(self), self.output_shape(source))


@dataclass(frozen=True, eq=False)
class Sparse(Operator):
    """Any linear operator, as a list: ``post[rows[k]] += weight[k] * pre[columns[k]]``; `shape` is what it makes."""

    rows: np.ndarray
    columns: np.ndarray
    weight: np.ndarray
    shape: Shape

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            given = np.asarray(getattr(self, name))
            # numpy makes an empty list one of floats.
            require(
                given.dtype.kind in "iu" or (given.size == 0 and given.dtype.kind == "f"),
                f"the {name} of a sparse operator hold {given.dtype}: use whole numbers",
            )
            index = np.array(given, dtype=np.int64)
            index.setflags(write=False)
            object.__setattr__(self, name, index)
        object.__setattr__(self, "weight", float64(self.weight))
        object.__setattr__(self, "shape", check_shape(self.shape, "what a sparse operator makes"))
        require(
            self.rows.ndim == 1 and self.rows.shape == self.columns.shape == self.weight.shape,
            f"a sparse operator has {self.rows.shape} rows, {self.columns.shape} columns and {self.weight.shape} "
            "weights: give one of each per connection",
        )
        require(
            not len(self.rows) or (self.rows.min() >= 0 and self.rows.max() < prod(self.shape)),
            f"a sparse operator names a target beyond its shape {self.shape}",
        )

    @property
    def has_weights(self) -> bool:
        return True

    def output_shape(self, source: Shape) -> Shape:
        require(
            not len(self.columns) or (self.columns.min() >= 0 and self.columns.max() < prod(source)),
            f"a sparse operator reads a neuron beyond the {prod(source)} of its source",
        )
        return self.shape

    def synapses(self, source: Shape) -> Synapses:
        return sorted_synapses(self.columns, self.rows, np.arange(len(self.rows)))

    def count(self, source: Shape) -> int:
        return self.weight.size

    def values(self) -> np.ndarray:
        return self.weight

    def with_values(self, values: np.ndarray) -> Sparse:
        return Sparse(self.rows, self.columns, values, self.shape)

    def _scaled_channels(self, factor: np.ndarray, source: Shape) -> Sparse:
        return self.with_values(self.weight * factor[self.rows // prod(self.shape[1:])])

    def transposed(self, source: Shape) -> Sparse:
        self.output_shape(source)
        return Sparse(self.columns, self.rows, self.weight, source)


def same_operator(left: Operator, right: Operator) -> bool:
    """Whether two operators do the same: equal in class, geometry and numbers."""
    if type(left) is not type(right):
        return False
    pairs = ((getattr(left, f.name), getattr(right, f.name)) for f in fields(left))
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)
