"""Brian2's runtime targets: numpy (no compiler, the plain reference) and cython."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import brian2 as b2
import numpy as np

from alade_brian.conversion.brian2_network import BrianNetwork, Connect, Layout, build_network
from alade_brian.conversion.brian2_text import slots
from alade_brian.conversion.responses import Responses
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.simulation.decoding import Recorded, decode


@contextmanager
def preferences(**values: object) -> Iterator[None]:
    """Brian2 preferences (dots written as double underscores) for the time of a block, then as before."""
    names = {key.replace("__", "."): value for key, value in values.items()}
    before = {name: b2.prefs[name] for name in names}
    try:
        for name, value in names.items():
            b2.prefs[name] = value
        yield
    finally:
        for name, value in before.items():
            b2.prefs[name] = value


def float_type(dtype: str) -> type:
    return np.float32 if dtype == "float32" else np.float64


class RuntimeNetwork:
    """A network run within this process; it is set up anew for every run, which needs no compiler the second time."""

    def __init__(
        self,
        spec: NetworkSpec,
        layout: Layout,
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
        layout = Layout(self.layout.batch, -(-len(pixels) // self.layout.batch))
        with self._preferences():
            built = build_network(self.spec, pixels, layout, self.traces, self.connect)
            built.network.run(built.duration * b2.second, namespace={})
            return decode(self.spec, layout, len(pixels), self._recorded(built))

    def _recorded(self, built: BrianNetwork) -> Recorded:
        spikes = {name: (np.asarray(m.i), np.asarray(m.t / b2.second)) for name, m in built.spikes.items()}
        membrane = None if built.membrane is None else _values(built.membrane)
        return Recorded(spikes, membrane, {name: _values(m) for name, m in built.traces.items()})

    def _preferences(self) -> AbstractContextManager[None]:
        return preferences(codegen__target=self.backend, core__default_float_dtype=float_type(self.dtype))

    def membrane(self, pixels: np.ndarray, population: str) -> np.ndarray:
        """Membrane just before the threshold test, for one image ``(1, rows, pixels)``: ``(steps, neurons)``."""
        with self._preferences():
            built = build_network(self.spec, pixels, Layout(1, 1))
            index = [p.name for p in self.spec.populations].index(population)
            variable = self.spec.population(population).neuron.membrane
            slot = f"before_{slots(index).threshold}"
            monitor = b2.StateMonitor(built.groups[population], variable, record=True, when=slot)
            built.network.add(monitor)
            built.network.run(built.duration * b2.second, namespace={})
            return _values(monitor)[: self.spec.steps]


def _values(monitor: b2.StateMonitor) -> np.ndarray:
    """What a monitor recorded, ``(steps, neurons)``."""
    return np.asarray(getattr(monitor, monitor.record_variables[0])).T
