"""The systems that can be trained: a network, a learning rule and data, and what the simulation proves of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """One trained system, as `alade-brian systems` lists it.

    paper     its source
    neuron, rule, data   what fires, what learns, what is shown
    proves    what the simulation is held against
    minutes   how long `alade-brian run` takes with the smallest configuration, on two cores
    """

    name: str
    paper: str
    neuron: str
    rule: str
    data: str
    proves: str
    minutes: float


SYSTEMS = (
    System(
        name="alade",
        paper="ALADE-SNN: Ni, Shen, Xu, Tang, AAAI 2025 (arXiv 2412.12696)",
        neuron="LIF",
        rule="backpropagation through time, a new extractor per task, exemplars",
        data="digits",
        proves="every spike of every layer after every task",
        minutes=0.5,
    ),
    System(
        name="dsd",
        paper="DSD-SNN: Han, Zhao, Zhao, Li, Zeng, Shen, IJCAI 2023 (arXiv 2308.04749)",
        neuron="LIF",
        rule="backpropagation through time, units that grow, are pruned and frozen",
        data="digits",
        proves="every spike of every layer after every task",
        minutes=0.5,
    ),
)
