"""Monitors of any variables of neurons, in every step, as the threshold test sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import brian2 as b2
import numpy as np

from alade_brian.conversion.to_brian2.network import BatchLayout, BrianNetwork
from alade_brian.conversion.to_brian2.text import slots
from alade_brian.simulation.separate.decoding import by_image
from alade_brian.spec import NetworkSpec

# By population the names of its variables; by population and variable what was recorded, (images, steps, neurons).
Wanted = Mapping[str, Sequence[str]]
States = Mapping[str, Mapping[str, np.ndarray]]


def add_state_monitors(spec: NetworkSpec, built: BrianNetwork, wanted: Wanted) -> dict[str, b2.StateMonitor]:
    """Add monitors to a built network, by population. They record just before the population's threshold test."""
    monitors = {}
    for name, variables in wanted.items():
        index = [p.name for p in spec.populations].index(name)
        slot = f"before_{slots(index).threshold}"
        monitors[name] = b2.StateMonitor(
            built.groups[name], list(variables), record=True, dt=spec.dt * b2.second, when=slot, name=f"states_{index}",
        )  # fmt: skip
    built.network.add(*monitors.values())
    return monitors


def states_by_image(spec: NetworkSpec, layout: BatchLayout, images: int, recorded: States) -> States:
    """What monitors recorded, ``(steps of the run, neurons of all copies)``, as ``(images, steps, neurons)``."""
    return {
        name: {variable: by_image(spec, layout, values)[:images] for variable, values in found.items()}
        for name, found in recorded.items()
    }
