"""Random perturbations that differ from image to image: noise on membranes, and a stimulus of random events.

Random numbers are drawn for each image by its number and the seed, and shown to the simulation as one more stimulus:
the result depends neither on the backend nor on how images are shared among processes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from alade_brian.perturbations.base import (
    PERTURBATIONS,
    Perturbation,
    Presentation,
    as_sequences,
    generator,
    image_numbers,
)
from alade_brian.spec import Identity, Population, Projection, Stimulus


@PERTURBATIONS.register("membrane-noise")
class MembraneNoise(Perturbation):
    """Every spiking neuron's membrane is a random process around what its input makes of it. The strength is the
    standard deviation that it has without input and resets, in thresholds, whatever the length of a step.

    With a leak it is an Ornstein-Uhlenbeck process: per step ``v += s * sqrt(1 - d^2) * normal`` behind the leak
    ``d = exp(-dt / tau)``, the exact solution of ``dv = -v / tau dt + s * sqrt(2 / tau) dW``, whose standard deviation
    comes to s. Without one it is a Wiener process, whose standard deviation has come to s at the end of the
    presentation: per step ``v += s / sqrt(steps) * normal``.
    """

    name = "membrane-noise"
    unit = "s.d. of the free membrane (thresholds)"
    random = True
    strengths = (0, 0.1, 0.2, 0.4, 0.8, 1.6)

    def apply(self, shown: Presentation, strength: float, seed: int) -> Presentation:
        if shown.spec.stimulus.coding == "spikes":
            raise self.refuse("its stimulus is one of spikes, beside which no current can be shown")
        spec, images = as_sequences(shown)
        for population in spec.spiking:
            name = f"noise of {population.name}"
            scale = strength * self._innovation(population, spec.steps)
            stimulus = Stimulus(population.shape, name, "sequence")
            projection = Projection(name, population.name, Identity())
            spec = dataclasses.replace(
                spec, stimuli=(*spec.stimuli, stimulus), projections=(*spec.projections, projection)
            )
            images[name] = np.stack(
                [
                    scale * generator(seed, population.name, k).standard_normal((spec.steps, *population.shape))
                    for k in image_numbers(shown)
                ]
            )
        return dataclasses.replace(shown, spec=spec, images=images)

    def _innovation(self, population: Population, steps: int) -> np.ndarray:
        """The standard deviation of what a step adds, at strength 1."""
        neuron = population.neuron
        integrates = "tau" in neuron.parameters or (neuron.model == "v : 1" and not neuron.update)
        if not integrates or "v_threshold" not in neuron.parameters or neuron.input_variable != neuron.membrane:
            raise self.refuse(
                f"the neurons of '{population.name}' are no integrate-and-fire neurons whose membrane takes the input"
            )
        threshold = np.abs(neuron.parameters["v_threshold"].value)
        if "tau" not in neuron.parameters:
            return threshold / np.sqrt(steps)
        decay = np.exp(-1 / neuron.parameters["tau"].value)
        return threshold * np.sqrt(1 - decay**2)


@PERTURBATIONS.register("poisson-stimulus")
class PoissonStimulus(Perturbation):
    """Instead of a held image, random events: in every step a pixel x is ``k * strength`` for a Poisson number k of
    mean ``|x| / strength``, with the sign of x; mean x, variance ``strength * |x|``."""

    name = "poisson-stimulus"
    unit = "size of one event (pixel units)"
    random = True
    strengths = (0, 0.3, 1, 3, 10)

    def apply(self, shown: Presentation, strength: float, seed: int) -> Presentation:
        if shown.spec.stimulus.coding != "direct":
            raise self.refuse("its images are not held, but sequences")
        spec, images = as_sequences(shown)
        if strength > 0:
            images = {name: self._events(array, strength, seed, shown.first) for name, array in images.items()}
        return dataclasses.replace(shown, spec=spec, images=images)

    @staticmethod
    def _events(images: np.ndarray, size: float, seed: int, first: int) -> np.ndarray:
        found = np.empty(images.shape)
        for k, image in enumerate(images):
            found[k] = np.sign(image) * size * generator(seed, first + k).poisson(np.abs(image) / size)
        return found
