"""Simulated neurons against solutions on paper: firing rates, postsynaptic potentials, and the error of Euler's steps."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from networks import NUMPY

from alade_brian.simulation import simulate
from alade_brian.spec import (
    Dense,
    Identity,
    NetworkSpec,
    NeuronEquations,
    Parameter,
    Population,
    Projection,
    Readout,
    Stimulus,
    constant,
)

Method = Literal["exact", "euler"]
MILLISECOND = 1e-3
# A current that is held until the next step's input: what arrives in a step drives the membrane from then on.
HELD = "current : 1\ndrive : 1"


def times(tau: float, dt: float) -> Parameter:
    """A time constant in seconds as a parameter."""
    return constant(tau / dt, "step")


def firing(currents: np.ndarray, tau: float, dt: float, steps: int, **conventions: object) -> np.ndarray:
    """Spikes ``(steps, currents)`` of leaky neurons, one per constant current."""
    neuron = NeuronEquations(
        f"dv/dt = (-v + current)/tau : 1\n{HELD}",
        {"tau": times(tau, dt), "v_threshold": constant(1.0), "v_reset": constant(0.0)},
        input="drive",
        update="current = drive\ndrive = 0",
        **conventions,  # type: ignore[arg-type]
    )
    size = (len(currents),)
    spec = NetworkSpec(
        (Stimulus(size),),
        (Population("lif", size, neuron),),
        (Projection("image", "lif", Identity()),),
        Readout("lif", "spike_count"),
        steps,
        dt,
    )
    return simulate(spec, currents[None], NUMPY).spikes["lif"][0]


def test_firing_rate_follows_the_closed_form_of_the_current() -> None:
    """Without refractoriness: interval = tau ln(i / (i - 1)) from reset 0 to threshold 1, on the grid of the steps."""
    tau, dt = 20 * MILLISECOND, 0.1 * MILLISECOND
    currents = np.array([0.5, 0.99, 1.02, 1.1, 1.3, 1.5, 2.0, 3.0, 5.0, 9.0])
    spikes = firing(currents, tau, dt, steps=2500)
    assert not spikes[:, currents < 1].any()
    for current, fired in zip(currents[2:], spikes.T[2:], strict=True):
        interval = tau * np.log(current / (current - 1))
        found = np.diff(np.flatnonzero(fired))
        assert set(found) == {int(np.ceil(interval / dt))}
        # The rate in Hz is that of the formula, but for one step of the grid.
        assert 1 / (interval + dt) <= 1 / (found[0] * dt) <= 1 / interval


def test_reset_by_subtraction_keeps_the_mean_rate_of_an_integrator() -> None:
    """Without leak, and what is beyond the threshold kept, n steps of current i hold exactly floor(n * i) spikes."""
    currents = np.array([0.125, 0.3125, 0.5, 0.9375])
    neuron = NeuronEquations(
        "v : 1", {"v_threshold": constant(1.0), "v_reset": constant(1.0)}, comparison=">=", reset="subtract"
    )
    spec = NetworkSpec(
        (Stimulus((4,)),),
        (Population("if", (4,), neuron),),
        (Projection("image", "if", Identity()),),
        Readout("if", "spike_count"),
        steps=100,
    )
    assert simulate(spec, currents[None], NUMPY).logits[0].tolist() == np.floor(100 * currents).tolist()


def potential(
    model: str, parameters: dict[str, Parameter], dt: float, steps: int, method: Method = "exact", delay: int = 0
) -> np.ndarray:
    """Membrane at the end of every step ``(steps,)``, of a neuron that one spike of weight 1 reaches `delay` steps
    after the first."""
    fires_once = NeuronEquations("v : 1", {"v_threshold": constant(0.5), "v_reset": constant(0.0)})
    answers = NeuronEquations(model, parameters, input="syn", spiking=False, reset="none", method=method)
    spec = NetworkSpec(
        (Stimulus((1,), coding="sequence"),),
        (Population("sender", (1,), fires_once), Population("receiver", (1,), answers)),
        (Projection("image", "sender", Identity()), Projection("sender", "receiver", Dense(np.ones((1, 1))), delay)),
        Readout("receiver", "every_step"),
        steps,
        dt,
    )
    shown = np.zeros((1, steps, 1))
    shown[0, 0] = 1.0
    responses = simulate(spec, shown, NUMPY)
    assert responses.spikes["sender"][0, :, 0].tolist() == [True] + [False] * (steps - 1)
    return responses.logits[0, :, 0]


def double_exponential(t: np.ndarray, tau_m: float, tau_s: float) -> np.ndarray:
    """The solution of tau_m v' = -v + s, tau_s s' = -s with v(0) = 0, s(0) = 1."""
    if tau_m == tau_s:
        return t / tau_m * np.exp(-t / tau_m)
    return tau_s / (tau_m - tau_s) * (np.exp(-t / tau_m) - np.exp(-t / tau_s))


CURRENT_BASED = "dv/dt = (-v + syn)/tau_m : 1\ndsyn/dt = -syn/tau_s : 1"
ALPHA = "dv/dt = (-v + syn)/tau_m : 1\ndsyn/dt = -syn/tau_m : 1"


@pytest.mark.parametrize("delay", [0, 1, 7])
@pytest.mark.parametrize(("tau_m", "tau_s"), [(20.0, 5.0), (5.0, 20.0), (10.0, 9.0), (10.0, 10.0)])
def test_postsynaptic_potential_is_the_solution_of_its_equations(tau_m: float, tau_s: float, delay: int) -> None:
    dt, steps = 0.5 * MILLISECOND, 80
    parameters = {"tau_m": times(tau_m * MILLISECOND, dt), "tau_s": times(tau_s * MILLISECOND, dt)}
    # Equal time constants are a case of their own: the general solution divides by their difference.
    equal = tau_m == tau_s
    found = potential(
        ALPHA if equal else CURRENT_BASED,
        {"tau_m": parameters["tau_m"]} if equal else parameters,
        dt,
        steps,
        delay=delay,
    )
    t = np.arange(steps - delay) * dt / MILLISECOND
    np.testing.assert_allclose(found[delay:], double_exponential(t, tau_m, tau_s), atol=1e-12)
    assert not found[:delay].any()


@pytest.mark.parametrize(("tau_m", "tau_s"), [(20.0, 5.0), (10.0, 10.0)])
def test_error_of_eulers_steps_falls_linearly_with_the_step(tau_m: float, tau_s: float) -> None:
    errors, sizes = [], [0.8, 0.4, 0.2, 0.1]
    for size in sizes:
        dt = size * MILLISECOND
        steps = round(40 / size)
        parameters = {"tau_m": times(tau_m * MILLISECOND, dt), "tau_s": times(tau_s * MILLISECOND, dt)}
        found = potential(CURRENT_BASED, parameters, dt, steps, "euler")
        errors.append(np.abs(found - double_exponential(np.arange(steps) * size, tau_m, tau_s)).max())
    slopes = np.diff(np.log(errors)) / np.diff(np.log(sizes))
    assert np.all(errors[:-1] > np.asarray(errors[1:]))
    np.testing.assert_allclose(slopes, 1.0, atol=0.08)
    assert slopes[-1] == pytest.approx(1.0, abs=0.02)


def test_eulers_firing_follows_its_own_closed_form() -> None:
    """A step of Euler overshoots: ``1 - (1 - dt/tau)^n`` lies above ``1 - exp(-n dt/tau)``, so it fires no later."""
    tau, dt, currents = 10 * MILLISECOND, 1 * MILLISECOND, np.array([1.2, 1.5, 2.0, 4.0])
    euler = firing(currents, tau, dt, 60, method="euler")
    exact = firing(currents, tau, dt, 60)
    for current, left, right in zip(currents, euler.T, exact.T, strict=True):
        n = np.log(1 - 1 / current) / np.log(1 - dt / tau)
        assert set(np.diff(np.flatnonzero(left))) == {int(np.ceil(n))}
        assert np.argmax(left) <= np.argmax(right)
