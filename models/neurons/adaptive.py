"""Neurons whose threshold depends on what they did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack

from torch import Tensor

from alade_brian.models.neurons.leak import LeakyMembrane
from alade_brian.models.neurons.neuron import Constant, Conventions, NeuronState, SpikingNeuron, numbers
from alade_brian.spec import NeuronEquations, constant


@dataclass(frozen=True)
class AdaptiveState(NeuronState):
    """A membrane, and what is added to the threshold."""

    a: Tensor


class AdaptiveLIF(LeakyMembrane[AdaptiveState], SpikingNeuron[AdaptiveState]):
    """A leaky neuron with an adaptive threshold, ``threshold + a``: a jumps at every spike and decays.

    ``a[t] = adaptation_decay * (a[t-1] + jump * s[t-1])``, and the membrane as of `LIF`.
    Source: Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons (LSNN), with the
    jump before the decay.

    adaptation_decay   between 0 and 1, as `decay`
    jump               by how much a spike raises the threshold
    """

    state = AdaptiveState
    adaptation_decay: Constant
    jump: Constant

    def __init__(
        self,
        steps: int,
        decay: Constant = 0.5,
        adaptation_decay: Constant = 0.5,
        jump: Constant = 0.25,
        *,
        scale_input: bool = False,
        **conventions: Unpack[Conventions],
    ) -> None:
        super().__init__(steps, **conventions)
        self._set_leak(decay, scale_input)
        self._register_decay("adaptation_decay", adaptation_decay)
        self._register("jump", jump)

    def flow(self, state: AdaptiveState) -> AdaptiveState:
        return AdaptiveState(self.decay * state.v, self.adaptation_decay * state.a)

    def receive(self, state: AdaptiveState, current: Tensor) -> AdaptiveState:
        return replace(state, v=state.v + self._taken(current))

    def effective_threshold(self, state: AdaptiveState) -> Constant:
        return self.threshold + state.a

    def after_spike(self, state: AdaptiveState, spikes: Tensor) -> AdaptiveState:
        return replace(state, a=state.a + self.jump * spikes)

    def equations(self) -> NeuronEquations:
        line, takes, update = self._driven()
        parameters = {
            "tau": self._tau("decay"),
            "tau_a": self._tau("adaptation_decay"),
            "jump": constant(numbers(self.jump)),
            **self._gain(),
        }
        return self._conventions(
            f"dv/dt = -v/tau : 1\nda/dt = -a/tau_a : 1{line}",
            parameters,
            input=takes,
            update=update,
            threshold="v_threshold + a",
            on_spike="a += jump",
        )
