"""The time step of a NIR graph, which NIR leaves to the reader, from what the exporter left in the file.

A discrete neuron ``v = beta*v + I`` is exported as ``tau = dt/(1 - beta)`` and ``r = tau/dt``, and its synaptic current
alike (snnTorch, with a step of 0.1 ms). Where every leaky neuron has the same ``tau/r``, that is the exporter's step.
Where no neuron is leaky, ``r = 1/dt`` of an integrator ``v += I`` shows it (SpikingJelly, 0.1 ms), and ``r = 1`` shows
that time was counted in steps (Sinabs, Norse; snnTorch imports nothing else): a step of 1 s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import nir
import numpy as np

from alade_brian.conversion.lowering import CannotLower
from alade_brian.conversion.nir_graphs.file import FlatGraph, flatten
from alade_brian.conversion.nir_graphs.linear import numbers
from alade_brian.errors import UserError

DEFAULT_STEP = 1e-3
# The step, in seconds, that snnTorch's exporter always takes, and SpikingJelly's unless it is given another.
EXPORTERS_STEP = 1e-4
# The step, in seconds, in a file that counts time in steps.
COUNTED_STEP = 1.0
# Exporters write float32.
TOLERANCE = 1e-5

logger = logging.getLogger(__name__)


def step_of(graph: FlatGraph, name: str) -> float:
    """The time step, in seconds, of a graph that this program did not write: that in its metadata (``dt``, in seconds),
    else what its constants show, else 1 ms. What is taken is logged where it is not 1 ms.

    name   of the file, for the message
    """
    said, shown = _in_metadata(graph), _in_constants(graph)
    if said is not None:
        logger.warning("%s: a step of %s, as its metadata say; give another dt to override it", name, in_ms(said))
        return said
    if shown is not None and shown != DEFAULT_STEP:
        logger.warning(
            "%s: a step of %s, the exporter's own: its constants are those of an Euler step of that length "
            "(r = tau/dt, or 1/dt of an integrator); give another dt to override it, and the discretisation euler for "
            "the exporter's own numbers",
            name,
            in_ms(shown),
        )
    return shown or DEFAULT_STEP


def frameworks_step(graph: nir.NIRGraph) -> float:
    """The step, in seconds, in which discrete frameworks run a graph: 0.1 ms, which the import of most takes unasked;
    where only integrators with one gain have a time, the one in which these take their whole input."""
    gains = _gains(flatten(graph))
    return 1 / min(gains) if len(gains) == 1 and min(gains) > 0 else EXPORTERS_STEP


def check_step(graph: FlatGraph, dt: float, given: bool, name: str) -> None:
    """Warn of a step longer than a time constant, and of the default step where time seems to be counted in steps;
    UserError where a step is longer than a time constant and nobody asked for it.

    given   whether the step is the caller's own
    """
    times = {(node, key): float(tau.min()) for node, key, tau in _time_constants(graph) if tau.size}
    (node, key), tau = min(times.items(), key=lambda item: item[1], default=(("", ""), np.inf))
    if not given and dt == DEFAULT_STEP and COUNTED_STEP <= tau < np.inf and _in_metadata(graph) is None:
        logger.warning(
            "%s: a step of %s, and no time constant below %s; exporters that count time in steps (Sinabs) mean a dt of "
            "1 s (--dt 1000)",
            name,
            in_ms(dt),
            in_ms(tau),
        )
    if dt <= tau * (1 + TOLERANCE):
        return
    what = f"a step of {in_ms(dt)} is longer than the time constant {key} = {in_ms(tau)} of node '{node}'"
    if not given:
        raise UserError(f"{name}: {what}, and the file does not say its step; give the exporter's (--dt, in ms)")
    logger.warning("%s: %s; with euler its membrane grows where the step is more than twice as long", name, what)


def in_ms(seconds: float) -> str:
    """A time in milliseconds, as text."""
    return f"{seconds * 1e3:.6g} ms"


def _in_metadata(graph: FlatGraph) -> float | None:
    try:
        said = float(np.asarray(graph.metadata["dt"]).reshape(()))
    except (KeyError, TypeError, ValueError):
        return None
    return said if np.isfinite(said) and said > 0 else None


def _in_constants(graph: FlatGraph) -> float | None:
    """The step that the numbers of all leaky neurons show; None where they show none.

    One ``tau/r`` proves little where all neurons are alike, unless it is the step of a known exporter.
    """
    try:
        pairs = [pair for node in graph.nodes.values() for pair in _pairs(node)]
        with np.errstate(all="ignore"):
            whole = np.concatenate([np.zeros(0), *(np.ravel(tau / gain) for tau, gain in pairs)])
    except (CannotLower, ValueError):
        return None  # `check_graph` reports these numbers
    if not pairs:
        gains = np.array([*_gains(graph)] or [np.nan])
        steps = (s for s in (EXPORTERS_STEP, COUNTED_STEP) if np.allclose(gains * s, 1, rtol=TOLERANCE))
        return next(steps, None)
    if not whole.size or not np.all(np.isfinite(whole)) or whole.min() <= 0:
        return None
    step = float(np.median(whole))
    times = np.concatenate([np.ravel(tau) for tau, _ in pairs])
    same = np.allclose(whole, step, rtol=TOLERANCE, atol=0)
    if not same or step > times.min() * (1 + TOLERANCE):
        return None
    if np.isclose(step, EXPORTERS_STEP, rtol=TOLERANCE, atol=0):
        return EXPORTERS_STEP
    return None if np.allclose(times, times[0], rtol=TOLERANCE, atol=0) else float(f"{step:.5g}")


def _gains(graph: FlatGraph) -> set[float]:
    """The gains of all integrators of a graph in which nothing else has a time; none of any other graph."""
    nodes = [*graph.nodes.values()]
    if any(isinstance(node, nir.Delay | nir.LIF | nir.LI | nir.CubaLIF | nir.CubaLI) for node in nodes):
        return set()
    try:
        return {float(r) for node in nodes if isinstance(node, nir.IF | nir.I) for r in np.ravel(numbers(node, "r"))}
    except CannotLower:
        return set()  # `check_graph` reports these numbers


def _pairs(node: nir.NIRNode) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Time constants of a neuron, each with the gain that is tau/dt in a step of the exporter."""
    if isinstance(node, nir.LIF | nir.LI):
        yield numbers(node, "tau"), numbers(node, "r")
    elif isinstance(node, nir.CubaLIF | nir.CubaLI):
        yield numbers(node, "tau_mem"), numbers(node, "r")
        yield numbers(node, "tau_syn"), numbers(node, "w_in")


def _time_constants(graph: FlatGraph) -> Iterator[tuple[str, str, np.ndarray]]:
    for name, node in graph.nodes.items():
        for key in ("tau", "tau_mem", "tau_syn"):
            if hasattr(node, key):
                yield name, key, numbers(node, key)
