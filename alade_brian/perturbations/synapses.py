"""Perturbations of synapses: weights, their signs and resolution, and what a synapse does to a spike in time."""

from __future__ import annotations

import dataclasses

import numpy as np

from alade_brian.perturbations.base import (
    PERTURBATIONS,
    Perturbation,
    Presentation,
    SpecPerturbation,
    as_sequences,
    each_weighted,
    generator,
    image_numbers,
)
from alade_brian.perturbations.neurons import extended
from alade_brian.spec import NetworkSpec, NeuronEquations, Population, Projection, Release, Stimulus, constant
from alade_brian.spec.release import TICKETS


@PERTURBATIONS.register("weight-noise")
class WeightNoise(SpecPerturbation):
    """Every weight gets a normally distributed number, in units of the standard deviation of its projection's weights.
    A convolution keeps one kernel for all places."""

    name = "weight-noise"
    unit = "noise (s.d. of the projection's weights)"
    random = True
    strengths = (0, 0.2, 0.4, 0.8, 1.6)

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        def noisy(projection: Projection, weight: np.ndarray) -> np.ndarray:
            draw = generator(seed, projection.name, projection.target_offset).standard_normal(weight.shape)
            return weight + strength * weight.std() * draw

        return each_weighted(spec, noisy)


@PERTURBATIONS.register("weight-resolution")
class WeightResolution(SpecPerturbation):
    """Weights are rounded to multiples of a step; b bits, one of them the sign, are a step of ``1 / (2^(b-1) - 1)``."""

    name = "weight-resolution"
    unit = "step (fraction of the projection's largest weight)"
    highest = 1.0
    strengths = (0, 1 / 127, 1 / 7, 1 / 3, 1)

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        def rounded(projection: Projection, weight: np.ndarray) -> np.ndarray:
            step = strength * np.abs(weight).max(initial=0.0)
            return weight if step == 0 else np.round(weight / step) * step

        return each_weighted(spec, rounded)


@PERTURBATIONS.register("dale")
class SignConstraint(SpecPerturbation):
    """Dale's principle: what a neuron sends has one sign. Weights against the sign of the sum of a sender's weights
    shrink by the strength; senders that share weights (a channel) share their sign. Weights of stimuli stay."""

    name = "dale"
    unit = "part taken away from weights of the wrong sign"
    highest = 1.0
    strengths = (0, 0.25, 0.5, 0.75, 1)

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        def signed(projection: Projection, weight: np.ndarray) -> np.ndarray:
            if spec.is_stimulus(projection.source) or weight.ndim < 2:
                return weight
            sums = weight.sum(axis=(0, *range(2, weight.ndim)), keepdims=True)
            return np.where(weight * sums < 0, weight * (1 - strength), weight)

        return each_weighted(spec, signed)


class _Filter(SpecPerturbation):
    """What arrives at a neuron (spikes and its bias; not the stimulus) passes through a filter of unit area before the
    membrane sees it. The strength is its time constant."""

    unit = "synaptic time constant (steps)"
    strengths = (0, 0.5, 1, 2, 4, 8)
    states = ""
    filtered = ""

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        if strength == 0:
            # The same numbers, but summed in another order.
            return spec
        for population in spec.populations:
            inputs = spec.inputs(population.name)
            if any(spec.sends_spikes(p.source) for p in inputs) and population.neuron.spiking:
                if any(not spec.sends_spikes(p.source) for p in inputs):
                    raise self.refuse(f"'{population.name}' takes currents beside spikes")
                spec = spec.replace_population(population.name, neuron=self._slow(population, strength))
        return spec

    def _slow(self, population: Population, strength: float) -> NeuronEquations:
        neuron = population.neuron
        slow = extended(
            neuron,
            states=f"arrived : 1\n{self.states}",
            parameters={"keep": constant(np.exp(-1 / strength))},
            arrival=self.filtered.format(neuron.input_variable),
        )
        return dataclasses.replace(slow, input="arrived")


@PERTURBATIONS.register("exponential-synapses")
class ExponentialFilter(_Filter):
    """An exponential postsynaptic current, normalised: a spike's effect arrives over the following steps.

    ``s[t] = k s[t-1] + (1 - k) x[t]``, ``k = exp(-1 / strength)``.
    """

    name = "exponential-synapses"
    states = "slow : 1"
    filtered = "slow = keep * slow + (1 - keep) * arrived\narrived = 0\n{0} += slow"


