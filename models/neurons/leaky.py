"""Neurons with one variable, the membrane: integrate-and-fire with and without a leak, and both without spikes.

A test runs both faces of every class in `NEURONS` against each other, spike by spike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from torch import Tensor

from alade_brian.models.kernels.multistep import LeakyConstants
from alade_brian.models.neurons.leak import LeakyMembrane
from alade_brian.models.neurons.neuron import (
    Constant,
    Conventions,
    Dynamics,
    Neuron,
    NeuronState,
    PassiveNeuron,
    SpikingNeuron,
    fusable,
    time_constant,
)
from alade_brian.spec import NeuronEquations

__all__ = ["IF", "LI", "LIF", "I", "Neuron", "PassiveNeuron", "SpikingNeuron", "time_constant"]


class _Leaky(LeakyMembrane[NeuronState]):
    """``v[t] = decay * v'[t-1] + gain * x[t]``, with the gain ``1 - decay`` (`scale_input`) or 1."""

    state = NeuronState

    def flow(self, state: NeuronState) -> NeuronState:
        return replace(state, v=self.decay * state.v)

    def receive(self, state: NeuronState, current: Tensor) -> NeuronState:
        return replace(state, v=state.v + self._taken(current))

    def equations(self) -> NeuronEquations:
        line, takes, update = self._driven()
        parameters = {"tau": self._tau("decay"), **self._gain()}
        return self._conventions(f"dv/dt = -v/tau : 1{line}", parameters, input=takes, update=update)


class _Perfect(Neuron[NeuronState]):
    """``v[t] = v'[t-1] + x[t]``."""

    state = NeuronState

    def flow(self, state: NeuronState) -> NeuronState:
        return state

    def receive(self, state: NeuronState, current: Tensor) -> NeuronState:
        return replace(state, v=state.v + current)

    def equations(self) -> NeuronEquations:
        return self._conventions("v : 1", {})


class LIF(_Leaky, SpikingNeuron[NeuronState]):
    """Leaky integrate-and-fire: ``v[t] = decay * v'[t-1] + x[t]``, with ``tau = -1 / ln(decay)`` steps.

    ALADE-SNN's neuron is the default: decay 0.5, strict threshold 1, reset to zero, leak after the reset.

    decay         between 0 and 1: one number, one per channel ``(C, 1, 1)`` or one per neuron; an nn.Parameter is
                  learned. A tensor may hold 0 (no memory) and 1 (no leak) as well. With ``method="euler"`` the time
                  constant is ``1 / (1 - decay)`` steps
    scale_input   whether the input is multiplied by ``1 - decay``
    conventions   see `SpikingNeuron` and `Neuron`
    """

    def __init__(
        self, steps: int, decay: Constant = 0.5, *, scale_input: bool = False, **conventions: Unpack[Conventions]
    ) -> None:
        super().__init__(steps, **conventions)
        self._set_leak(decay, scale_input)

    def fusable(self) -> LeakyConstants | None:
        gain = 1 - self.decay if self.scale_input else 1.0
        return fusable(self, self.decay, gain) if type(self) is LIF else None


class LI(_Leaky, PassiveNeuron[NeuronState]):
    """Leaky integrator, a `LIF` that never spikes and passes its membrane on; often the last layer."""

    def __init__(
        self, steps: int, decay: Constant = 0.5, *, scale_input: bool = False, **dynamics: Unpack[Dynamics]
    ) -> None:
        super().__init__(steps, **dynamics)
        self._set_leak(decay, scale_input)


class IF(_Perfect, SpikingNeuron[NeuronState]):
    """Integrate-and-fire without a leak: ``v[t] = v'[t-1] + x[t]``."""

    def fusable(self) -> LeakyConstants | None:
        return fusable(self, 1.0, 1.0) if type(self) is IF else None


class I(_Perfect, PassiveNeuron[NeuronState]):  # noqa: E742 - NIR's name for it
    """Integrator without a leak that never spikes: it passes the sum of its input on."""
