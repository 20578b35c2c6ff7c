"""Small specifications that are written down without a torch module."""

from __future__ import annotations

from math import prod

import numpy as np

from alade_brian.spec import (
    Dense,
    Identity,
    NetworkSpec,
    NeuronEquations,
    Operator,
    Population,
    Projection,
    Readout,
    Shape,
    Stimulus,
    constant,
)

# A neuron that fires in a step whose input is more than 0.5, and one that adds up what reaches it.
FIRES = NeuronEquations("v : 1", {"v_threshold": constant(0.5)}, reset="none")
READS = NeuronEquations("v : 1", spiking=False, reset="none")


def through(
    operator: Operator,
    source: Shape,
    target: Shape,
    neurons: tuple[NeuronEquations, NeuronEquations] = (FIRES, READS),
    readout: str = "last_membrane",
    steps: int = 1,
    stimulus: Stimulus | None = None,
    **changes: object,
) -> NetworkSpec:
    """A population `a` that shows a stimulus, and a population `b` that it reaches through an operator.

    readout    how `b` is read
    stimulus   in the order of `a` (default: a sequence of images of its shape)
    changes    further fields of the projection between them
    """
    shown = stimulus or Stimulus(source, coding="sequence")
    populations = Population("a", source, neurons[0]), Population("b", target, neurons[1])
    entry = Identity() if stimulus is None else Dense(np.eye(prod(source)))
    projections = Projection("image", "a", entry), Projection("a", "b", operator, **changes)  # type: ignore[arg-type]
    return NetworkSpec((shown,), populations, projections, Readout("b", readout), steps)


class Layers:
    """A network that is written down layer by layer, with biases of random numbers."""

    def __init__(self, draw: np.random.Generator, *stimuli: Stimulus) -> None:
        self.draw, self.stimuli, self.shapes = draw, stimuli, {s.name: s.shape for s in stimuli}
        self.populations: list[Population] = []
        self.projections: list[Projection] = []

    def add(self, name: str, shape: Shape, neuron: NeuronEquations) -> None:
        self.shapes[name] = shape
        self.populations.append(Population(name, shape, neuron, self.draw.uniform(-0.1, 0.3, shape)))

    def link(
        self, source: str, target: str, operator: Operator, delay: int = 0, first: int = 0, into: str = ""
    ) -> None:
        self.projections.append(Projection(source, target, operator, delay, first, into))

    def then(self, source: str, name: str, operator: Operator, neuron: NeuronEquations) -> None:
        """A layer that an operator makes."""
        self.add(name, operator.output_shape(self.shapes[source]), neuron)
        self.link(source, name, operator)

    def spec(self, readout: Readout, steps: int = 4) -> NetworkSpec:
        return NetworkSpec(self.stimuli, tuple(self.populations), tuple(self.projections), readout, steps)
