"""Perturbations of time: delays, and the length of a step."""

from __future__ import annotations

import dataclasses

import numpy as np

from alade_brian.perturbations.base import (
    PERTURBATIONS,
    Perturbation,
    Presentation,
    SpecPerturbation,
    as_sequences,
    generator,
    image_numbers,
)
from alade_brian.spec import (
    Identity,
    NetworkSpec,
    NeuronEquations,
    Parameter,
    Population,
    Projection,
    Sparse,
    Stimulus,
    constant,
    memoryless,
)
from alade_brian.spec.synapses import projection_synapses

# What is on its way for longer is a slip.
MOST_STEPS = 10_000


@PERTURBATIONS.register("delay")
class AxonalDelay(SpecPerturbation):
    """Every spike reaches its targets so many steps later; layer k is shifted by k - 1 delays. A presentation is not
    made longer: what arrives behind its end is lost."""

    name = "delay"
    unit = "delay from layer to layer (steps)"
    whole = True
    strengths = (0, 1, 2, 3)
    highest = MOST_STEPS

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        def late(projection: Projection) -> Projection:
            if not spec.sends_spikes(projection.source):
                return projection
            return dataclasses.replace(projection, delay=projection.delay + int(strength))

        return dataclasses.replace(spec, projections=tuple(late(p) for p in spec.projections))


@PERTURBATIONS.register("unequal-delays")
class UnequalDelays(SpecPerturbation):
    """Every synapse has a delay of its own, of 0 to `strength` steps, each as likely; also within a shared kernel."""

    name = "unequal-delays"
    unit = "largest delay of a synapse (steps)"
    whole = True
    random = True
    strengths = (0, 1, 2, 3)
    highest = MOST_STEPS

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        if strength == 0:
            # The same synapses, but as lists, which sum in another order.
            return spec
        parts: list[Projection] = []
        for projection in spec.projections:
            parts += self._split(spec, projection, int(strength), seed)
        return dataclasses.replace(spec, projections=tuple(parts))

    @staticmethod
    def _split(spec: NetworkSpec, projection: Projection, largest: int, seed: int) -> list[Projection]:
        if not spec.sends_spikes(projection.source):
            return [projection]
        found = projection_synapses(spec, projection)
        weight = found.weights(projection.operator)
        drawn = generator(seed, projection.name, projection.target_offset).integers(0, largest + 1, len(found))
        shape = spec.shape(projection.target)
        return [
            Projection(
                projection.source,
                projection.target,
                Sparse(found.post[late], found.pre[late], weight[late], shape),
                projection.delay + delay,
            )
            for delay in range(largest + 1)
            if (late := np.flatnonzero(drawn == delay)).size
        ]


@PERTURBATIONS.register("jitter")
class SpikeTimeJitter(Perturbation):
    """Every spike reaches all its targets by a number of steps later that is drawn for it, 0 to `strength`, each as
    likely. What arrives behind the end of a presentation is lost.

    Behind every population stand relays, one for each delay: a relay passes on those spikes that drew its delay.
    """

    name = "jitter"
    unit = "largest delay of a spike (steps)"
    whole = True
    random = True
    strengths = (0, 1, 2, 3)
    highest = MOST_STEPS

    def apply(self, shown: Presentation, strength: float, seed: int) -> Presentation:
        if strength == 0:
            return shown
        if shown.spec.stimulus.coding == "spikes":
            raise self.refuse("its stimulus is one of spikes, beside which no numbers can be shown")
        spec, images = as_sequences(shown)
        slots = int(strength) + 1
        stimuli, populations = list(spec.stimuli), []
        sent, into_relays = [p for p in spec.projections if not spec.sends_spikes(p.source)], []
        for population in spec.populations:
            populations.append(population)
            leaving = [p for p in spec.projections if p.source == population.name]
            if not population.neuron.spiking or not leaving:
                continue
            draws = Stimulus(population.shape, f"jitter of {population.name}", "sequence")
            stimuli.append(draws)
            images[draws.name] = np.stack(
                [
                    generator(seed, population.name, k).integers(slots, size=(spec.steps, *population.shape))
                    for k in image_numbers(shown)
                ]
            ).astype(np.float64)
            relays = [self._relay(population, late, slots) for late in range(slots)]
            populations += relays
            for late, relay in enumerate(relays):
                into_relays.append(Projection(population.name, relay.name, Identity(np.array(float(slots)))))
                into_relays.append(Projection(draws.name, relay.name, Identity()))
                sent += [dataclasses.replace(p, source=relay.name, delay=p.delay + late) for p in leaving]
        uncounted = frozenset(range(len(sent), len(sent) + len(into_relays)))
        spec = dataclasses.replace(
            spec, stimuli=tuple(stimuli), populations=tuple(populations), projections=(*sent, *into_relays)
        )
        return dataclasses.replace(shown, spec=spec, images=images, uncounted_projections=uncounted)

    def _relay(self, population: Population, late: int, slots: int) -> Population:
        """It fires where a spike, which counts `slots`, meets a draw of `late`."""
        if "amplitude" in population.neuron.parameters:
            raise self.refuse(f"the spikes of '{population.name}' have amplitudes, which a relay does not know")
        meets = "v = int(abs(drive - sought) < 0.5)\ndrive = 0"
        neuron = memoryless(spiking=True, v_threshold=constant(0.5), sought=constant(slots + late))
        return Population(
            f"{population.name}, {late} late", population.shape, dataclasses.replace(neuron, update=meets)
        )


