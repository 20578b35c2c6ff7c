"""Surrogate gradients: a hard threshold forwards, a smooth bump backwards.

A surrogate is an object that a neuron holds (`surrogate=`). It acts in training alone: no specification, no checkpoint
and no spike depends on it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor


class TriangleSpike(torch.autograd.Function):
    """Spike where the distance to threshold is positive; backwards the triangle ``max(0, 1 - |distance|)``.

    Source: the surrogate of ALADE-SNN and its relatives (triangle of width one around the threshold).
    """

    @staticmethod
    def forward(ctx, distance: Tensor, inclusive: bool) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(distance)
        return (distance >= 0 if inclusive else distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (distance,) = ctx.saved_tensors
        return gradient * (1 - distance.abs()).clamp_(min=0), None


def triangle_spike(distance: Tensor, inclusive: bool = False) -> Tensor:
    """Spikes (0 or 1) of any shape from the distance membrane - threshold; `inclusive` fires at zero too."""
    return TriangleSpike.apply(distance, inclusive)


class _SurrogateSpike(torch.autograd.Function):
    """Spike where the distance to threshold is positive; backwards the surrogate's derivative."""

    @staticmethod
    def forward(ctx, distance: Tensor, inclusive: bool, surrogate: Surrogate) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(distance)
        ctx.surrogate = surrogate
        return (distance >= 0 if inclusive else distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (distance,) = ctx.saved_tensors
        return gradient * ctx.surrogate.derivative(distance), None, None


@dataclass(frozen=True)
class Surrogate(ABC):
    """What stands for the derivative of a spike with respect to the distance membrane - threshold."""

    @abstractmethod
    def derivative(self, distance: Tensor) -> Tensor:
        """The derivative at each distance; same shape."""

    def spike(self, distance: Tensor, inclusive: bool = False) -> Tensor:
        """Spikes (0 or 1) of any shape from the distance; `inclusive` fires at zero too."""
        return _SurrogateSpike.apply(distance, inclusive, self)


@dataclass(frozen=True)
class Triangle(Surrogate):
    """``max(0, 1 - |d|)``; the compiled kernels know it.

    Source: the surrogate of ALADE-SNN and its relatives (triangle of width one around the threshold).
    """

    def derivative(self, distance: Tensor) -> Tensor:
        return (1 - distance.abs()).clamp_(min=0)

    def spike(self, distance: Tensor, inclusive: bool = False) -> Tensor:
        return triangle_spike(distance, inclusive)


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """``1 / (1 + slope |d|)^2``, the derivative of ``d / (1 + slope |d|)``.

    Source: Zenke and Ganguli, SuperSpike (Neural Computation 2018, arXiv 1705.11146); the slope is snnTorch's.
    """

    slope: float = 25.0

    def __post_init__(self) -> None:
        _check_positive("slope", self.slope)

    def derivative(self, distance: Tensor) -> Tensor:
        return (1 + self.slope * distance.abs()).square().reciprocal()


@dataclass(frozen=True)
class ArcTan(Surrogate):
    """``(alpha / 2) / (1 + (pi/2 alpha d)^2)``, the derivative of ``arctan(pi/2 alpha d) / pi``.

    Source: Fang et al., Incorporating Learnable Membrane Time Constant (ICCV 2021, arXiv 2007.05785).
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _check_positive("alpha", self.alpha)

    def derivative(self, distance: Tensor) -> Tensor:
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * distance).square())


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    """1 everywhere: the gradient passes as if the spike were the distance.

    Source: Bengio, Leonard, Courville 2013 (arXiv 1308.3432).
    """

    def derivative(self, distance: Tensor) -> Tensor:
        return torch.ones_like(distance)


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"a surrogate with the {name} {value}: use a positive number")


# By the names of a configuration.
SURROGATES: Mapping[str, Callable[[], Surrogate]] = MappingProxyType(
    {"triangle": Triangle, "fast-sigmoid": FastSigmoid, "arctan": ArcTan, "straight-through": StraightThrough}
)


def surrogate_of(name: str) -> Surrogate:
    """The surrogate of that name with its usual constants; ValueError where there is none."""
    if name not in SURROGATES:
        raise ValueError(f"there is no surrogate '{name}'; use one of {', '.join(SURROGATES)}")
    return SURROGATES[name]()
