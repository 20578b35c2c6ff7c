"""Plain Brian2 in generated code: a pass for every operation of a time step, compiled once per structure.

The program takes the numbers of the network and its images as files, and leaves its spikes in files.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import brian2 as b2
import numpy as np

from alade_brian.conversion.to_brian2.network import BatchLayout, BrianNetwork, build_network, stimulus_values
from alade_brian.conversion.to_brian2.text import projection_name
from alade_brian.simulation.cache import builds
from alade_brian.simulation.cache.builds import (
    PROGRAM,
    Arrays,
    find_or_build,
    settable_arrays,
    standalone_project,
    toolchain,
    write_numbers,
)
from alade_brian.simulation.cache.structure import structure_key
from alade_brian.simulation.fused.process import ProgramEnded, check_interrupt, complaint
from alade_brian.simulation.preferences import float_type
from alade_brian.simulation.separate.decoding import Recorded, decode
from alade_brian.simulation.separate.shared_synapses import connector, separate_values
from alade_brian.simulation.separate.state_monitors import States, Wanted, add_state_monitors, states_by_image
from alade_brian.spec import NetworkSpec
from alade_brian.spec.presentation import period_steps
from alade_brian.spec.synapses import weighted_projections
from alade_brian.spikes.responses import Responses

Result = TypeVar("Result")


class Device(Protocol):
    """What generated code runs on.

    from_spike    see `build_network`
    environment   variables that the program needs
    """

    from_spike: bool
    environment: Mapping[str, str]

    def project(self, folder: Path, dtype: type) -> AbstractContextManager[None]:
        """A block whose Brian2 objects are written into a folder."""
        ...

    def compile(self, folder: Path) -> None:
        """Make the program of a project."""
        ...

    def toolchain(self) -> dict[str, Any]:
        """What decides, beside the structure, which machine code a build holds."""
        ...

    def failure(self, folder: Path, code: int, said: str) -> Exception:
        """What to raise for a program that ended with this code, or complained."""
        ...


class Processor:
    """C++ for this machine's processor."""

    from_spike = False
    environment: Mapping[str, str] = MappingProxyType({})

    def project(self, folder: Path, dtype: type) -> AbstractContextManager[None]:
        """See `Device`."""
        return standalone_project(folder, dtype)

    def compile(self, folder: Path) -> None:
        """See `Device`."""
        builds.compile_program(folder)

    def toolchain(self) -> dict[str, Any]:
        """See `Device`."""
        return toolchain()

    def failure(self, folder: Path, code: int, said: str) -> Exception:
        """See `Device`."""
        return complaint(f"the simulation in {folder}, which ended with code {code},", said)


