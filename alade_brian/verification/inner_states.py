"""Both networks looked into: the same variables of the same neurons at the same images, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from alade_brian.spec import NetworkSpec
from alade_brian.spikes.states import InnerState

if TYPE_CHECKING:
    from torch import nn

    from alade_brian.simulation import SimulationSettings

# Both networks calculate in float64 and add the same numbers, though not in the same order.
TOLERANCE = 1e-12


def inner_states(
    model: nn.Module,
    spec: NetworkSpec,
    images: np.ndarray,
    wanted: Mapping[str, Sequence[str]],
    settings: SimulationSettings | None = None,
) -> list[InnerState]:
    """Look into both networks.

    model      the torch module that `spec` was converted from
    images     a few, ``(n, C, H, W)``; of a sequence ``(n, steps, C, H, W)``
    wanted     by layer the names of its variables, such as ``{"stages.0.lif": ["v"]}``
    settings   how Brian2 simulates, see `record_states`

    UserError for a layer or variable that is not there, with those that are.
    """
    from alade_brian.simulation.states import record_states, threshold_needs, thresholds, variables
    from alade_brian.verification.reference_states import torch_states

    for name in wanted:
        variables(spec, name)
    needed = {name: list(dict.fromkeys([*names, *threshold_needs(spec, name)])) for name, names in wanted.items()}
    responses, ours = record_states(spec, images, needed, settings)
    theirs = torch_states(model, images, spec, wanted)
    return [
        InnerState(
            layer=name,
            variable=variable,
            neurons=np.arange(spec.population(name).size),
            brian2=ours[name][variable],
            torch=theirs.get(name, {}).get(variable),
            spikes=responses.spikes.get(name),
            threshold=thresholds(spec, name, ours[name]) if variable == spec.population(name).neuron.membrane else None,
        )
        for name, names in wanted.items()
        for variable in names
    ]
