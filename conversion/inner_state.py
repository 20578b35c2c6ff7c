"""Both networks looked into: the same variables of the same neurons at the same images, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alade_brian.conversion.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

# Both networks calculate in float64 and add the same numbers, though not in the same order.
TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class InnerState:
    """One variable of all neurons of a layer, in both networks, as the threshold test sees it.

    brian2, torch   float64 ``(images, steps, neurons)``; `torch` None for a variable that only Brian2's equations have
    is_membrane     whether the variable is the one that is compared with the threshold
    spikes          Brian2's, of the same shape, bool; None for a layer that does not spike
    threshold       what the membrane must pass, broadcast over that shape; None likewise
    """

    layer: str
    variable: str
    brian2: np.ndarray
    torch: np.ndarray | None
    is_membrane: bool
    spikes: np.ndarray | None
    threshold: np.ndarray | None

    @property
    def largest_difference(self) -> float | None:
        """The largest absolute difference between both networks; None where PyTorch's is not known."""
        return None if self.torch is None else float(np.abs(self.brian2 - self.torch).max())


def inner_states(
    model: nn.Module, spec: NetworkSpec, images: np.ndarray, wanted: Mapping[str, Sequence[str]]
) -> list[InnerState]:
    """Look into both networks.

    model    the torch module that `spec` was converted from
    images   a few, ``(n, C, H, W)``; of a sequence ``(n, steps, C, H, W)``
    wanted   by layer the names of its variables, such as ``{"stages.0.lif": ["v"]}``

    UserError for a layer or variable that is not there, with those that are.
    """
    from alade_brian.conversion.torch_states import torch_states
    from alade_brian.simulation.inner_state import record_states, threshold_needs, thresholds, variables

    for name in wanted:
        variables(spec, name)
    needed = {name: list(dict.fromkeys([*names, *threshold_needs(spec, name)])) for name, names in wanted.items()}
    responses, ours = record_states(spec, images, needed)
    theirs = torch_states(model, images, spec, wanted)
    return [
        InnerState(
            layer=name,
            variable=variable,
            brian2=ours[name][variable],
            torch=theirs.get(name, {}).get(variable),
            is_membrane=variable == spec.population(name).neuron.membrane,
            spikes=responses.spikes.get(name),
            threshold=thresholds(spec, name, ours[name]),
        )
        for name, names in wanted.items()
        for variable in names
    ]