@PERTURBATIONS.register("alpha-synapses")
class AlphaFilter(_Filter):
    """As `ExponentialFilter`, twice behind each other: a current that rises and falls (an alpha function in discrete
    time)."""

    name = "alpha-synapses"
    states = "rising : 1\nslow : 1"
    filtered = (
        "rising = keep * rising + (1 - keep) * arrived\narrived = 0\n"
        "slow = keep * slow + (1 - keep) * rising\n{0} += slow"
    )


@PERTURBATIONS.register("unreliable-release")
class UnreliableRelease(Perturbation):
    """Every synapse lets a spike pass or fails, each spike and synapse by itself; synapses of one kernel too. What
    arrives is not made up for: on the average a weight is ``1 - strength`` of what it was."""

    name = "unreliable-release"
    unit = "probability that a synapse fails"
    highest = 1.0
    random = True
    strengths = (0, 0.1, 0.2, 0.4, 0.6, 0.8)

    def apply(self, shown: Presentation, strength: float, seed: int) -> Presentation:
        if strength == 0:
            # The same synapses, but as lists, which sum in another order.
            return shown
        if shown.spec.stimulus.coding == "spikes":
            raise self.refuse("its stimulus is one of spikes, beside which no numbers can be shown")
        spec, images = as_sequences(shown)
        release = Release(1 - strength, "tickets")
        projections = tuple(
            dataclasses.replace(p, release=release) if spec.sends_spikes(p.source) else p for p in spec.projections
        )
        images[release.ticket] = np.stack(
            [generator(seed, k).integers(TICKETS, size=(spec.steps, 1)) for k in image_numbers(shown)]
        ).astype(np.float64)
        stimuli = (*spec.stimuli, Stimulus((1,), release.ticket, "sequence"))
        spec = dataclasses.replace(spec, stimuli=stimuli, projections=projections)
        return dataclasses.replace(shown, spec=spec, images=images)


@PERTURBATIONS.register("conductances")
class Conductances(Perturbation):
    """Synapses open conductances instead of passing charge. Within a step all excitatory conductance g and inhibitory
    conductance h of a neuron act together: the membrane moves towards ``(g E - h E) / (g + h)`` by
    ``1 - exp(-(g + h))``, the solution of ``dv = g (E - v) dt + h (-E - v) dt``. The reversal potentials are E and -E
    with ``E = 1 / strength``; from rest, a small input of weight w has the effect w. Stimulus and bias stay currents.
    """

    name = "conductances"
    unit = "1 / reversal potential (per membrane unit)"
    strengths = (0, 0.1, 0.2, 0.4, 0.8)

    def apply(self, shown: Presentation, strength: float, seed: int) -> Presentation:
        spec = shown.spec
        if strength == 0:
            # The same numbers, but excitation and inhibition summed apart.
            return shown
        targets = {p.target for p in spec.projections if spec.sends_spikes(p.source)}
        targets &= {p.name for p in spec.spiking}
        kept, split = [], []
        for projection in spec.projections:
            if projection.target in targets and spec.sends_spikes(projection.source):
                split.append(self._split(projection, strength))
            else:
                kept.append(projection)
        for name in targets:
            spec = spec.replace_population(name, neuron=self._conducting(spec.population(name), strength))
        inhibitory = range(len(kept) + len(split), len(kept) + 2 * len(split))
        projections = (*kept, *(e for e, _ in split), *(i for _, i in split))
        # A synapse opens one of both: its spikes are counted on the way of excitation.
        return dataclasses.replace(
            shown, spec=dataclasses.replace(spec, projections=projections), uncounted_projections=frozenset(inhibitory)
        )

    def _split(self, projection: Projection, strength: float) -> tuple[Projection, Projection]:
        operator = projection.operator
        if not operator.has_weights:
            raise self.refuse(f"the projection {projection.name} has no weights")
        return (
            dataclasses.replace(
                projection,
                operator=operator.with_values(strength * np.maximum(operator.values(), 0)),
                target_variable="exc",
            ),
            dataclasses.replace(
                projection,
                operator=operator.with_values(strength * np.maximum(-operator.values(), 0)),
                target_variable="inh",
            ),
        )

    def _conducting(self, population: Population, strength: float) -> NeuronEquations:
        neuron = population.neuron
        v = neuron.membrane
        if neuron.input_variable != v:
            raise self.refuse(f"the neurons of '{population.name}' have no membrane that takes the input itself")
        moved = f"{v} += ((exc - inh) * reversal - (exc + inh) * {v}) * exprel(-(exc + inh))\nexc = 0\ninh = 0"
        reversal = {"reversal": constant(1 / strength)}
        return extended(neuron, states="exc : 1\ninh : 1", parameters=reversal, arrival=moved)
