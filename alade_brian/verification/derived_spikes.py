"""Spikes that no module of a model fires alone, as they follow from those that its modules do.

A product of spikes is written in a forward, and a pool that stands at several places has one module for all of them. In
a specification each is a population whose neurons know nothing but the step's spikes of the layers before, so their
spikes need no simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import ge, gt

import numpy as np

from alade_brian.spec import NetworkSpec, Population
from alade_brian.verification.currents import apply, shifted


def derived(spec: NetworkSpec, population: Population, sent: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a population sends, float64 ``(images, steps, neurons)``.

    sent   by name the same of the stimulus, in every step, and of the layers before it

    ValueError unless its neurons spike and their membrane `v` is declared without an equation (``v : 1``).
    """
    neuron = population.neuron
    if neuron.model.split("\n")[0] != "v : 1" or not neuron.spiking:
        raise ValueError(
            f"the spikes of '{population.name}' are no module's; neurons with a state need one of their own"
        )
    images, steps = next(iter(sent.values())).shape[:2]
    drive = np.zeros((images, steps, population.size))
    if population.bias is not None:
        drive += population.bias.ravel()
    for projection in spec.inputs(population.name):
        arrived = apply(projection.operator, sent[projection.source], spec.shape(projection.source))
        place = slice(projection.target_offset, projection.target_offset + arrived.shape[2])
        drive[:, :, place] += shifted(arrived, projection.delay)
    above = {">": gt, ">=": ge}[neuron.comparison]
    level = np.broadcast_to(neuron.parameters["v_threshold"].value, population.shape).ravel()
    return above(drive, level) * population.amplitude.ravel()
