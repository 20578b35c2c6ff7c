"""Brian2's runtime targets: numpy (no compiler, the plain reference) and cython."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import brian2 as b2
import numpy as np

from alade_brian.conversion.brian2_network import BrianNetwork, Layout, build_network
from alade_brian.conversion.responses import Responses
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.simulation.decoding import decode


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

    def __init__(self, spec: NetworkSpec, layout: Layout, backend: str, dtype: str) -> None:
        self.spec, self.layout, self.backend, self.dtype = spec, layout, backend, dtype
        self.compiled = False

    def run(self, images: np.ndarray) -> Responses:
        """Responses to at most ``layout.images`` images ``(n, *stimulus shape)``."""
        # Fewer images than a full run need no empty presentations here: nothing is compiled for a number of them.
        layout = Layout(self.layout.batch, -(-len(images) // self.layout.batch))
        with preferences(codegen__target=self.backend, core__default_float_dtype=float_type(self.dtype)):
            built = build_network(self.spec, images, layout)
            built.network.run(built.duration * b2.second, namespace={})
            return decode(
                self.spec,
                layout,
                len(images),
                _spikes(built),
                np.asarray(getattr(built.readout, _membrane(self.spec))).T,
            )

    def membrane(self, image: np.ndarray, population: str) -> np.ndarray:
        """Membrane just before the threshold test, for one image ``(*stimulus shape)``: ``(steps, neurons)``."""
        with preferences(codegen__target=self.backend, core__default_float_dtype=float_type(self.dtype)):
            built = build_network(self.spec, image[None], Layout(1, 1))
            index = [p.name for p in self.spec.populations].index(population)
            variable = self.spec.population(population).neuron.membrane
            monitor = b2.StateMonitor(built.groups[population], variable, record=True, when=f"before_threshold_{index}")
            built.network.add(monitor)
            built.network.run(built.duration * b2.second, namespace={})
            return np.asarray(getattr(monitor, variable)).T[: self.spec.steps]


def _membrane(spec: NetworkSpec) -> str:
    return spec.population(spec.readout.population).neuron.membrane


def _spikes(built: BrianNetwork) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (np.asarray(m.i), np.asarray(m.t / b2.second)) for name, m in built.spikes.items()}
