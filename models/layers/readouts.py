"""Where time begins and ends in a network: an image becomes a held current, and what the last layer says in the steps
becomes an answer.

Every class derived from `OverSteps` is one way to read an answer out: it takes what a layer of neurons sends, or (the
linear ones) what a linear layer makes of it, ``(steps * images, answers)``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

Decision = Literal["class", "value"]


class OverSteps(nn.Module):
    """An answer from all steps: ``(steps * images, answers)`` -> ``(images, answers)``.

    decision   ``class``: the answer is the largest of them; ``value``: they are the answer (regression)

    A class names the decodings (`spec.readouts`) that give the same: of neurons that spike, of neurons that do not, and
    of a population that is put behind a linear layer; None where none does. `integrates`: that population adds its
    input up; otherwise it holds it for a step.
    """

    of_spikes: ClassVar[str | None] = None
    of_membranes: ClassVar[str | None] = None
    of_input: ClassVar[str | None] = None
    integrates: ClassVar[bool] = False

    def __init__(self, steps: int, decision: Decision = "class") -> None:
        super().__init__()
        self.steps, self.decision = steps, decision

    def by_step(self, values: Tensor) -> Tensor:
        """``(steps, images, ...)``."""
        return values.reshape(self.steps, -1, *values.shape[1:])

    def extra_repr(self) -> str:
        return f"steps={self.steps}, decision={self.decision}"


class MeanOverSteps(OverSteps):
    """The mean over the steps: of logits, of membranes, or of spikes (their rate)."""

    of_spikes = "spike_rate"
    of_membranes = "mean_membrane"
    of_input = "mean_input"
    integrates = True

    def forward(self, logits: Tensor) -> Tensor:
        return self.by_step(logits).mean(0)


class LeakyMean(OverSteps):
    """The mean over the steps in which a step counts ``decay ** (steps left)``: what a leaky integrator holds at the
    end, and what `QuantalLIF` sends on average.

    decay   per step, above 0 and below 1
    """

    of_input = "last_membrane"

    def __init__(self, steps: int, decay: float, decision: Decision = "class") -> None:
        super().__init__(steps, decision)
        self.decay = decay

    @property
    def gain(self) -> float:
        """What the input is multiplied by, so that the weights add up to 1."""
        return (1 - self.decay) / (1 - self.decay**self.steps)

    def forward(self, logits: Tensor) -> Tensor:
        held, *later = (self.gain * logits).reshape(self.steps, -1, *logits.shape[1:]).unbind(0)
        for step in later:
            held = self.decay * held + step
        return held

    def extra_repr(self) -> str:
        return f"steps={self.steps}, decay={self.decay}, decision={self.decision}"


class SumOverSteps(OverSteps):
    """The sum over the steps: of spikes, their count."""

    of_spikes = "spike_count"
    of_input = "last_membrane"
    integrates = True

    def forward(self, logits: Tensor) -> Tensor:
        return self.by_step(logits).sum(0)


class LastStep(OverSteps):
    """What the last step says: mostly the last membrane of a neuron that never spikes."""

    of_membranes = "last_membrane"
    of_input = "last_membrane"

    def forward(self, logits: Tensor) -> Tensor:
        return self.by_step(logits)[-1]


class MaxOverSteps(OverSteps):
    """The largest value over the steps: mostly of a membrane."""

    of_membranes = "max_membrane"
    of_input = "max_membrane"

    def forward(self, logits: Tensor) -> Tensor:
        return self.by_step(logits).amax(0)


class FirstSpike(OverSteps):
    """Minus the step of the first spike, minus the number of steps where there is none: the earliest wins."""

    of_spikes = "first_spike"

    def forward(self, spikes: Tensor) -> Tensor:
        fired = self.by_step(spikes) != 0
        # The steps that lie before the first spike are those whose running count of spikes is still zero.
        return -(fired.cumsum(0) == 0).sum(0).to(spikes.dtype)


class EveryStep(OverSteps):
    """All steps apart: ``(steps * images, answers)`` -> ``(images, steps, answers)``."""

    of_spikes = "every_step"
    of_membranes = "every_step"
    of_input = "every_step"

    def forward(self, values: Tensor) -> Tensor:
        return self.by_step(values).transpose(0, 1)


class PopulationVote(nn.Module):
    """A population code, behind one of the above: ``(..., answers * group)`` -> ``(..., answers)``.

    group     neurons that stand for one answer, side by side
    average   whether the answer is a group's mean; the sum otherwise, as of the votes that `SumOverSteps` counts
    """

    def __init__(self, group: int, average: bool = False) -> None:
        super().__init__()
        if group < 1:
            raise ValueError(f"a population code of {group} neurons per answer: use at least 1")
        self.group, self.average = group, average

    def forward(self, logits: Tensor) -> Tensor:
        groups = logits.reshape(*logits.shape[:-1], -1, self.group)
        return groups.mean(-1) if self.average else groups.sum(-1)

    def extra_repr(self) -> str:
        return f"group={self.group}, average={self.average}"
