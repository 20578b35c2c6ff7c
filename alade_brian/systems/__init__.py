"""The systems that can be trained: a network, a learning rule and data, and what the simulation proves of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """One trained system, as `alade-brian systems` lists it.

    paper     its source
    neuron, rule, data   what fires, what learns, what is shown
    proves    what the simulation is held against
    minutes   how long its default configuration takes on two cores
    command   what trains it; a system that `alade-brian train` knows has the configurations NAME, NAME-quick and
              NAME-paper
    proof     the module whose `prove` measures, in the run folders of trained networks, what the rule rests on, and
              whose `draw` and `table` show it; None where the comparison of every spike is all there is
    """

    name: str
    paper: str
    neuron: str
    rule: str
    data: str
    proves: str
    minutes: float
    command: str
    proof: str | None = None


SYSTEMS = (
    System(
        name="alade",
        paper="ALADE-SNN: Ni, Shen, Xu, Tang, AAAI 2025 (arXiv 2412.12696)",
        neuron="LIF",
        rule="backpropagation through time, a new extractor per task, exemplars",
        data="digits",
        proves="every spike of every layer after every task",
        minutes=0.5,
        command="alade-brian run --method alade",
    ),
    System(
        name="dsd",
        paper="DSD-SNN: Han, Zhao, Zhao, Li, Zeng, Shen, IJCAI 2023 (arXiv 2308.04749)",
        neuron="LIF",
        rule="backpropagation through time, units that grow, are pruned and frozen",
        data="digits",
        proves="every spike of every layer after every task",
        minutes=0.5,
        command="alade-brian run --method dsd",
    ),
    System(
        name="dsr",
        paper="DSR: Meng, Xiao, Yan, Wang, Lin, Luo, CVPR 2022 (arXiv 2205.00459)",
        neuron="IF and LIF whose spikes carry a learned threshold",
        rule="differentiation on spike representation: gradients of mean outputs, nothing kept over time",
        data="Fashion-MNIST",
        proves="every spike; mean outputs against the ideal response, layer by layer",
        minutes=5,
        command="alade-brian train dsr",
        proof="alade_brian.systems.dsr",
    ),
    System(
        name="tandem",
        paper="Progressive tandem learning: Wu, Xu, Han, Zhou, Zhang, Li, Tan, TPAMI 2021 (arXiv 2007.01204)",
        neuron="IF that loses its threshold, calibrated on the activations that its counts stand for",
        rule="an analogue network is converted layer by layer; what lies behind a converted layer learns on",
        data="Fashion-MNIST",
        proves="every spike; the accuracy after each converted layer, beside conversion at once",
        minutes=3,
        command="alade-brian train tandem",
        proof="alade_brian.systems.tandem",
    ),
    System(
        name="blurred-distillation",
        paper="BKDSNN: Xu, You, Guo, Wang, He, ECCV 2024 (arXiv 2407.09083)",
        neuron="IF with reset to zero; shortcuts that add spikes",
        rule="backpropagation through time, and a teacher without spikes: its logits, its features behind blurred ones",
        data="Fashion-MNIST",
        proves="every spike; nothing of teacher, generator or alignment is left",
        minutes=2,
        command="alade-brian train blurred-distillation",
    ),
    System(
        name="relpsp",
        paper="ReL-PSP: Zhang, Wang, Wu, ..., Chua, Carlson, Li, TNNLS 2022 (arXiv 2003.11837)",
        neuron="integrate-and-fire with rectified linear postsynaptic potentials, at most one spike",
        rule="gradients of spike times in closed form, no time steps in training",
        data="Fashion-MNIST",
        proves="every spike; spike times against the closed form, by the length of a step",
        minutes=5,
        command="alade-brian train relpsp",
        proof="alade_brian.systems.relpsp",
    ),
)
