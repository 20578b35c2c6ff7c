"""Neurons that fire at most once, and say all by when: an encoder of intensities, and one whose input makes ramps.

Source: Zhang, Wang, Wu, Belatreche, Amornpaisannon, Zhang, Miriyala, Qu, Chua, Carlson, Li, "Rectified linear
postsynaptic potential function for backpropagation in deep spiking neural networks", TNNLS 2022 (arXiv 2003.11837).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from alade_brian.models.neurons.neuron import NeuronState, SpikingNeuron
from alade_brian.spec import NeuronEquations, constant

# In units of an intensity. Pixels of 8 bits are 4e-3 apart, and float32 is 1e-7 from them: an intensity whose time is
# that of a step exactly fires in this step, whichever way its last bit was rounded.
TOLERANCE = 1e-6
# When what never fires does: finite, so that differences of times are, and far behind any presentation.
NEVER = 1e6
# Seconds of a window of latencies: what a window of so many steps makes of a step. This project's choice.
WINDOW_SECONDS = 10e-3


@dataclass(frozen=True)
class OnceState(NeuronState):
    """A membrane, and whether (1 or 0) the neuron has fired."""

    spent: Tensor


@dataclass(frozen=True)
class EncoderState(OnceState):
    """Of an encoder: also the part of the window that has passed."""

    clock: Tensor


@dataclass(frozen=True)
class RampState(OnceState):
    """Of a neuron with ramps: also the sum of the weights of all spikes that have arrived."""

    slope: Tensor


def check_window(window: float) -> int:
    """A number of steps; ValueError where it is not whole, or below 1."""
    if isinstance(window, bool) or window != int(window) or window < 1:
        raise ValueError(f"a window of {window} steps: use a whole number of steps, at least 1")
    return int(window)


class LatencyEncoder(SpikingNeuron[EncoderState]):
    """Latency coding: an intensity x, held as a current, fires once, in the first step at or after
    ``(1 - x) * window``; an intensity of 0 never does.

    window       steps in which all intensities fire
    conventions  see `SpikingNeuron`; the membrane is ``x + steps / window``
    """

    state = EncoderState

    def __init__(self, steps: int, window: float = 8, **conventions: Any) -> None:
        given: dict[str, Any] = {"threshold": 1 - TOLERANCE, "comparison": ">="}
        super().__init__(steps, **(given | conventions))
        self.window = check_window(window)

    def flow(self, state: EncoderState) -> EncoderState:
        return state

    def receive(self, state: EncoderState, current: Tensor) -> EncoderState:
        v = (state.clock + current) * (current > TOLERANCE) * (1 - state.spent)
        return replace(state, v=v, clock=state.clock + 1 / self.window)

    def after_spike(self, state: EncoderState, spikes: Tensor) -> EncoderState:
        return replace(state, spent=state.spent + spikes)

    def equations(self) -> NeuronEquations:
        return self._conventions(
            "v : 1\nclock : 1\nspent : 1\ndrive : 1",
            {"least": constant(TOLERANCE), "rate": constant(1 / self.window)},
            input="drive",
            update="v = (clock + drive)*int(drive > least)*(1 - spent)\nclock += rate\ndrive = 0",
            on_spike="spent += 1",
        )


class RelPspIF(SpikingNeuron[RampState]):
    """Integrate-and-fire with rectified linear postsynaptic potentials: the membrane is ``sum_i w_i * max(t - t_i, 0)``
    over the spikes that arrived at the times t_i, and the neuron fires once, where it reaches the threshold.

    So the membrane rises with a slope that is the sum of the weights of all spikes so far. A step of forward Euler is
    exact, since the slope is constant within it; and as spikes arrive at steps alone, the neuron fires in the first
    step at or after the time of the closed form (`alade_brian.learning.rules.relpsp`).

    window       steps in a unit of time
    conventions  see `SpikingNeuron`; behind its spike the membrane is 0, whatever the reset
    """

    state = RampState

    def __init__(self, steps: int, window: float = 1, **conventions: Any) -> None:
        given: dict[str, Any] = {"comparison": ">="}
        super().__init__(steps, **(given | conventions))
        self.window = check_window(window)

    def flow(self, state: RampState) -> RampState:
        return replace(state, v=state.v + state.slope / self.window)

    def receive(self, state: RampState, current: Tensor) -> RampState:
        return replace(state, v=(1 - state.spent) * state.v, slope=state.slope + current)

    def after_spike(self, state: RampState, spikes: Tensor) -> RampState:
        return replace(state, spent=state.spent + spikes)

    def equations(self) -> NeuronEquations:
        found = self._conventions(
            "dv/dt = slope/unit_time : 1\nslope : 1\nspent : 1",
            {"unit_time": constant(self.window, "step")},
            input="slope",
            update="v = (1 - spent)*v",
            on_spike="spent += 1",
        )
        return replace(found, method="euler")
