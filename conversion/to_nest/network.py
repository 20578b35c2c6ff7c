"""NetworkSpec -> NEST's nodes and connections: a second witness, which has the lists of synapses from here and else
nothing in common with Brian2.

Whatever arrives at a neuron is a spike here. A pixel is a generator whose spikes weigh what the pixel is worth, the
biases come from a generator that fires in every step of a presentation, and every synapse is one connection. The
populations live on clocks of their own (see `NestPlan`); presentations follow each other, and each begins with the
membranes set anew. NEST's resolution is 1 ms, which stands for one step, whatever the specification's `dt`.

This module is run as a program, in a process of its own: to import NEST changes how libraries are loaded, which OpenMP
they share and how many threads it has.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import nest
import numpy as np

from alade_brian.conversion.to_nest.neurons import NEVER
from alade_brian.conversion.to_nest.plan import nest_plan
from alade_brian.spec import NetworkSpec, Population
from alade_brian.spec.file import load_spec
from alade_brian.spec.presentation import pixel_offset
from alade_brian.spec.synapses import projection_synapses
from alade_brian.spikes.responses import Responses, read_out

# One step in ms.
STEP = 1.0


class NestNetwork:
    """NEST's nodes of a network, and what they record. NEST's kernel is one for the whole process: it is reset first.

    traces   populations whose membrane is kept, as it is at the end of every step
    """

    def __init__(self, spec: NetworkSpec, traces: Sequence[str] = ()) -> None:
        self.spec, self.plan, self.traces = spec, nest_plan(spec), traces
        nest.ResetKernel()
        nest.verbosity = nest.VerbosityLevel.ERROR
        nest.resolution = STEP
        self.groups = {p.name: self._population(p) for p in spec.populations}
        self.pixels = nest.Create("spike_generator", sum(s.size for s in spec.stimuli))
        self.clock = nest.Create("spike_generator")
        self._connect()
        self.recorders = {p.name: nest.Create("spike_recorder") for p in spec.spiking}
        for name, recorder in self.recorders.items():
            nest.Connect(self.groups[name], recorder)
        read = () if spec.answers_in_spikes else (spec.readout.population,)
        self.membranes: dict[str, list[np.ndarray]] = {name: [] for name in dict.fromkeys((*read, *traces))}

    def _population(self, population: Population) -> Any:
        neurons = self.plan.neurons[population.name]
        constants = {"E_L": 0.0, "C_m": 1.0, "I_e": 0.0, "t_ref": 0.0}
        return nest.Create(neurons.model, population.size, constants | _settings(neurons.parameters()))

    def _connect(self) -> None:
        for projection in self.spec.projections:
            found = projection_synapses(self.spec, projection)
            source, shown = projection.source, self.spec.is_stimulus(projection.source)
            weights = found.weights(projection.operator)
            if not shown:
                weights = weights * self.spec.population(source).amplitude.ravel()[found.pre]
            pre = found.pre + pixel_offset(self.spec, source)
            senders = self.pixels if shown else self.groups[source]
            self._synapses(senders, pre, projection.target, found.post, weights, self.plan.delay(projection))
        for population in self.spec.populations:
            if population.bias is not None:
                every = np.arange(population.size)
                bias, lead = population.bias.ravel(), self.plan.lead[population.name]
                self._synapses(self.clock, np.zeros_like(every), population.name, every, bias, lead)

    def _synapses(
        self, senders: Any, pre: np.ndarray, target: str, post: np.ndarray, weights: np.ndarray, delay: int
    ) -> None:
        """One connection for each entry: from ``senders[pre]`` to ``post`` of the target."""
        if not len(pre):
            return
        weights = weights * self.plan.neurons[target].gain[post]
        nest.Connect(
            np.asarray(senders.tolist())[pre],
            np.asarray(self.groups[target].tolist())[post],
            conn_spec="one_to_one",
            syn_spec={"weight": weights, "delay": np.full(len(pre), delay * STEP)},
        )

    def answer(self, shown: np.ndarray) -> Responses:
        """Responses to images as pixels ``(n, rows, pixels)``."""
        period, steps = self.plan.period, self.spec.steps
        starts = period * np.arange(len(shown))
        # A spike at time t is one of step t - 1.
        self.clock.set(spike_times=((starts[:, None] + np.arange(steps) + 1).ravel() * STEP).tolist())
        steps_of_run = period * len(shown) + max(self.plan.lead.values())
        for step in range(steps_of_run):
            image, row = divmod(step, period)
            if row == 0 and image < len(shown):
                self._show(shown[image], step)
            for population in self.spec.populations:
                self._begin_or_end(population, step)
            nest.Simulate(STEP)
            for name, found in self.membranes.items():
                found.append(np.atleast_1d(np.array(self.groups[name].V_m)))
        if nest.biological_time != steps_of_run * STEP:
            raise RuntimeError(f"NEST simulated {nest.biological_time} ms of {steps_of_run * STEP}")
        return self._responses(len(shown))

    def _show(self, rows: np.ndarray, step: int) -> None:
        """Let the generators of the pixels fire in the presentation that begins at this step."""
        values = np.broadcast_to(rows, (self.spec.steps, rows.shape[-1]))
        times = (step + np.arange(self.spec.steps) + 1) * STEP
        fires = values != 0
        self.pixels.set(
            [
                {"spike_times": times[on].tolist(), "spike_weights": worth[on].tolist()}
                for on, worth in zip(fires.T, values.T, strict=True)
            ]
        )

    def _begin_or_end(self, population: Population, step: int) -> None:
        """Set a population's membrane where a presentation begins on its clock. Where there is a gap between
        presentations, it fires in none of its steps: what it sent would arrive in the next one."""
        neurons, group = self.plan.neurons[population.name], self.groups[population.name]
        gap, own = self.plan.period > self.spec.steps, (step - self.plan.lead[population.name]) % self.plan.period
        if own == 0:
            begin = {"V_m": neurons.v_initial} | ({"V_th": neurons.v_threshold} if gap else {})
            group.set(_settings(begin))
        if gap and (step == 0 or own == self.spec.steps):
            group.set(V_th=NEVER)

    def _responses(self, images: int) -> Responses:
        spikes = {name: self._raster(name, images) for name in self.recorders}
        membranes = {name: self._by_image(name, np.array(found), images) for name, found in self.membranes.items()}
        name = self.spec.readout.population
        if self.spec.answers_in_spikes:
            values = spikes[name] * self.spec.population(name).amplitude.ravel()
        else:
            values = membranes[name]
        traces = {name: membranes[name] for name in self.traces}
        return Responses(spikes, read_out(self.spec.readout, values), traces)

    def _by_image(self, name: str, values: np.ndarray, images: int) -> np.ndarray:
        """Values of all of NEST's steps as ``(images, steps, neurons)`` on the population's own clock."""
        own = values[self.plan.lead[name] :][: images * self.plan.period]
        return own.reshape(images, self.plan.period, -1)[:, : self.spec.steps]

    def _raster(self, name: str, images: int) -> np.ndarray:
        events = self.recorders[name].events
        step = np.rint(events["times"] / STEP).astype(np.int64) - 1 - self.plan.lead[name]
        image, own = np.divmod(step, self.plan.period)
        inside = (step >= 0) & (image < images) & (own < self.spec.steps)
        neuron = events["senders"].astype(np.int64) - self.groups[name][0].global_id
        raster = np.zeros((images, self.spec.steps, prod(self.spec.shape(name))), dtype=bool)
        raster[image[inside], own[inside], neuron[inside]] = True
        return raster


def _settings(parameters: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as NEST takes them: one number where all neurons share it, which it sets faster."""
    return {key: float(array[0]) if np.all(array == array[0]) else array.tolist() for key, array in parameters.items()}


def run(spec: Path, shown: Path, answered: Path) -> None:
    """Simulate a specification: of a file `shown` the ``pixels (n, rows, pixels)``, and the names of its ``traces``."""
    with np.load(shown) as file:
        pixels, traces = file["pixels"], [str(name) for name in file["traces"]]
    found = NestNetwork(load_spec(spec), traces).answer(pixels)
    spikes = {f"spikes_{k}": raster for k, raster in enumerate(found.spikes.values())}
    membranes = {f"trace_{k}": found.traces[name] for k, name in enumerate(traces)}
    np.savez(answered, logits=found.logits, **spikes, **membranes)  # type: ignore[arg-type]


if __name__ == "__main__":
    run(*map(Path, sys.argv[1:]))
