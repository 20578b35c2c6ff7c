"""Map populations to NEST's delta-synapse neurons, or explain why none fits.

What `iaf_psc_delta` does in a step, with the potentials in mV, a step of 1 ms and ``E_L = 0``:

    V_m = exp(-1 / tau_m) * V_m + jumps;  if V_m >= V_th: spike, V_m = V_reset  (at once, with t_ref = 0)

`eprop_iaf` does the same, but ``V_m -= V_th``. NEST 3.10 was seen to do so (tests/test_nest.py). docs/nest.md
says what each convention of a `NeuronEquations` becomes.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

from alade_brian.errors import UserError
from alade_brian.spec import NeuronEquations, Population

# A threshold that no membrane reaches; infinity times zero would be no number.
NEVER = sys.float_info.max
# Time constants, in steps, whose exp(-1/tau) is 1, no leak, and 0, no memory.
NO_LEAK, NO_MEMORY = 1e300, 1e-300
_GAIN = "v += gain*drive\ndrive = 0"
_MODELS = {
    ("dv/dt = -v/tau : 1", ""): (True, False),
    ("dv/dt = -v/tau : 1\ndrive : 1", _GAIN): (True, True),
    ("v : 1", ""): (False, False),
    ("v : 1\ndrive : 1", _GAIN): (False, True),
}


@dataclass(frozen=True, eq=False)
class NestNeurons:
    """One population. All arrays are float64 ``(neurons,)``.

    model        ``iaf_psc_delta`` or, for a reset by subtraction, ``eprop_iaf``
    decay        what a step leaves of the membrane
    gain         what all input is multiplied with: NEST's weights hold it
    v_initial    the membrane before the first step
    tau_m        NEST's time constant in ms (steps), with ``exp(-1 / tau_m)`` equal to `decay` to the last bit where
                 there is such a number
    v_threshold  NEST's `V_th`, which a membrane passes by reaching it: of a strict comparison the next larger number
    v_reset      where a spike leaves the membrane; of `eprop_iaf` what it takes away
    """

    model: str
    decay: np.ndarray
    gain: np.ndarray
    v_initial: np.ndarray
    tau_m: np.ndarray
    v_threshold: np.ndarray
    v_reset: np.ndarray

    @property
    def subtracts(self) -> bool:
        return self.model == "eprop_iaf"

    def parameters(self) -> dict[str, np.ndarray]:
        """What NEST's `Create` takes, besides the constants that all neurons share; `V_m` is `v_initial`."""
        own = {} if self.subtracts else {"V_reset": self.v_reset}
        return {"tau_m": self.tau_m, "V_th": self.v_threshold, "V_m": self.v_initial, **own}


def nest_neurons(population: Population, dt: float) -> NestNeurons:
    """The population as NEST's neurons; `dt` in seconds. UserError where NEST has none that do exactly the same."""
    neuron = population.neuron
    leaks, scaled = _known_model(population)

    def values(name: str, default: float) -> np.ndarray:
        parameter = neuron.parameters.get(name)
        return np.broadcast_to(default if parameter is None else parameter.value, population.shape).ravel()

    decay, tau_m = _leak(population, dt) if leaks else (np.ones(1), np.full(1, NO_LEAK))
    threshold, reset = np.full(population.size, NEVER), np.zeros(population.size)
    if neuron.spiking:
        threshold, reset = values("v_threshold", 0.0), values("v_reset", 0.0)
        _check_reset(population, threshold, reset)
    return NestNeurons(
        model="eprop_iaf" if neuron.spiking and neuron.reset == "subtract" else "iaf_psc_delta",
        decay=np.broadcast_to(decay, population.size),
        gain=values("gain", 1.0) if scaled else np.ones(population.size),
        v_initial=values("v_initial", 0.0),
        tau_m=np.broadcast_to(tau_m, population.size),
        v_threshold=np.nextafter(threshold, np.inf) if neuron.spiking and neuron.comparison == ">" else threshold,
        v_reset=reset,
    )


def refusal(population: Population, reason: str) -> UserError:
    """The sentence that NEST cannot simulate a population."""
    return UserError(f"NEST cannot simulate the population '{population.name}' exactly: {reason}")


def _known_model(population: Population) -> tuple[bool, bool]:
    """Whether the membrane leaks, and whether a gain multiplies its input."""
    neuron = population.neuron
    known = _MODELS.get((neuron.model, neuron.update))
    expected_input = "drive" if neuron.update else "v"
    if known is None or (neuron.membrane, neuron.input_variable) != ("v", expected_input):
        model, update = (" and ".join(text.splitlines()) for text in (neuron.model, neuron.update))
        raise refusal(
            population,
            f"its equations '{model}'{f' with {update!r}' if update else ''} are not those of one membrane that leaks "
            "to 0 or not at all and jumps by its input",
        )
    if neuron.spiking and neuron.threshold != "v_threshold":
        raise refusal(population, f"its threshold '{neuron.threshold}' is no constant")
    if neuron.on_spike:
        raise refusal(population, f"'{neuron.on_spike}' is done on a spike, and there is nothing beside the reset")
    return known


def _leak(population: Population, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Decay in a step and NEST's time constant, flat arrays of one or of all neurons."""
    parameter = population.neuron.parameters["tau"]
    whole = parameter.value if parameter.shared else np.broadcast_to(parameter.value, population.shape)
    tau, place = np.unique(whole.ravel(), return_inverse=True)
    if population.neuron.method == "euler":
        if np.any(tau <= 1):
            raise refusal(population, f"forward Euler with a time constant of {tau.min():g} steps leaves no decay")
        decay = 1 - 1 / tau
    else:
        # Seconds, as Brian2 divides them: the quotient may differ in the last bit from that of the steps.
        decay = np.array([math.exp(-dt / (t * dt)) for t in tau])
    return decay[place], np.array([_time_constant(float(d)) for d in decay])[place]


def _time_constant(decay: float) -> float:
    """The number near ``-1 / ln(decay)`` whose ``exp(-1 / tau)`` comes closest to the decay."""
    if decay in (0, 1):
        return NO_LEAK if decay else NO_MEMORY
    tau = -1 / math.log(decay)
    near = [tau]
    for toward in (0.0, math.inf):
        for _ in range(4):
            near.append(math.nextafter(near[-1], toward))
        near.append(tau)
    return min(near, key=lambda t: (abs(math.exp(-1 / t) - decay), abs(t - tau)))


def _check_reset(population: Population, threshold: np.ndarray, reset: np.ndarray) -> None:
    neuron: NeuronEquations = population.neuron
    if neuron.reset == "none":
        raise refusal(population, "it has no reset, and every one of NEST's neurons has")
    if neuron.leak == "before_reset" and (neuron.reset == "subtract" or np.any(reset)):
        raise refusal(population, "its reset is delayed until after the next leak; NEST resets at once")
    if neuron.reset == "subtract":
        if not np.array_equal(threshold, reset):
            raise refusal(population, "its reset subtracts another number than the threshold; eprop_iaf subtracts V_th")
        if neuron.comparison == ">":
            raise refusal(
                population,
                "its reset by subtraction goes with a strict threshold '>'; eprop_iaf fires at '>=' and subtracts the "
                "very number that it compares with",
            )
    elif np.any(reset >= (np.nextafter(threshold, np.inf) if neuron.comparison == ">" else threshold)):
        raise refusal(population, "its reset does not lie below the threshold, which NEST demands")
