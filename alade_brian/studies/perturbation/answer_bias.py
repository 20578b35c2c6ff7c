"""Whether a preference of a failing network for some answers explains which tasks break first.

A network that answers everything with the newest task's classes is right on every image of that task and wrong on all
others: its accuracy by task says that the old breaks first, though it distinguishes nothing. Two measures leave such a
preference out:

corrected   the share of a class's images that are answered with it, minus the share of all other images that are
            (informedness; Powers, J. Mach. Learn. Technol. 2011): 0 for answers that do not depend on the image,
            whatever they are. A class's balanced accuracy is half of 1 plus it. Averaged over the classes of a task.
centred     the accuracy of the answers after each class's mean logit over all images has been subtracted, above chance.

Of each the part left of the unperturbed network's is taken, at the strength at which half of the margin on all images
is gone, as `ages.broken` takes the margin; of the last one also where half of itself is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alade_brian.studies.perturbation.ages import LEAST_MARGIN, Broken, broken, trend_of
from alade_brian.studies.perturbation.curves import half_strength, measured

Results = Mapping[str, Any]
# Of a measurement and a place among the tasks: a number that is 0 by chance.
TaskScore = Callable[[Mapping[str, Any], int], float]

_NEEDED = ("recall", "answers_per_class", "answers", "per_task_centred")


@dataclass(frozen=True, eq=False)
class AnswerBias:
    """One network under one perturbation.

    plain       the margin left of each task, uncorrected, and the strength
    corrected   part left of each task's informedness, from the oldest task; nan where the task was not learnt
    balanced    balanced accuracy of each task there: mean of its classes' (recall + specificity) / 2
    centred     part left of each task's margin with centred logits
    centred_left  the same of all images
    own_strength, own_left, own_by_task   where half of that margin is gone (or the greatest strength measured), what is
                left there of all images, and of each task
    answers     share of all answers that are classes of each task, there
    answers_at_greatest   the same at the greatest strength measured
    """

    plain: Broken
    corrected: np.ndarray
    balanced: np.ndarray
    centred: np.ndarray
    centred_left: float
    own_strength: float
    own_left: float
    own_by_task: np.ndarray
    answers: np.ndarray
    answers_at_greatest: np.ndarray

    @property
    def trends(self) -> dict[str, float]:
        """Newest minus oldest, on the line through all tasks, by measure."""
        return {
            "plain": self.plain.trend, "corrected": trend_of(self.corrected), "centred": trend_of(self.centred),
            "own": trend_of(self.own_by_task),
        }  # fmt: skip

    @property
    def kept(self) -> dict[str, float]:
        """How much of the margin on all images was left where each trend was taken."""
        plain = self.plain.kept
        return {"plain": plain, "corrected": plain, "centred": plain, "own": self.own_left}


def is_known(results: Results, name: str) -> bool:
    """Whether the answers to each class were kept; an earlier version of this program did not."""
    cells = [results["baseline"], *_cells(results, name)]
    return "task_of_class" in results and all(key in cell for cell in cells for key in _NEEDED)


def answer_bias(results: Results, name: str) -> AnswerBias:
    """Evaluate the answers of a network under a perturbation, of which `is_known` holds."""
    plain, tasks, chance = broken(results, name), range(len(results["tasks"])), 1 / results["classes"]

    def at(strength: float, number: TaskScore, task: int) -> float:
        return float(np.interp(strength, *_line(results, name, number, task)))

    def left(number: TaskScore, strength: float, task: int = 0) -> float:
        without = number(results["baseline"], task)
        return at(strength, number, task) / without if without >= LEAST_MARGIN else np.nan

    def informed(cell: Mapping[str, Any], task: int) -> float:
        return informedness(results, cell, task)

    def centred(cell: Mapping[str, Any], task: int) -> float:
        return cell["per_task_centred"][task] - chance

    def centred_all(cell: Mapping[str, Any], _: int) -> float:
        return float(np.average(cell["per_task_centred"], weights=results["images_per_task"])) - chance

    def answered(cell: Mapping[str, Any], task: int) -> float:
        return cell["answers"][task]

    strengths, margins = _line(results, name, centred_all, 0)
    own = half_strength(strengths, margins, 0.0)
    greatest = float(strengths[-1])
    there = greatest if own is None else own
    return AnswerBias(
        plain,
        np.array([left(informed, plain.strength, task) for task in tasks]),
        np.array([(1 + at(plain.strength, informed, task)) / 2 for task in tasks]),
        np.array([left(centred, plain.strength, task) for task in tasks]),
        left(centred_all, plain.strength),
        there,
        left(centred_all, there),
        np.array([left(centred, there, task) for task in tasks]),
        np.array([at(plain.strength, answered, task) for task in tasks]),
        np.array([at(greatest, answered, task) for task in tasks]),
    )


def informedness(results: Results, cell: Mapping[str, Any], task: int) -> float:
    """Mean over the classes of a task of recall minus false-alarm rate."""
    sizes, brought = results["images_per_class"], results["task_of_class"]
    images, found = sum(sizes), []
    for label in (k for k, number in enumerate(brought) if number == results["tasks"][task]):
        hits = cell["recall"][label] * sizes[label]
        false = cell["answers_per_class"][label] * images - hits
        found.append(cell["recall"][label] - false / (images - sizes[label]))
    return float(np.mean(found))


def _cells(results: Results, name: str) -> list[Mapping[str, Any]]:
    strengths = results["perturbations"][name]["strengths"]
    return [cell for repeats in strengths.values() for cell in repeats.values()]


def _line(results: Results, name: str, number: TaskScore, task: int) -> tuple[np.ndarray, np.ndarray]:
    """Strengths from 0, and the mean over repeats at each."""
    strengths, repeats = measured(results, name, lambda cell: number(cell, task))
    return strengths, np.array([each.mean() for each in repeats])
