"""Neurons whose input passes a synapse with a time course: an exponential current, or an alpha function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from alade_brian.models.neurons.leak import LeakyMembrane
from alade_brian.models.neurons.neuron import (
    Constant,
    Conventions,
    Dynamics,
    NeuronState,
    PassiveNeuron,
    SpikingNeuron,
    check_decay,
    numbers,
)
from alade_brian.spec import NeuronEquations, constant

_MODEL = "dv/dt = -v/tau : 1\ndsyn/dt = -syn/tau_syn : 1"


@dataclass(frozen=True)
class SynapticState(NeuronState):
    """A membrane, and the synaptic current that charges it."""

    syn: Tensor


class _TwoDecays(LeakyMembrane[SynapticState]):
    """A membrane and a current, each with a decay of its own."""

    state = SynapticState
    syn_decay: Constant

    def _set(self, decay: Constant, syn_decay: Constant, scale_input: bool) -> None:
        self._set_leak(decay, scale_input)
        self._register_decay("syn_decay", syn_decay)

    def flow(self, state: SynapticState) -> SynapticState:
        return SynapticState(self.decay * state.v, self.syn_decay * state.syn)


class _Exponential(_TwoDecays):
    """``syn[t] = syn_decay * syn[t-1] + x[t]`` and ``v[t] = decay * v'[t-1] + gain * syn[t]``, with the gain
    ``1 - decay`` (`scale_input`) or 1: the membrane of a step sees the current of the same step."""

    def receive(self, state: SynapticState, current: Tensor) -> SynapticState:
        syn = state.syn + current
        return SynapticState(state.v + self._taken(syn), syn)

    def equations(self) -> NeuronEquations:
        parameters = {"tau": self._tau("decay"), "tau_syn": self._tau("syn_decay"), **self._gain()}
        return self._conventions(
            _MODEL, parameters, input="syn", update="v += gain*syn" if self.scale_input else "v += syn"
        )


class CubaLIF(_Exponential, SpikingNeuron[SynapticState]):
    """Current-based leaky integrate-and-fire: an exponential synaptic current charges a leaky membrane.

    decay, syn_decay   of membrane and current: numbers between 0 and 1, or tensors as of `LIF`
    scale_input        whether the membrane takes the current times ``1 - decay``
    conventions        see `SpikingNeuron` and `Neuron`; the reset acts on the membrane, the current persists
    """

    def __init__(
        self,
        steps: int,
        decay: Constant = 0.5,
        syn_decay: Constant = 0.25,
        *,
        scale_input: bool = False,
        **conventions: Unpack[Conventions],
    ) -> None:
        super().__init__(steps, **conventions)
        self._set(decay, syn_decay, scale_input)


class CubaLI(_Exponential, PassiveNeuron[SynapticState]):
    """A `CubaLIF` that never spikes and passes its membrane on."""

    def __init__(
        self,
        steps: int,
        decay: Constant = 0.5,
        syn_decay: Constant = 0.25,
        *,
        scale_input: bool = False,
        **dynamics: Unpack[Dynamics],
    ) -> None:
        super().__init__(steps, **dynamics)
        self._set(decay, syn_decay, scale_input)


class Synaptic(CubaLIF):
    """`CubaLIF` in snnTorch's words: ``syn = alpha*syn + x``, ``v = beta*v + syn``.

    Source: Eshraghian et al., Training spiking neural networks using lessons from deep learning (snnTorch's
    ``Synaptic``). The resets are those of this package.
    """

    def __init__(
        self, steps: int, alpha: Constant = 0.25, beta: Constant = 0.5, **conventions: Unpack[Conventions]
    ) -> None:
        super().__init__(steps, decay=beta, syn_decay=alpha, **conventions)


class Alpha(_TwoDecays, SpikingNeuron[SynapticState]):
    """A neuron whose response to one input is a difference of two exponentials:
    ``v[n] = a * (alpha**n - beta**n)`` with ``a = ln(beta) / (ln(beta) - ln(alpha))``; where alpha equals beta, an
    alpha function, ``-ln(beta) * n * beta**n``.

    It is what snnTorch's ``Alpha`` computes from an excitatory and an inhibitory current, written as a membrane with
    the decay alpha and a current with the decay beta, so that every reset acts on the membrane. (snnTorch resets the
    two currents instead.) The response begins one step after the input.

    alpha, beta   decays of membrane and current: numbers between 0 and 1, or tensors as of `LIF`
    scale_input   whether the gain is multiplied by ``1 - alpha``
    """

    def __init__(
        self,
        steps: int,
        alpha: Constant = 0.5,
        beta: Constant = 0.25,
        *,
        scale_input: bool = False,
        **conventions: Unpack[Conventions],
    ) -> None:
        super().__init__(steps, **conventions)
        for name, value in (("alpha", alpha), ("beta", beta)):
            check_decay(name, value, bounds=False)  # the gain has a logarithm of both
        self._set(alpha, beta, scale_input)

    def gain(self) -> Tensor:
        """What the membrane takes of a current that has decayed for one step."""
        alpha, beta = (
            x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64) for x in (self.decay, self.syn_decay)
        )
        same = alpha == beta
        # (alpha/beta - 1) / ln(alpha/beta) is 1 where the two are equal; 0/0 would have no gradient.
        apart = torch.where(same, torch.ones_like(beta), alpha.log() - beta.log())
        gain = -beta.log() / apart * torch.where(same, torch.ones_like(beta), alpha / beta - 1)
        return self._taken(gain)

    def receive(self, state: SynapticState, current: Tensor) -> SynapticState:
        return SynapticState(state.v + self.gain() * state.syn, state.syn + current)

    def equations(self) -> NeuronEquations:
        return self._conventions(
            f"{_MODEL}\ndrive : 1",
            {"tau": self._tau("decay"), "tau_syn": self._tau("syn_decay"), "gain": constant(numbers(self.gain()))},
            input="drive",
            update="v += gain*syn\nsyn += drive\ndrive = 0",
        )
