"""The answer of neurons that fire once: the class whose neuron is the first to fire."""

from __future__ import annotations

from torch import Tensor, nn

from alade_brian.models.layers.readouts import Decision, FirstSpike
from alade_brian.models.neurons.latency import WINDOW_SECONDS, RelPspIF


class FirstToFire(nn.Module):
    """A layer of neurons behind the classifier: the class whose neuron fires first is the answer.

    Of neurons that fire in the same step the first in the order of classes counts, and so where none fires: all give
    minus the number of steps then (`FirstSpike`).
    """

    def __init__(self, neuron: RelPspIF) -> None:
        super().__init__()
        self.neuron = neuron
        self.readout = FirstSpike(neuron.steps)

    @property
    def decision(self) -> Decision:
        """See `OverSteps`."""
        return self.readout.decision

    @decision.setter
    def decision(self, decision: Decision) -> None:
        self.readout.decision = decision

    @property
    def step_seconds(self) -> float:
        """What a step lasts, where a window lasts `WINDOW_SECONDS`."""
        return WINDOW_SECONDS / self.neuron.window

    def forward(self, currents: Tensor) -> Tensor:
        """``(steps * images, classes)`` -> ``(images, classes)``."""
        return self.readout(self.neuron(currents))
