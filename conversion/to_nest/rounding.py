"""How near the membranes of a network come to their thresholds, and whether rounding could decide a spike there.

Two simulators add the input of a step in two orders. Sums of float64 then differ in their last bits, and where a
membrane lies that close to its threshold, one of them may fire and the other not. Here the membranes are computed a
third time, by matrices, together with a bound of what any order of summation can have made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from alade_brian.conversion.to_nest.plan import NestPlan
from alade_brian.spec import NetworkSpec, Population, Projection
from alade_brian.spec.presentation import pixel_offset
from alade_brian.spec.synapses import projection_synapses

# Half the distance from 1 to the next number: the relative error of one operation.
ROUNDING = np.finfo(np.float64).eps / 2


@dataclass(frozen=True)
class Margin:
    """Of one population, over all (image, step, neuron).

    smallest   the smallest distance of a membrane to its threshold
    bound      the largest error that rounding may have made of a membrane, in any order of summation
    ties       entries whose distance is within twice their own bound: rounding could decide them
    wrong      other entries where the spike is not what the membrane says: a fault, not rounding
    """

    smallest: float
    bound: float
    ties: int
    wrong: int

    def joined(self, other: Margin) -> Margin:
        """The same of both together."""
        return Margin(
            min(self.smallest, other.smallest),
            max(self.bound, other.bound),
            self.ties + other.ties,
            self.wrong + other.wrong,
        )


def margins(
    spec: NetworkSpec, plan: NestPlan, spikes: Mapping[str, np.ndarray], shown: np.ndarray
) -> dict[str, Margin]:
    """Of every population that spikes, from the spikes of a simulation.

    spikes   by population, bool ``(images, steps, neurons)``
    shown    pixels ``(images, rows, pixels of all stimuli)``
    """
    return {p.name: _Membranes(spec, plan, p).margin(spikes, shown) for p in spec.spiking}


@dataclass(frozen=True, eq=False)
class _Input:
    """A projection as a matrix, its absolute values, and the most terms that a neuron adds up in it."""

    projection: Projection
    weights: sparse.csr_array
    sizes: sparse.csr_array
    terms: int


class _Membranes:
    """The membranes of one population, given the spikes of all."""

    def __init__(self, spec: NetworkSpec, plan: NestPlan, population: Population) -> None:
        self.spec, self.population, self.neurons = spec, population, plan.neurons[population.name]
        self.inputs = [self._input(p) for p in spec.inputs(population.name)]
        self.terms = sum(i.terms for i in self.inputs) + (population.bias is not None)

    def _input(self, projection: Projection) -> _Input:
        spec, found = self.spec, projection_synapses(self.spec, projection)
        weights = found.weights(projection.operator)
        if not spec.is_stimulus(projection.source):
            weights = weights * spec.population(projection.source).amplitude.ravel()[found.pre]
        shown = spec.is_stimulus(projection.source)
        columns = sum(s.size for s in spec.stimuli) if shown else spec.population(projection.source).size
        ends = (found.post, found.pre + pixel_offset(spec, projection.source))
        matrix = sparse.csr_array((weights, ends), shape=(self.population.size, columns))
        terms = int(np.bincount(found.post, minlength=1).max()) if len(found) else 0
        return _Input(projection, matrix, abs(matrix), terms)

    def margin(self, spikes: Mapping[str, np.ndarray], shown: np.ndarray) -> Margin:
        own, neurons = spikes[self.population.name], self.neurons
        membrane = np.broadcast_to(neurons.v_initial, (len(own), own.shape[-1]))
        error = np.zeros_like(membrane)
        smallest, bound, ties, wrong = np.inf, 0.0, 0, 0
        for step in range(own.shape[1]):
            drive, size = self._drive(spikes, shown, step)
            membrane = neurons.decay * membrane
            # Each term is multiplied up to three times (weight, gain, amplitude) and added once; the decay may differ.
            error = neurons.decay * error + (self.terms + 5) * ROUNDING * (size + abs(membrane))
            membrane = membrane + drive
            distance = membrane - neurons.v_threshold
            near, fired = abs(distance) <= 2 * error, own[:, step]
            smallest, bound = min(smallest, abs(distance).min()), max(bound, error.max())
            ties, wrong = ties + int(near.sum()), wrong + int((~near & (fired != (distance >= 0))).sum())
            if neurons.subtracts:
                membrane = membrane - fired * neurons.v_reset
                error = error + ROUNDING * abs(membrane)
            else:
                membrane, error = np.where(fired, neurons.v_reset, membrane), np.where(fired, 0.0, error)
        return Margin(float(smallest), float(bound), ties, wrong)

    def _drive(self, spikes: Mapping[str, np.ndarray], shown: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Input of a step ``(images, neurons)``, and the same with all terms positive."""
        drive = np.zeros((len(shown), self.population.size))
        if self.population.bias is not None:
            drive = drive + self.population.bias.ravel()
        size = abs(drive)
        for each in self.inputs:
            if step < each.projection.delay:
                continue
            if self.spec.is_stimulus(each.projection.source):
                sent = shown[:, step % shown.shape[1]]
            else:
                sent = spikes[each.projection.source][:, step - each.projection.delay].astype(np.float64)
            drive = drive + (each.weights @ sent.T).T
            size = size + (each.sizes @ abs(sent).T).T
        return drive * self.neurons.gain, size * abs(self.neurons.gain)
