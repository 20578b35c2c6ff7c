"""Neurons whose spikes carry their threshold: what fires sends it on and loses it, so that sums of spikes are sums of
current. Differentiation on spike representation trains such neurons by what they send on average.

Source: Meng, Xiao, Yan, Wang, Lin, Luo, CVPR 2022 (arXiv 2205.00459).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from alade_brian.models.neurons.leaky import _Leaky, _Perfect
from alade_brian.models.neurons.neuron import (
    Constant,
    NeuronState,
    SpikingNeuron,
    numbers,
)
from alade_brian.spec import NeuronEquations, Parameter, constant

Pass = Literal["spikes", "measure", "represent"]


class QuantalNeuron(SpikingNeuron[NeuronState]):
    """Fires where the membrane reaches ``fraction * threshold``, loses `threshold`, and sends `threshold`.

    fraction    of the threshold at which it fires; half of it halves the largest error of what is sent on average
    learned     whether the threshold is learned
    v_reset, amplitude   what firing subtracts and sends, where it is not the threshold

    A layer is in one of three passes, see `alade_brian.learning.rules.dsr`: ``spikes``, as every neuron; ``measure``,
    the same, and the weighted mean of what was sent is kept in `mean_output`; ``represent``, where a mean current
    ``(images, ...)`` becomes `mean_output`, with the gradient of `representation`.
    """

    def __init__(
        self,
        steps: int,
        *,
        fraction: float = 0.5,
        threshold: Constant = 1.0,
        learned: bool = False,
        v_reset: Constant | None = None,
        amplitude: Constant | None = None,
        **conventions: Any,
    ) -> None:
        conventions = {"reset": "subtract", "comparison": ">="} | conventions
        if learned and not isinstance(threshold, nn.Parameter):
            threshold = nn.Parameter(torch.as_tensor(float(threshold)))
        super().__init__(
            steps,
            threshold=threshold,
            v_reset=0.0 if v_reset is None else v_reset,
            amplitude=1.0 if amplitude is None else amplitude,
            **conventions,
        )
        if not 0 < fraction <= 1:
            raise ValueError(f"a fraction of {fraction}: use a number above 0, at most 1")
        self.fraction = fraction
        self.loses_threshold, self.sends_threshold = v_reset is None, amplitude is None
        self.pass_: Pass = "spikes"
        self.mean_output: Tensor | None = None

    @property
    def gain(self) -> Constant:
        """Mean output per mean current of a neuron that is between silence and firing in every step."""
        return 1.0

    @property
    def unit(self) -> float:
        """What a spike counts in thresholds."""
        return 1.0

    def weights(self) -> Tensor:
        """What each step counts in the means, ``(steps, ...)`` as constants are broadcast; they add up to 1."""
        return torch.full((self.steps,), 1 / self.steps)

    def weighted_mean(self, values: Tensor) -> Tensor:
        """The mean over the steps, ``(steps * images, ...)`` -> ``(images, ...)``."""
        by_step = values.reshape(self.steps, -1, *values.shape[1:])
        weights = self.weights().to(values)
        broadcast = (1,) * (by_step.ndim - weights.ndim)
        return (weights.reshape(self.steps, *broadcast, *weights.shape[1:]) * by_step).sum(0)

    def representation(self, mean_current: Tensor) -> Tensor:
        """What the neuron sends on average of a mean current, if time never ends: the current, cut off at 0 and at a
        spike in every step."""
        most, wanted = self.threshold * self.unit, self.gain * mean_current
        return torch.where(wanted > most, most, wanted.clamp(min=0))

    def forward(self, current: Tensor) -> Tensor:
        if self.pass_ == "represent":
            assert self.mean_output is not None, "a representation needs what was measured"
            expected = self.representation(current)
            return expected + (self.mean_output - expected).detach()
        sent = super().forward(current)
        if self.pass_ == "measure":
            self.mean_output = self.weighted_mean(sent)
        return sent

    def _quantum(self) -> Constant:
        # In float64, so that a fraction of it is the same number wherever it is computed.
        return self.threshold.double() if isinstance(self.threshold, Tensor) else self.threshold

    def effective_threshold(self, state: NeuronState) -> Constant:
        return _as(self.fraction * self._quantum(), state.v)

    def _reset(self, state: NeuronState, spikes: Tensor) -> NeuronState:
        if self.loses_threshold and self.reset == "subtract":
            return replace(state, v=state.v - self.threshold * spikes)
        return super()._reset(state, spikes)

    def output(self, spikes: Tensor) -> Tensor:
        return spikes * _as(self._sent(), spikes) if self.sends_threshold else super().output(spikes)

    def _sent(self) -> Constant:
        return self._quantum() * self.unit

    def _conventions(self, model: str, parameters: Mapping[str, Parameter], **further: Any) -> NeuronEquations:
        found = super()._conventions(model, parameters, **further)
        own = {"v_threshold": constant(numbers(self.fraction * self._quantum()))}
        if self.loses_threshold and self.reset == "subtract":
            own["v_reset"] = constant(numbers(self.threshold))
        if self.sends_threshold:
            own["amplitude"] = constant(numbers(self._sent()))
        return replace(found, parameters={**found.parameters, **own})


def _as(value: Constant, like: Tensor) -> Constant:
    """A constant in the numbers of what it meets: one per channel in float64 would turn all that it meets into that."""
    return value.to(like.dtype) if isinstance(value, Tensor) else value


class QuantalIF(_Perfect, QuantalNeuron):
    """`IF` whose spikes carry the threshold; what it sends on average is ``clip(mean current, 0, threshold)``."""


class QuantalLIF(_Leaky, QuantalNeuron):
    """`LIF` with scaled input whose spikes carry ``threshold / dt``.

    With ``decay = exp(-dt / tau)`` and means that weigh a step by ``decay ** (steps left)``, what it sends on average
    is ``clip(gain * mean current, 0, threshold / dt)``, where the gain ``(1 - decay) / dt`` is about ``1 / tau``.

    dt   length of a step, in the unit of tau
    """

    def __init__(
        self, steps: int, decay: Constant = 0.95, *, dt: float = 0.05, scale_input: bool = True, **conventions: Any
    ) -> None:
        super().__init__(steps, **conventions)
        if dt <= 0:
            raise ValueError(f"a dt of {dt}: use a positive number")
        self._set_leak(decay, scale_input)
        self.dt = dt

    @property
    def unit(self) -> float:
        return 1 / self.dt

    @property
    def gain(self) -> Constant:
        return (1 - self.decay if self.scale_input else 1.0) / self.dt

    def weights(self) -> Tensor:
        decay = torch.as_tensor(self.decay)
        left = torch.arange(self.steps - 1, -1, -1, device=decay.device).reshape(-1, *(1,) * decay.ndim)
        powers = decay**left
        return powers / powers.sum(0)
