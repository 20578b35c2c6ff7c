"""What a network answered: every spike of every layer, and the logits. Both networks answer in this form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Responses:
    """spikes: by layer name, in step order, bool ``(images, steps, neurons)``; logits float64 ``(images, classes)``."""

    spikes: Mapping[str, np.ndarray]
    logits: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """int64 ``(images,)``: the class with the largest logit."""
        return self.logits.argmax(1)

    def select(self, images: slice) -> Responses:
        """The answers to some of the images."""
        return Responses({name: s[images] for name, s in self.spikes.items()}, self.logits[images])


def concatenate(parts: Sequence[Responses]) -> Responses:
    """Answers to consecutive images as one."""
    spikes = {name: np.concatenate([p.spikes[name] for p in parts]) for name in parts[0].spikes}
    return Responses(spikes, np.concatenate([p.logits for p in parts]))
