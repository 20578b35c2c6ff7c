"""Surrogate gradients: a hard threshold forwards, a smooth bump backwards."""

from __future__ import annotations

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
