"""Responses of a network, simulated or trained: every spike of every layer, and the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from alade_brian.spec import DECODINGS, Readout


@dataclass(frozen=True, eq=False)
class Responses:
    """spikes   by layer name, in step order, bool ``(images, steps, neurons)``
    logits   float64 ``(images, classes)``, or ``(images, steps, outputs)`` if every step is read
    traces   by layer name, of the layers asked for: membrane at the end of every step, float64
             ``(images, steps, neurons)``
    """

    spikes: Mapping[str, np.ndarray]
    logits: np.ndarray
    traces: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def predictions(self) -> np.ndarray:
        """int64 ``(images,)``: the class with the largest logit (one per step if every step is read)."""
        return self.logits.argmax(-1)

    def select(self, images: slice) -> Responses:
        """The responses to some of the images."""
        return Responses(_each(self.spikes, images), self.logits[images], _each(self.traces, images))


def _each(arrays: Mapping[str, np.ndarray], images: slice) -> dict[str, np.ndarray]:
    return {name: array[images] for name, array in arrays.items()}


def concatenate(parts: Sequence[Responses]) -> Responses:
    """Concatenate the responses to consecutive batches of images."""
    spikes = {name: np.concatenate([p.spikes[name] for p in parts]) for name in parts[0].spikes}
    traces = {name: np.concatenate([p.traces[name] for p in parts]) for name in parts[0].traces}
    return Responses(spikes, np.concatenate([p.logits for p in parts]), traces)


def read_out(readout: Readout, values: np.ndarray) -> np.ndarray:
    """Compute logits from the spikes (times their amplitude) or membranes ``(images, steps, neurons)`` of the readout's
    population."""
    decoding = DECODINGS[readout.decoding]
    answers = decoding.logits(values != 0 if decoding.reads == "firing" else values, values.shape[1])
    groups = answers.reshape(*answers.shape[:-1], -1, readout.neurons_per_output)
    together = groups.sum(-1) if decoding.group == "sum" else groups.mean(-1)
    return np.asarray(together if readout.neurons_per_output > 1 else answers, dtype=np.float64)
