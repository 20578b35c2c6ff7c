"""A leaky integrate-and-fire neuron without a simulation: its membrane as a sum over all inputs since its last spike.

With the input x held during every step of length dt, and k full steps since the last reset (to 0),

    v = r * (1 - q) * (x_1 q^(k-1) + ... + x_k q^0),    q = exp(-dt/tau)

is the exact solution of ``tau v' = -v + r x`` at the end of the step (Pedersen et al. 2024, methods).
"""

from __future__ import annotations

import numpy as np


def exact_spikes(shown: np.ndarray, tau: float, r: float, v_threshold: float, dt: float) -> np.ndarray:
    """Where the neuron fires, bool ``(presentations, steps)``.

    shown   the input of every step, ``(presentations, steps)``
    tau     membrane time constant in seconds, as `dt`, the step
    """
    presentations, steps = shown.shape
    weights = r * -np.expm1(-dt / tau) * np.exp(-dt / tau * np.arange(steps))
    fired = np.zeros((presentations, steps), bool)
    for number, inputs in enumerate(shown):
        begin = 0
        for step in range(steps):
            since = inputs[begin : step + 1]
            if weights[: len(since)][::-1] @ since > v_threshold:
                fired[number, step], begin = True, step + 1
    return fired
