"""Perturbations of time: delays, and the length of a step."""

from __future__ import annotations

import dataclasses

import numpy as np

from alade_brian.conversion.connectivity import projection_synapses
from alade_brian.conversion.spec import NetworkSpec, NeuronEquations, Parameter, Population, Projection, Sparse
from alade_brian.perturbations.base import SpecPerturbation, generator, scaled


class AxonalDelay(SpecPerturbation):
    """Every spike reaches its targets so many steps later; layer k is shifted by k - 1 delays. A presentation is not
    made longer: what arrives behind its end is lost."""

    name = "delay"
    unit = "delay from layer to layer (steps)"
    whole = True
    strengths = (0, 1, 2, 3)

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        def late(projection: Projection) -> Projection:
            if not spec.sends_spikes(projection.source):
                return projection
            return dataclasses.replace(projection, delay=projection.delay + int(strength))

        return dataclasses.replace(spec, projections=tuple(late(p) for p in spec.projections))


class UnequalDelays(SpecPerturbation):
    """Every synapse has a delay of its own, of 0 to `strength` steps, each as likely; also within a shared kernel."""

    name = "unequal-delays"
    unit = "largest delay of a synapse (steps)"
    whole = True
    random = True
    strengths = (0, 1, 2, 3)

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
        drawn = generator(seed, projection.name, projection.first).integers(0, largest + 1, len(found))
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
        if neuron.update or neuron.takes_input != neuron.membrane or len(neuron.states) > 1:
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
        operator = scaled(projection.operator, float(gains[0]))
        if len(gains) > 1 or operator is None:
            raise self.refuse(f"the current {projection.name} flows to unequal neurons, or has no weights")
        return dataclasses.replace(projection, operator=operator)


def _held(tau: np.ndarray | None, finer: int) -> np.ndarray:
    """What of a current that gave 1 per step is given in each of the shorter ones, so that together, with the leak
    between them, they give 1."""
    if finer == 1 or tau is None:
        return np.full((), 1 / finer)
    decay = np.exp(-1 / tau)
    return (1 - decay ** (1 / finer)) / (1 - decay)
