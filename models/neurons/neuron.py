"""What all neurons share: state over time, the conventions of a spike, and constants that may be learned.

A neuron has two faces: a discrete step in torch (`Neuron.flow`, `Neuron.receive`), and the differential equation it is
a step of (`Neuron.equations`).
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Generic, Literal, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.models.kernels.multistep import LeakyConstants, spikes_of
from alade_brian.models.neurons.surrogate import Surrogate, Triangle
from alade_brian.spec import NeuronEquations, Parameter, constant

log = logging.getLogger(__name__)

Comparison = Literal[">", ">="]
Reset = Literal["value", "subtract", "none"]
Leak = Literal["after_reset", "before_reset"]
Method = Literal["exact", "euler"]

# A number for all neurons, or a tensor that is broadcast to the layer's shape; an nn.Parameter is learned.
Constant = float | Tensor
Feedback = Callable[[Tensor], Tensor]


class Dynamics(TypedDict, total=False):
    """Keywords that every neuron takes, see `Neuron`."""

    v_initial: Constant
    method: Method


class Conventions(Dynamics, total=False):
    """Keywords that every spiking neuron takes, see `SpikingNeuron`."""

    threshold: Constant
    v_reset: Constant
    comparison: Comparison
    reset: Reset
    leak: Leak
    amplitude: Constant
    surrogate: Surrogate


@dataclass(frozen=True)
class NeuronState:
    """The variables of a layer of neurons, each ``(images, ...)``; the membrane is the first."""

    v: Tensor


S = TypeVar("S", bound=NeuronState)


class Neuron(nn.Module, ABC, Generic[S]):
    """A layer of neurons over `steps` time steps, beginning anew in every call.

    In a time step the state flows (`flow`), then the step's input arrives (`receive`). A subclass says both, and the
    equations they are a step of.

    v_initial   the membrane before the first step; all other state begins at 0
    method      how the equations are stepped: ``exact``, a decay is ``exp(-1/tau)``; ``euler``, it is ``1 - 1/tau``
    """

    state: type[S]
    spiking: bool

    def __init__(self, steps: int, *, v_initial: Constant = 0.0, method: Method = "exact") -> None:
        super().__init__()
        self.steps, self.method = steps, method
        self.v_initial: Constant
        self._register("v_initial", v_initial)

    @abstractmethod
    def flow(self, state: S) -> S:
        """What one step without input makes of the state."""

    @abstractmethod
    def receive(self, state: S, current: Tensor) -> S:
        """The state after the step's input ``(images, ...)`` has arrived, as the threshold test sees it."""

    @abstractmethod
    def equations(self) -> NeuronEquations:
        """The second face: the same neuron as Brian2 equations with its conventions."""

    @abstractmethod
    def trace(self, current: Tensor, feedback: Feedback | None = None) -> tuple[Tensor, Tensor]:
        """Spikes (0 or 1; of a neuron that never spikes its output) and membranes before the reset.

        current    ``(steps * images, ...)``; both results have this shape
        feedback   what a layer's output of one step adds to its input of the next; before the first step all are zero
        """

    @abstractmethod
    def _conventions(
        self, model: str, parameters: Mapping[str, Parameter], *, input: str = "", update: str = ""
    ) -> NeuronEquations:
        """Equations with the constants and conventions that the neuron has beside its model."""

    def forward(self, current: Tensor) -> Tensor:
        """What is sent to other layers, same shape as the current ``(steps * images, ...)``."""
        return self.output(self.trace(current)[0])

    def output(self, spikes: Tensor) -> Tensor:
        """What other layers receive of the spikes (of a neuron that never spikes, of its output); same shape."""
        return spikes

    def begin(self, like: Tensor) -> S:
        """The state before the first step."""
        values = {field.name: torch.zeros_like(like) for field in fields(self.state)}
        return self.state(**values | {"v": torch.zeros_like(like) + self.v_initial})

    def _register(self, name: str, value: Constant) -> None:
        """Keep a constant: learned if it is a parameter, saved with the model if it is a tensor."""
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value if isinstance(value, Tensor) else float(value))

    def _register_decay(self, name: str, value: Constant) -> None:
        self._register(name, value)
        check_decay(name, value)

    def _tau(self, name: str) -> Parameter:
        """The time constant of the decay of that name, in steps."""
        decay = check_decay(name, getattr(self, name))
        if self.method == "euler":
            leaky = np.where(decay == 1, 0.0, decay)
            return constant(np.where(decay == 1, ENDLESS, 1 / (1 - leaky)), "step")
        return constant(np.reshape([time_constant(float(d)) for d in decay.ravel()], decay.shape), "step")

    def _common_parameters(self) -> dict[str, Parameter]:
        return {"v_initial": constant(numbers(self.v_initial))} if _differs_from(self.v_initial, 0.0) else {}

    def extra_repr(self) -> str:
        """The constants and conventions that are not PyTorch's own."""
        plain = {k: v for k, v in vars(self).items() if not k.startswith("_") and k != "training"}
        return ", ".join(f"{key}={value}" for key, value in plain.items())


