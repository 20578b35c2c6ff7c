"""Brian2's runtime targets: numpy (no compiler, the plain reference) and cython."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import brian2 as b2
import numpy as np

from alade_brian.conversion.to_brian2.network import BatchLayout, BrianNetwork, Connect, build_network
from alade_brian.simulation.preferences import float_type, preferences
from alade_brian.simulation.separate.decoding import Recorded, decode
from alade_brian.simulation.separate.state_monitors import States, Wanted, add_state_monitors, states_by_image
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.responses import Responses


def run_whole(network: b2.Network, duration: float, dt: float) -> None:
    """Run a network, in this process, for a duration in seconds; no less of it is a result.

    dt   a step, in seconds

    Raises KeyboardInterrupt where Ctrl-C arrived meanwhile, which Brian2 only takes for a wish to end early, and
    RuntimeError where the run ended before all of its steps were done for any other reason.
    """
    network.run(duration * b2.second, namespace={})
    if b2.Network._globally_stopped:
        raise KeyboardInterrupt
    done, wanted = (round(seconds / dt) for seconds in (float(network.t / b2.second), duration))
    if done != wanted:
        raise RuntimeError(f"Brian2 ended its run after {done} of {wanted} steps")


class RuntimeNetwork:
    """A network run within this process; it is set up anew for every run, which needs no compiler the second time."""

    def __init__(
        self,
        spec: NetworkSpec,
        layout: BatchLayout,
        backend: str,
        dtype: str,
        traces: Sequence[str] = (),
        connect: Connect | None = None,
    ) -> None:
        self.spec, self.layout, self.backend, self.dtype, self.traces = spec, layout, backend, dtype, tuple(traces)
        self.connect = connect
        self.compiled = False

    def run(self, pixels: np.ndarray) -> Responses:
        """Responses to at most ``layout.images`` images, as pixels ``(n, rows, pixels)``."""
        # Fewer images than a full run need no empty presentations here: nothing is compiled for a number of them.
        layout = BatchLayout(self.layout.batch, -(-len(pixels) // self.layout.batch))
        with self._preferences():
            built = build_network(self.spec, pixels, layout, self.traces, self.connect)
            run_whole(built.network, built.duration, self.spec.dt)
            return decode(self.spec, layout, len(pixels), recorded_by(built))

    def _preferences(self) -> AbstractContextManager[None]:
        return preferences(codegen__target=self.backend, core__default_float_dtype=float_type(self.dtype))

    def states(self, pixels: np.ndarray, wanted: Wanted) -> tuple[Responses, States]:
        """Responses to at most ``layout.images`` images, as `run` takes them, and variables by population as they are
        just before its threshold test."""
        with self._preferences():
            built = build_network(self.spec, pixels, self.layout, (), self.connect)
            monitors = add_state_monitors(self.spec, built, wanted)
            run_whole(built.network, built.duration, self.spec.dt)
            responses = decode(self.spec, self.layout, len(pixels), recorded_by(built))
            recorded = {name: _variables(m) for name, m in monitors.items()}
        return responses, states_by_image(self.spec, self.layout, len(pixels), recorded)


def recorded_by(built: BrianNetwork) -> Recorded:
    """What the monitors of a network hold that has run."""
    spikes = {name: (np.asarray(m.i), np.asarray(m.t / b2.second)) for name, m in built.spikes.items()}
    membrane = None if built.membrane is None else _values(built.membrane)
    return Recorded(spikes, membrane, {name: _values(m) for name, m in built.traces.items()})


def _values(monitor: b2.StateMonitor) -> np.ndarray:
    """What a monitor recorded, ``(steps, neurons)``."""
    (values,) = _variables(monitor).values()
    return values


def _variables(monitor: b2.StateMonitor) -> dict[str, np.ndarray]:
    """All that a monitor recorded, by variable, each ``(steps, neurons)``."""
    # Not by attribute: a neuron's variable may be called as one of the monitor's own, such as its clock.
    return {name: np.array(monitor.variables[name].get_value()) for name in monitor.record_variables}
