"""Spiking neurons, each with two faces: a discrete step in torch, and the differential equation it is a step of.

A test runs both faces of every class named by `neuron_classes` against each other, spike by spike.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from alade_brian.conversion.spec import NeuronEquations, Parameter, constant
from alade_brian.models.surrogate import triangle_spike

Comparison = Literal[">", ">="]
Reset = Literal["value", "subtract", "none"]
Leak = Literal["after_reset", "before_reset"]


class SpikingNeuron(nn.Module):
    """A layer of neurons over `steps` time steps, starting at rest (membrane 0) in every call.

    In step t the membrane is ``u[t] = carry(u[t-1], s[t-1]) + x[t]`` and ``s[t] = 1`` where ``u[t]`` passes the
    threshold. A subclass says in `leaked` what one step leaves of a membrane, and in `equations` what differential
    equation that is.

    comparison   ``>`` (strict) or ``>=``
    reset        ``value``: to v_reset; ``subtract``: by v_reset; ``none``
    leak         ``after_reset``: ``carry = leak(reset(u))``; ``before_reset``: ``carry = reset(leak(u))``
    """

    def __init__(
        self,
        steps: int,
        threshold: float = 1.0,
        v_reset: float = 0.0,
        comparison: Comparison = ">",
        reset: Reset = "value",
        leak: Leak = "after_reset",
    ) -> None:
        super().__init__()
        self.steps, self.threshold, self.v_reset = steps, threshold, v_reset
        self.comparison, self.reset, self.leak = comparison, reset, leak

    def leaked(self, membrane: Tensor) -> Tensor:
        """What is left of a membrane after one step without input; same shape."""
        raise NotImplementedError

    def equations(self) -> NeuronEquations:
        """The second face: the same neuron as Brian2 equations with its conventions."""
        raise NotImplementedError

    def _reset(self, membrane: Tensor, spikes: Tensor) -> Tensor:
        # The gradient flows through the reset, as in ALADE-SNN.
        if self.reset == "value":
            kept = (1 - spikes) * membrane
            return kept + self.v_reset * spikes if self.v_reset else kept
        return membrane - self.v_reset * spikes if self.reset == "subtract" else membrane

    def _carry(self, membrane: Tensor, spikes: Tensor) -> Tensor:
        if self.leak == "after_reset":
            return self.leaked(self._reset(membrane, spikes))
        return self._reset(self.leaked(membrane), spikes)

    def trace(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes and membranes (before the reset), both of the shape of `current`, ``(steps * images, ...)``."""
        spikes: list[Tensor] = []
        membranes: list[Tensor] = []
        for x in current.reshape(self.steps, -1, *current.shape[1:]).unbind(0):
            membrane = self._carry(membranes[-1], spikes[-1]) + x if membranes else x
            membranes.append(membrane)
            spikes.append(triangle_spike(membrane - self.threshold, self.comparison == ">="))
        return torch.cat(spikes), torch.cat(membranes)

    def forward(self, current: Tensor) -> Tensor:
        """Spikes (0 or 1), same shape as the current ``(steps * images, ...)``."""
        return self.trace(current)[0]

    def _conventions(self, model: str, **parameters: Parameter) -> NeuronEquations:
        constants = {"v_threshold": constant(self.threshold), "v_reset": constant(self.v_reset)}
        return NeuronEquations(
            model, constants | parameters, comparison=self.comparison, reset=self.reset, leak=self.leak
        )

    def extra_repr(self) -> str:
        return (
            f"steps={self.steps}, threshold={self.threshold}, {self.comparison}, reset={self.reset}, leak={self.leak}"
        )


class LIF(SpikingNeuron):
    """Leaky integrate-and-fire: ``u[t] = decay * u'[t-1] + x[t]``, with ``tau = -1 / ln(decay)`` steps.

    ALADE-SNN's neuron is the default: decay 0.5, strict threshold 1, reset to zero, leak after the reset.
    """

    def __init__(self, steps: int, decay: float = 0.5, **conventions) -> None:  # type: ignore[no-untyped-def]
        super().__init__(steps, **conventions)
        if not 0 < decay < 1:
            raise ValueError(f"a decay of {decay}: use a number between 0 and 1, or the IF neuron")
        self.decay = decay

    def leaked(self, membrane: Tensor) -> Tensor:
        return self.decay * membrane

    def equations(self) -> NeuronEquations:
        return self._conventions("dv/dt = -v/tau : 1", tau=constant(time_constant(self.decay), "step"))

    def extra_repr(self) -> str:
        return f"decay={self.decay}, {super().extra_repr()}"


class IF(SpikingNeuron):
    """Integrate-and-fire without a leak: ``u[t] = u'[t-1] + x[t]``."""

    def leaked(self, membrane: Tensor) -> Tensor:
        return membrane

    def equations(self) -> NeuronEquations:
        return self._conventions("v : 1")


def neuron_classes() -> tuple[type[SpikingNeuron], ...]:
    """All neuron classes that exist, in the order in which they were defined."""
    return tuple(SpikingNeuron.__subclasses__())


def time_constant(decay: float) -> float:
    """Membrane time constant in steps: ``-1/ln(decay)``.

    Of the neighbouring floating-point numbers the one is taken whose ``exp(-1/tau)`` comes closest to the decay; for
    0.5 and 0.25 it gives the decay back to the last bit, so that dyadic networks stay free of rounding.
    """
    tau = -1 / math.log(decay)
    candidates = [tau]
    for toward in (0.0, math.inf):
        neighbour = tau
        for _ in range(4):
            neighbour = math.nextafter(neighbour, toward)
            candidates.append(neighbour)
    return min(candidates, key=lambda c: (abs(math.exp(-1 / c) - decay), abs(c - tau)))