class SpikingNeuron(Neuron[S]):
    """A neuron that fires where its membrane passes the threshold: ``s[t] = 1`` where ``v[t]`` passes it.

    threshold    compared with the membrane after the step's input
    comparison   ``>`` (strict) or ``>=``
    reset        ``value``: to v_reset; ``subtract``: by v_reset; ``none``
    leak         ``after_reset``: the reset acts at once and the next step's flow on what it left; ``before_reset``: the
                 reset is delayed until the next step, after its flow
    amplitude    what a spike counts for other layers
    surrogate    the gradient of a spike in training
    """

    spiking = True

    def __init__(
        self,
        steps: int,
        *,
        threshold: Constant = 1.0,
        v_reset: Constant = 0.0,
        comparison: Comparison = ">",
        reset: Reset = "value",
        leak: Leak = "after_reset",
        amplitude: Constant = 1.0,
        surrogate: Surrogate = Triangle(),  # noqa: B008 - it is frozen
        v_initial: Constant = 0.0,
        method: Method = "exact",
    ) -> None:
        super().__init__(steps, v_initial=v_initial, method=method)
        self.threshold: Constant
        self.v_reset: Constant
        self.amplitude: Constant
        self._register("threshold", threshold)
        self._register("v_reset", v_reset)
        self._register("amplitude", amplitude)
        self.comparison, self.reset, self.leak = comparison, reset, leak
        self.surrogate = surrogate

    def effective_threshold(self, state: S) -> Constant:
        """What the membrane must pass; same shape as the membrane, or a constant."""
        return self.threshold

    def after_spike(self, state: S, spikes: Tensor) -> S:
        """What firing does at once, beside the reset."""
        return state

    def _reset(self, state: S, spikes: Tensor) -> S:
        # The gradient flows through the reset, as in ALADE-SNN.
        if self.reset == "value":
            kept = (1 - spikes) * state.v
            return replace(state, v=kept + self.v_reset * spikes if _differs_from(self.v_reset, 0.0) else kept)
        return replace(state, v=state.v - self.v_reset * spikes) if self.reset == "subtract" else state

    def _carry(self, state: S, spikes: Tensor) -> S:
        if self.leak == "after_reset":
            return self.flow(self._reset(state, spikes))
        return self._reset(self.flow(state), spikes)

    def trace(self, current: Tensor, feedback: Feedback | None = None) -> tuple[Tensor, Tensor]:
        spikes: list[Tensor] = []
        membranes: list[Tensor] = []
        state, last = None, torch.zeros(())
        for x in current.reshape(self.steps, -1, *current.shape[1:]).unbind(0):
            if state is None:
                last = torch.zeros_like(x)
                state = self.flow(self.begin(x))
            else:
                state = self._carry(state, last)
            state = self.receive(state, x if feedback is None else x + feedback(self.output(last)))
            last = self.surrogate.spike(state.v - self.effective_threshold(state), self.comparison == ">=")
            membranes.append(state.v)
            spikes.append(last)
            state = self.after_spike(state, last)
        return torch.cat(spikes), torch.cat(membranes)

    def fusable(self) -> LeakyConstants | None:
        """The neuron's constants if the fused kernel of `multistep` covers it; otherwise None, and `trace` loops."""
        return None

    @property
    def fused(self) -> bool:
        """Whether the kernel computes all steps at once; otherwise `trace` loops, in training as well."""
        return self.fusable() is not None

    def forward(self, current: Tensor) -> Tensor:
        # The reference run (float64, no gradient) always uses the plain loop, never the fused kernel.
        reference = current.dtype == torch.float64 and not torch.is_grad_enabled()
        constants = None if reference or torch.compiler.is_compiling() else self.fusable()
        if constants is None or not current.numel() or len(current) % self.steps:
            return super().forward(current)
        return self.output(spikes_of(current, constants))

    def output(self, spikes: Tensor) -> Tensor:
        """Spikes times their amplitude."""
        return spikes * self.amplitude if _differs_from(self.amplitude, 1.0) else spikes

    def _conventions(
        self,
        model: str,
        parameters: Mapping[str, Parameter],
        *,
        input: str = "",
        update: str = "",
        threshold: str = "v_threshold",
        on_spike: str = "",
    ) -> NeuronEquations:
        constants = {"v_threshold": constant(numbers(self.threshold)), "v_reset": constant(numbers(self.v_reset))}
        if _differs_from(self.amplitude, 1.0):
            constants["amplitude"] = constant(numbers(self.amplitude))
        return NeuronEquations(
            model,
            constants | self._common_parameters() | dict(parameters),
            comparison=self.comparison,
            reset=self.reset,
            leak=self.leak,
            method=self.method,
            input=input,
            update=update,
            threshold=threshold,
            on_spike=on_spike,
        )


