"""The operator in which every neuron reaches every other."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from alade_brian.spec.errors import Shape, float64, require
from alade_brian.spec.operators.operator import Operator, Synapses


@dataclass(frozen=True, eq=False)
class Dense(Operator):
    """``post += weight @ pre``; weight ``(post size, pre size)``, both in the order of their flattened shapes."""

    weight: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", float64(self.weight))
        require(self.weight.ndim == 2, f"a dense weight has {self.weight.ndim} axes, not 2")
        require(self.weight.size > 0, f"a dense weight has the shape {self.weight.shape}: use positive axes")

    @property
    def has_weights(self) -> bool:
        return True

    @property
    def full_weight(self) -> np.ndarray:
        return self.weight

    def output_shape(self, source: Shape) -> Shape:
        require(
            self.weight.shape[1] == prod(source),
            f"a dense weight reads {self.weight.shape[1]} neurons, its source has {prod(source)}",
        )
        return (self.weight.shape[0],)

    def synapses(self, source: Shape) -> Synapses:
        outputs, inputs = self.weight.shape
        pre = np.repeat(np.arange(inputs), outputs)
        post = np.tile(np.arange(outputs), inputs)
        return Synapses(pre, post, post * inputs + pre)

    def count(self, source: Shape) -> int:
        return self.weight.size

    def values(self) -> np.ndarray:
        return self.weight

    def with_values(self, values: np.ndarray) -> Dense:
        return Dense(values)

    def _scaled_channels(self, factor: np.ndarray, source: Shape) -> Dense:
        return Dense(self.weight * factor[:, None])

    def transposed(self, source: Shape) -> Dense:
        self.output_shape(source)
        return Dense(self.weight.T)
