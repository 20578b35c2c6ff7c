"""What a learner is given for one task."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import Tensor


def time_first(images: Tensor) -> Tensor:
    """Images as a network takes them: of sequences ``(n, steps, C, H, W)`` time comes first."""
    return images.transpose(0, 1) if images.ndim == 5 else images


@dataclass(frozen=True)
class TaskData:
    """Training images of one task: the new ones, then the exemplars of old classes.

    number        task, from 1
    images        float32 ``(n, C, H, W)``; of sequences ``(n, steps, C, H, W)``
    labels        int64 ``(n,)``: position in the class order
    old_classes   classes seen before, which are the labels below it
    classes       classes seen with this task
    quota         exemplars per class after this task (0 without memory)
    task_of_label int64 ``(classes,)``: the task that brought a class
    targets       float32 ``(n, k)`` or ``(n, channels, height, width)``: values to be learnt in place of classes, of
                  which there are none then
    """

    number: int
    images: Tensor
    labels: Tensor
    old_classes: int
    classes: int
    quota: int
    task_of_label: Tensor
    targets: Tensor | None = None

    @property
    def outputs(self) -> int:
        """Size of the readout: one for a class, or for a number of a target."""
        return self.classes if self.targets is None else prod(self.targets.shape[1:])

    @property
    def new_classes(self) -> int:
        return self.classes - self.old_classes

    @property
    def first(self) -> bool:
        return self.old_classes == 0
