"""Recorded state variables of neurons, as plain data for figures and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class InnerState:
    """One variable of a layer's neurons in both networks, as the threshold test sees it.

    neurons         their numbers in the layer
    brian2, torch   float64 ``(images, steps, neurons)``; `torch` None for a variable that only Brian2's equations have
    spikes          Brian2's, of the same shape, bool; None for a layer that does not spike
    threshold       what the variable must pass, of the same shape; None where it is not compared with a threshold

    ValueError where the shapes differ.
    """

    layer: str
    variable: str
    neurons: np.ndarray
    brian2: np.ndarray
    torch: np.ndarray | None
    spikes: np.ndarray | None
    threshold: np.ndarray | None

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.brian2, self.torch, self.spikes, self.threshold) if array is not None}
        if len(shapes) > 1 or self.brian2.ndim != 3 or self.brian2.shape[2:] != self.neurons.shape:
            raise ValueError(
                f"{len(self.neurons)} neurons of layer {self.layer} have arrays of shapes {sorted(shapes)}"
            )

    def of(self, neurons: Sequence[int] | np.ndarray) -> InnerState:
        """The states of some of the neurons, given by their indices."""
        brian2, torch, spikes, threshold = (
            None if array is None else array[:, :, neurons]
            for array in (self.brian2, self.torch, self.spikes, self.threshold)
        )
        assert brian2 is not None
        return InnerState(self.layer, self.variable, self.neurons[neurons], brian2, torch, spikes, threshold)

    @property
    def largest_difference(self) -> float | None:
        """The largest absolute difference between both networks; None if PyTorch's is not known, or of no neuron."""
        return None if self.torch is None or not self.torch.size else float(np.abs(self.brian2 - self.torch).max())
