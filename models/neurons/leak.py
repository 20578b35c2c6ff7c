"""A membrane that leaks, and how much of its input it takes."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from alade_brian.models.neurons.neuron import Constant, Neuron, NeuronState, numbers
from alade_brian.spec import Parameter, constant

S = TypeVar("S", bound=NeuronState)


class LeakyMembrane(Neuron[S]):
    """A neuron whose membrane decays from step to step.

    decay         of the membrane, between 0 and 1
    scale_input   whether the membrane takes what charges it times ``1 - decay``
    """

    decay: Constant
    scale_input: bool

    def _set_leak(self, decay: Constant, scale_input: bool) -> None:
        self._register_decay("decay", decay)
        self.scale_input = scale_input

    def _taken(self, charge: Tensor) -> Tensor:
        """What the membrane takes of what charges it in a step."""
        return (1 - self.decay) * charge if self.scale_input else charge

    def _gain(self) -> dict[str, Parameter]:
        """The equations' parameter `gain`, of a neuron that scales its input."""
        return {"gain": constant(1 - numbers(self.decay))} if self.scale_input else {}

    def _driven(self) -> tuple[str, str, str]:
        """Further line of the model, variable that takes the input, and update of equations whose input charges the
        membrane itself."""
        return ("\ndrive : 1", "drive", "v += gain*drive\ndrive = 0") if self.scale_input else ("", "", "")