class StandaloneNetwork:
    """A compiled network. `compiled` says whether a compiler had to run for it.

    wanted   by population the variables that `states` gives
    """

    def __init__(
        self,
        spec: NetworkSpec,
        layout: BatchLayout,
        connectivity: str,
        dtype: str,
        cache: Path,
        traces: Sequence[str] = (),
        device: Device | None = None,
        wanted: Wanted | None = None,
    ) -> None:
        self.spec, self.layout, self.dtype = spec, layout, float_type(dtype)
        self.device: Device = device or Processor()
        spread, made = [layout.batch, layout.presentations], self.device.toolchain()
        recorded = {} if wanted is None else {"states": {name: list(names) for name, names in wanted.items()}}
        key = structure_key(spec, spread, kind=connectivity, dtype=dtype, traces=list(traces), **recorded, **made)

        def generate(folder: Path) -> dict[str, Any]:
            return _generate(spec, layout, connectivity, self.dtype, folder, traces, self.device, wanted or {})

        self.folder, self.files, self.compiled = find_or_build(cache, key, generate, self.device.compile)
        self._values = separate_values(spec, layout.batch, connectivity)

    def run(self, pixels: np.ndarray) -> Responses:
        """Responses to at most ``layout.images`` images, as pixels ``(n, rows, pixels)``."""
        return self._results(pixels, self._read)

    def states(self, pixels: np.ndarray) -> tuple[Responses, States]:
        """Responses to images as `run` takes them, and the variables that were `wanted`, just before the threshold
        test of their population."""
        return self._results(pixels, self._read_states)

    def _results(self, pixels: np.ndarray, read: Callable[[Path, int], Result]) -> Result:
        with tempfile.TemporaryDirectory(prefix="alade_brian_") as scratch:
            arguments = write_numbers(Path(scratch), self._numbers(pixels), self.files["arrays"])
            results = Path(scratch, "results")
            results.mkdir()
            command = [str(self.folder / PROGRAM), "--results_dir", f"{results}{os.sep}", *arguments]
            environment = {**os.environ, **self.device.environment}
            done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, env=environment)
            check_interrupt(done.returncode)
            if done.returncode or done.stderr.strip():
                raise self.device.failure(self.folder, done.returncode, done.stderr.strip())
            return read(results, len(pixels))

    def _numbers(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        numbers: dict[str, np.ndarray] = {
            f"{owner}.{name}": array.astype(self.dtype) for (owner, name), array in self._values.items()
        }
        # Brian2 keeps a TimedArray in double precision, whatever the network's type.
        return numbers | {self.files["stimulus"]: stimulus_values(self.spec, pixels, self.layout)}

    def _read(self, results: Path, images: int) -> Responses:
        """Responses from the program's files; ProgramEnded where they do not hold all of the run."""
        done = np.fromfile(results / self.files["steps"], np.int64)
        if done.tolist() != [self.steps]:
            raise self._incomplete(f"did {int(done.sum())} of {self.steps} steps")
        spikes = {name: self._spikes(results, files) for name, files in self.files["spikes"].items()}
        membrane = self.files["membrane"]
        recorded = Recorded(
            spikes,
            None if membrane is None else self._membranes(results, membrane, self.spec.readout.population),
            {name: self._membranes(results, file, name) for name, file in self.files["traces"].items()},
        )
        return decode(self.spec, self.layout, images, recorded)

    def _read_states(self, results: Path, images: int) -> tuple[Responses, States]:
        recorded = {
            name: {variable: self._membranes(results, file, name) for variable, file in files.items()}
            for name, files in self.files["states"].items()
        }
        return self._read(results, images), states_by_image(self.spec, self.layout, images, recorded)

    @property
    def steps(self) -> int:
        """Of a whole run."""
        return self.layout.presentations * period_steps(self.spec)

    def _spikes(self, results: Path, files: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
        """Neurons and times of as many spikes as the monitor counted."""
        count = np.fromfile(results / files["N"], np.int32)
        neurons, times = np.fromfile(results / files["i"], np.int32), np.fromfile(results / files["t"], np.float64)
        if not count.tolist() == [len(neurons)] == [len(times)]:
            raise self._incomplete("left fewer spikes in its files than it counted")
        return neurons, times

    def _membranes(self, results: Path, file: str, population: str) -> np.ndarray:
        """What a monitor recorded, ``(steps of the run, neurons)``."""
        found: np.ndarray = np.fromfile(results / file, self.dtype)
        if found.size != self.steps * self.layout.batch * prod(self.spec.shape(population)):
            raise self._incomplete(f"left {found.size} membrane potentials of {population}, not those of all steps")
        return found.reshape(self.steps, -1)

    def _incomplete(self, what: str) -> ProgramEnded:
        return ProgramEnded(f"the simulation in {self.folder} {what}; run it again (is there room for its files?)")


def _generate(
    spec: NetworkSpec,
    layout: BatchLayout,
    connectivity: str,
    dtype: type,
    folder: Path,
    traces: Sequence[str],
    device: Device,
    wanted: Wanted,
) -> dict[str, Any]:
    """Let Brian2 write the project, and note where its numbers come from and go to."""
    with device.project(folder, dtype):
        shown = np.zeros((0, 1, sum(s.size for s in spec.stimuli)))
        built = build_network(spec, shown, layout, traces, connector(connectivity), device.from_spike)
        monitors = add_state_monitors(spec, built, wanted)
        built.network.run(built.duration * b2.second, namespace={})
        b2.device.build(directory=str(folder), compile=False, run=False)
        return _manifest(built, monitors) | {"arrays": {**_weights(spec, layout, dtype), **_arrays(built)}}


def _arrays(built: BrianNetwork) -> Arrays:
    """What the program reads into arrays of fixed size."""
    stimulus = built.stimulus
    return {**settable_arrays(), f"{stimulus.name}.values": (stimulus.values.size, "float64")}


def _weights(spec: NetworkSpec, layout: BatchLayout, dtype: type) -> Arrays:
    """The weights of plain `Synapses`; the program makes room for them when it makes the synapses."""
    counts = {
        projection_name(spec, index): layout.batch * spec.synapse_count(p) for index, p in weighted_projections(spec)
    }
    return {f"{name}.w": (count, np.dtype(dtype).name) for name, count in counts.items()}


def _manifest(built: BrianNetwork, states: Mapping[str, b2.StateMonitor]) -> dict[str, Any]:
    def file(group: Any, variable: str) -> str:
        return b2.device.get_array_filename(group.variables[variable])

    return {
        "spikes": {name: {key: file(m, key) for key in ("i", "t", "N")} for name, m in built.spikes.items()},
        "steps": file(next(iter(built.groups.values())).clock, "timestep"),
        "membrane": None if built.membrane is None else file(built.membrane, built.membrane.record_variables[0]),
        "traces": {name: file(m, m.record_variables[0]) for name, m in built.traces.items()},
        "states": {name: {v: file(m, v) for v in m.record_variables} for name, m in states.items()},
        "stimulus": f"{built.stimulus.name}.values",
    }
