"""Adaptive logit alignment: the controller that measures how far new classes' logits stand above old ones'."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class AlignmentController:
    """Sets gamma, the amount added to the new classes' logits during training, once per epoch.

    While gamma > 0 training has to push the raw new logits down, so that without gamma, at test time, the bias towards
    new classes is gone. The rule: correct by the whole gap; wait while the last correction is still closing it; correct
    again when it has taken effect and has slowed; correct at once when the sign turns.

    finetuning   stage 2's variant: a first negative gap is corrected too, and where the gap has grown beyond the one
                 last corrected, the growth is corrected

    Source: ALADE-SNN (AAAI 2025), `O = H(Phi(x)) + gamma * mask`; the rule as in its authors' published follow-up code.
    """

    def __init__(self, finetuning: bool = False) -> None:
        self.finetuning = finetuning
        self.gamma = 0.0
        self._direction = 0.0 if finetuning else -1.0
        self._corrected = 0.0  # d0: the gap when gamma was last corrected
        self._previous = 0.0  # d_prev: the gap one epoch ago
        self._largest_step = 0.0  # M: the fastest closing seen since the last correction

    def update(self, logit_old: float, logit_new: float) -> float:
        """The next gamma from the mean true-class logits (without gamma) of exemplars and of new images."""
        gap = abs(logit_new - logit_old)
        direction = math.copysign(1.0, logit_new - logit_old) if gap else self._direction
        closing = self._previous - gap
        taken_effect = self._corrected - gap > self._corrected / 8
        slowed = closing < self._largest_step / 4
        if direction != self._direction or (taken_effect and slowed):
            self.gamma += direction * gap
            self._largest_step, self._corrected = 0.0, gap
        elif self.finetuning and gap > self._corrected:
            self.gamma += direction * (gap - self._corrected)
            self._corrected = gap
        else:
            self._largest_step = max(self._largest_step, closing)
        self._direction, self._previous = direction, gap
        return self.gamma

    def state(self) -> dict[str, Any]:
        """Everything it remembers, as plain values."""
        return dict(vars(self))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        vars(self).update(state)