@PERTURBATIONS.register("finer-steps")
class FinerSteps(SpecPerturbation):
    """Every step is cut into ``1 + strength`` shorter ones; the neurons follow the same differential equation. A
    current that is held during a step enters as the equation's solution has it; a spike is a jump as before."""

    name = "finer-steps"
    unit = "further steps within one"
    whole = True
    highest = 99
    strengths = (0, 1, 3, 7)

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        finer = 1 + int(strength)
        if spec.stimulus.coding != "direct":
            raise self.refuse("its images are sequences with one frame per step")
        if any(p.delay for p in spec.projections):
            raise self.refuse("it has delays, which are counted in steps")
        taus: dict[str, np.ndarray | None] = {}
        for population in spec.populations:
            taus[population.name] = self._tau(population)
            neuron = self._slower(population.neuron, finer)
            gain = _held(taus[population.name], finer)
            bias = None if population.bias is None else population.bias * gain
            spec = spec.replace_population(population.name, neuron=neuron, bias=bias)
        projections = tuple(self._held(spec, p, taus[p.target], finer) for p in spec.projections)
        return dataclasses.replace(spec, projections=projections, steps=spec.steps * finer, dt=spec.dt / finer)

    def _tau(self, population: Population) -> np.ndarray | None:
        """The time constant of the membrane that takes the input, in the population's shape; None where it does not
        leak."""
        neuron = population.neuron
        if neuron.update or neuron.input_variable != neuron.membrane or len(neuron.states) > 1:
            raise self.refuse(f"the neurons of '{population.name}' have more than a membrane")
        tau = neuron.parameters.get("tau")
        return None if tau is None else np.broadcast_to(tau.value, population.shape)

    @staticmethod
    def _slower(neuron: NeuronEquations, finer: int) -> NeuronEquations:
        longer = {
            key: Parameter(p.value * finer, p.unit) if p.unit == "step" else p for key, p in neuron.parameters.items()
        }
        return dataclasses.replace(neuron, parameters=longer)

    def _held(self, spec: NetworkSpec, projection: Projection, tau: np.ndarray | None, finer: int) -> Projection:
        if finer == 1 or spec.sends_spikes(projection.source):
            return projection
        gains = np.unique(_held(tau, finer))
        if len(gains) > 1:
            raise self.refuse(f"the current {projection.name} flows to unequal neurons")
        operator = projection.operator.scaled(float(gains[0]), spec.shape(projection.source))
        return dataclasses.replace(projection, operator=operator)


def _held(tau: np.ndarray | None, finer: int) -> np.ndarray:
    """What of a current that gave 1 per step is given in each of the shorter ones, so that together, with the leak
    between them, they give 1."""
    if finer == 1 or tau is None:
        return np.full((), 1 / finer)
    decay = np.exp(-1 / tau)
    return (1 - decay ** (1 / finer)) / (1 - decay)