class PassiveNeuron(Neuron[S]):
    """A neuron that never spikes: it passes its membrane on."""

    spiking = False

    def trace(self, current: Tensor, feedback: Feedback | None = None) -> tuple[Tensor, Tensor]:
        membranes: list[Tensor] = []
        state = None
        for x in current.reshape(self.steps, -1, *current.shape[1:]).unbind(0):
            last = torch.zeros_like(x) if state is None else state.v
            state = self.flow(self.begin(x) if state is None else state)
            state = self.receive(state, x if feedback is None else x + feedback(last))
            membranes.append(state.v)
        return torch.cat(membranes), torch.cat(membranes)

    def _conventions(
        self, model: str, parameters: Mapping[str, Parameter], *, input: str = "", update: str = ""
    ) -> NeuronEquations:
        return NeuronEquations(
            model,
            self._common_parameters() | dict(parameters),
            spiking=False,
            reset="none",
            method=self.method,
            input=input,
            update=update,
        )


def numbers(value: Constant) -> np.ndarray:
    """A constant as a float64 array."""
    return value.detach().double().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)


def _differs_from(value: Constant, neutral: float) -> bool:
    """Whether a constant is anything but one neutral number. A tensor always is, since it may be learned."""
    return isinstance(value, Tensor) or value != neutral


def check_decay(name: str, value: Constant, *, bounds: bool = True) -> np.ndarray:
    """A decay's values (ValueError where one lies outside of 0 and 1).

    bounds   whether a tensor may hold 0 (a neuron without memory) and 1 (one without a leak) among its values: training
             may drive some neurons there. A plain number may not: there are neurons without a leak for that
    """
    decay = numbers(value)
    inside = (decay > 0) & (decay < 1)
    if bounds and isinstance(value, Tensor):
        inside |= (decay == 0) | (decay == 1)
    wrong = decay[~inside]
    if wrong.size:
        raise ValueError(
            f"a {name.replace('_', ' ')} of {wrong.flat[0]}: use a number between 0 and 1, or the neuron without a leak"
        )
    return decay


# Time constants, in steps, whose decay per step is 1 and 0 to the last bit, in either method of stepping for the first.
ENDLESS, MOMENTARY = 2.0**60, 2.0**-60


def time_constant(decay: float) -> float:
    """Time constant in steps: ``-1/ln(decay)``; of the decays 1 and 0 one that is so long, or so short, that
    ``exp(-1/tau)`` is that number exactly.

    Of the neighbouring floating-point numbers the one is taken whose ``exp(-1/tau)`` comes closest to the decay; for
    0.5 and 0.25 it gives the decay back to the last bit, so that dyadic networks stay free of rounding.
    """
    if decay in (0, 1):
        return ENDLESS if decay else MOMENTARY
    tau = -1 / math.log(decay)
    candidates = [tau]
    for toward in (0.0, math.inf):
        neighbour = tau
        for _ in range(4):
            neighbour = math.nextafter(neighbour, toward)
            candidates.append(neighbour)
    return min(candidates, key=lambda c: (abs(math.exp(-1 / c) - decay), abs(c - tau)))


@cache
def _log_loop(neuron: str, surrogate: Surrogate) -> None:
    """Once for each of them."""
    log.info(
        "%s with %s: the kernel knows the gradient Triangle alone, so time steps are looped over", neuron, surrogate
    )


def fusable(neuron: SpikingNeuron, decay: Constant, gain: Constant) -> LeakyConstants | None:
    """The neuron's constants; None where one is a tensor, or its reset or surrogate is one that only the loop knows."""
    if type(neuron.surrogate) is not Triangle:
        _log_loop(type(neuron).__name__, neuron.surrogate)
        return None
    threshold, v_reset, initial = neuron.threshold, neuron.v_reset, neuron.v_initial
    if isinstance(decay, Tensor) or isinstance(gain, Tensor) or isinstance(threshold, Tensor):
        return None
    if isinstance(v_reset, Tensor) or isinstance(initial, Tensor):
        return None
    to_zero = neuron.reset == "value" and v_reset == 0
    # A reset to zero is the same before and after the leak.
    if not to_zero and (neuron.reset == "value" or neuron.leak == "before_reset"):
        return None
    drop = v_reset if neuron.reset == "subtract" else 0.0
    return LeakyConstants(neuron.steps, decay, gain, threshold, drop, to_zero, neuron.comparison == ">=", initial)
