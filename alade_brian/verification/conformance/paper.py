"""The networks of the NIR paper's tasks against the frameworks that import them, or that build and export them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alade_brian.conversion.nir_graphs.paper_networks import PAPER_NETWORKS, paper_network
from alade_brian.simulation import SimulationSettings
from alade_brian.verification.conformance.compare import (
    ConformanceRow,
    ShownGraph,
    compared_with_closed_form,
    compared_with_frameworks,
    compared_with_own_run,
    spikes_in_brian2,
)
from alade_brian.verification.conformance.frameworks import FRAMEWORKS, silent
from alade_brian.verification.conformance.own_networks import OWN_NETWORKS


def compared_paper_networks(
    presentations: int, steps: int, seed: int, settings: SimulationSettings
) -> Iterator[ConformanceRow]:
    """Every network of `PAPER_NETWORKS` against every framework, and the single neuron against its closed form."""
    for name in PAPER_NETWORKS:
        network = paper_network(name, seed)
        inputs = {"input": network.spikes(presentations, steps, seed)}
        shown = ShownGraph(network.title, network.graph, network.dt, inputs)
        yield from compared_with_frameworks(shown, spikes_in_brian2(shown, "euler", settings), settings)
        if name == "single-neuron":
            yield compared_with_closed_form(network, presentations, steps, seed, settings)


def compared_own_networks(
    presentations: int, steps: int, seed: int, settings: SimulationSettings
) -> Iterator[ConformanceRow]:
    """Every network of `OWN_NETWORKS` whose framework is installed."""
    installed = {framework.package for framework in FRAMEWORKS if framework.version is not None}
    for name, make in OWN_NETWORKS.items():
        if name.partition("-")[0] in installed:
            with silent():
                network = make(np.random.default_rng(seed))
            yield compared_with_own_run(network, presentations, steps, seed, settings)
