"""One perturbation of one network, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

import numpy as np

from alade_brian.errors import UserError
from alade_brian.perturbations.base import Presentation, SpecPerturbation, perturbation
from alade_brian.spec import NetworkSpec


@overload
def perturb(spec: NetworkSpec, name: str, strength: float, seed: int = ..., *, images: None = ...) -> NetworkSpec: ...


@overload
def perturb(
    spec: NetworkSpec, name: str, strength: float, seed: int = ..., *, images: np.ndarray | Mapping[str, np.ndarray]
) -> Presentation: ...


def perturb(
    spec: NetworkSpec,
    name: str,
    strength: float,
    seed: int = 0,
    *,
    images: np.ndarray | Mapping[str, np.ndarray] | None = None,
) -> NetworkSpec | Presentation:
    """The network with a perturbation of that name; with `images`, the network and what it is then shown.

    strength   in the perturbation's own unit; at 0 the network spikes exactly as without it
    seed       of the perturbations that draw random numbers
    images     as `simulate` takes them. Some perturbations (noise, jitter, unreliable release) change what is shown,
               too, and need them

    Raises UserError where there is no such perturbation, the strength is out of range, or the network cannot have it.

    >>> from torch import nn
    >>> from alade_brian import convert, perturb
    >>> from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
    >>> model = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))
    >>> spec = convert(model, (6,))
    >>> slow = perturb(spec, "delay", 2)
    >>> [projection.delay for projection in slow.projections]
    [0, 2]
    """
    chosen = perturbation(name)
    if images is not None:
        return chosen(Presentation(spec, images), strength, seed)
    if not isinstance(chosen, SpecPerturbation):
        raise UserError(f"'{name}' changes what the network is shown, too; give images=")
    chosen.check(strength)
    return chosen.changed(spec, float(strength), seed)
