"""Perturbations of neurons: refractoriness, unequal thresholds and membranes, adaptation, lesions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from alade_brian.perturbations.base import PERTURBATIONS, SpecPerturbation, each_spiking, generator
from alade_brian.spec import NetworkSpec, NeuronEquations, Parameter, Population, constant

# A level that no membrane reaches, and far from overflow in both types.
NEVER = 1e30
# Steps over which spike-frequency adaptation decays.
ADAPTATION_STEPS = 20.0


def extended(
    neuron: NeuronEquations,
    *,
    states: str = "",
    parameters: Mapping[str, Parameter] | None = None,
    arrival: str = "",
    update: str = "",
    threshold: str = "{}",
    on_spike: str = "",
) -> NeuronEquations:
    """A neuron with more variables and code behind its own, `arrival` before it; `threshold` says what becomes of its
    level ``{}``."""
    return dataclasses.replace(
        neuron,
        model="\n".join(part for part in (neuron.model, states) if part),
        parameters={**neuron.parameters, **(parameters or {})},
        update="\n".join(part for part in (arrival, neuron.update, update) if part),
        threshold=threshold.format(neuron.threshold),
        on_spike="\n".join(part for part in (neuron.on_spike, on_spike) if part),
    )


@PERTURBATIONS.register("refractory")
class RefractoryPeriod(SpecPerturbation):
    """For so many steps behind a spike a neuron does not fire; where its reset sets the membrane to a value, it stays
    there as long (absolute refractoriness)."""

    name = "refractory"
    unit = "refractory period (steps)"
    whole = True
    strengths = (0, 1, 2, 3)

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        def held(population: Population) -> NeuronEquations:
            neuron = population.neuron
            v = neuron.membrane
            stays = f"\n{v} = {v} * int(quiet < 0.5) + v_reset * int(quiet > 0.5)" * (neuron.reset == "value")
            return extended(
                neuron,
                states="quiet : 1",
                parameters={"pause": constant(strength)},
                update="quiet = (quiet - 1) * int(quiet > 0.5)" + stays,
                threshold=f"({{}}) + {NEVER} * int(quiet > 0.5)",
                on_spike="quiet = pause + 1",
            )

        return each_spiking(spec, held)


@PERTURBATIONS.register("thresholds")
class UnequalThresholds(SpecPerturbation):
    """Every neuron's threshold is multiplied by a number of its own, lognormal with median 1; the strength is the
    standard deviation of its logarithm."""

    name = "thresholds"
    unit = "spread of thresholds (s.d. of the logarithm)"
    random = True
    strengths = (0, 0.1, 0.2, 0.4, 0.8, 1.6)

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        def scattered(population: Population) -> NeuronEquations:
            factor = _lognormal(population, strength, seed)
            return extended(population.neuron, parameters={"scatter": constant(factor)}, threshold="({}) * scatter")

        return each_spiking(spec, scattered)


@PERTURBATIONS.register("time-constants")
class UnequalTimeConstants(SpecPerturbation):
    """Every neuron's membrane time constant is multiplied by a number of its own, as `UnequalThresholds`."""

    name = "time-constants"
    unit = "spread of membrane time constants (s.d. of the logarithm)"
    random = True
    strengths = (0, 0.2, 0.4, 0.8, 1.6)

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        def scattered(population: Population) -> NeuronEquations:
            neuron = population.neuron
            if "tau" not in neuron.parameters:
                raise self.refuse(f"the neurons of '{population.name}' have no membrane time constant")
            tau = neuron.parameters["tau"]
            factor = _lognormal(population, strength, seed)
            changed = Parameter(np.broadcast_to(tau.value, population.shape) * factor, tau.unit)
            return dataclasses.replace(neuron, parameters={**neuron.parameters, "tau": changed})

        return each_spiking(spec, scattered)


def _lognormal(population: Population, spread: float, seed: int) -> np.ndarray:
    return np.exp(spread * generator(seed, population.name).standard_normal(population.shape))


@PERTURBATIONS.register("adaptation")
class Adaptation(SpecPerturbation):
    """Spike-frequency adaptation: every spike raises the neuron's threshold by the strength, which decays with a time
    constant of 20 steps."""

    name = "adaptation"
    unit = "threshold's rise per spike (membrane units)"
    strengths = (0, 0.1, 0.2, 0.4, 0.8, 1.6)

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        def tired(population: Population) -> NeuronEquations:
            return extended(
                population.neuron,
                states="tiredness : 1",
                parameters={"tiring": constant(strength), "recovery": constant(np.exp(-1 / ADAPTATION_STEPS))},
                update="tiredness = recovery * tiredness",
                threshold="({}) + tiredness",
                on_spike="tiredness += tiring",
            )

        return each_spiking(spec, tired)


@PERTURBATIONS.register("selective-lesion")
class SelectiveLesion(SpecPerturbation):
    """The fraction of each layer's neurons that are the most selective never fires again; silent neurons, which have no
    selectivity, come last.

    selectivity   by population, a number for every neuron; nan where it has none
    """

    name = "selective-lesion"
    unit = "fraction of neurons, the most selective first"
    highest = 1.0
    strengths = (0, 0.1, 0.2, 0.4, 0.6, 0.8)
    selectivity: Mapping[str, np.ndarray] | None = None

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        if self.selectivity is None or set(self.selectivity) != {p.name for p in spec.spiking}:
            raise self.refuse("the selectivity of its neurons is not known; measure it before")
        selectivity = self.selectivity

        def damaged(population: Population) -> NeuronEquations:
            order = np.argsort(-np.nan_to_num(selectivity[population.name].ravel(), nan=-1.0), kind="stable")
            lost = np.zeros(population.size, bool)
            lost[order[: round(strength * population.size)]] = True
            return _without(population, lost.reshape(population.shape))

        return each_spiking(spec, damaged)


@PERTURBATIONS.register("lesion")
class Lesion(SpecPerturbation):
    """A fraction of the neurons, chosen at random, never fires again.

    task   only in the extractor that this task brought (from 1); None: everywhere
    """

    name = "lesion"
    unit = "fraction of neurons"
    highest = 1.0
    random = True
    strengths = (0, 0.1, 0.2, 0.4, 0.6, 0.8)

    def __init__(self, task: int | None = None) -> None:
        self.task = task

    @property
    def label(self) -> str:
        return self.name if self.task is None else f"{self.name}-task-{self.task}"

    def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
        where = "" if self.task is None else f"extractors.{self.task - 1}."
        if not any(p.name.startswith(where) for p in spec.spiking):
            raise self.refuse(f"it has no extractor of task {self.task}")

        def damaged(population: Population) -> NeuronEquations:
            order = generator(seed, population.name).permutation(population.size).reshape(population.shape)
            return _without(population, (order < round(strength * population.size)) & population.name.startswith(where))

        return each_spiking(spec, damaged)


def _without(population: Population, lost: np.ndarray) -> NeuronEquations:
    """The population's neuron with a threshold out of reach where it is lost."""
    return extended(population.neuron, parameters={"lesion": constant(NEVER * lost)}, threshold="({}) + lesion")
