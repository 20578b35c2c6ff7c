"""The seam for problems: everything that depends on whether classes or values are learnt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from matplotlib.axes import Axes
from numpy.typing import NDArray

from alade_brian.analysis.report.figures import Picture
from alade_brian.analysis.report.naming import Naming
from alade_brian.analysis.report.records import Record
from alade_brian.spikes.task_record import TaskRecord

Metrics = Mapping[str, Any]
Array = NDArray[Any]
# Name, value and a further line of a tile in the report.
Tile = tuple[str, str, str]


class Tested(Protocol):
    """The images that a network was tested on, n of them.

    labels    integers ``(n,)``, places in class order; all -1 where there are target values
    tasks     integers ``(n,)``: the task of an image's class, from 1
    targets   None, or values to be learnt in place of classes, ``(n, ...)``
    """

    @property
    def labels(self) -> Array: ...

    @property
    def tasks(self) -> Array: ...

    @property
    def targets(self) -> Array | None: ...


@dataclass(frozen=True)
class Measure:
    """What is left of a network under a perturbation, as one number; more is better.

    key      of a measurement in results.json, and part of the names of columns
    title    as tables and figures call it
    chance   what the level that a network without knowledge reaches is called
    low      no smaller value is possible; None: there is no such bound
    shares   whether measurements also hold the share of all answers that are classes of each task
    """

    key: str
    title: str
    chance: str
    low: float | None
    shares: bool


class Problem(ABC):
    """What a network is to learn. Stateless; found by `problem_of`, or in `PROBLEMS` by the name a data set gives.

    name          in metrics.json, where only a classification may leave it out
    answer        what a report calls one answer of a network: a prediction, an output
    difference    key of the largest difference between both networks' outputs in a task of metrics.json
    task_keys     keys that a report needs of every task, beside those of any problem
    csv_columns   the first columns of metrics.csv: keys of a task
    measure       see `Measure`
    """

    name: ClassVar[str]
    answer: ClassVar[str]
    difference: ClassVar[str]
    task_keys: ClassVar[tuple[str, ...]]
    csv_columns: ClassVar[tuple[str, ...]]
    measure: ClassVar[Measure]

    # What a run keeps

    @abstractmethod
    def labels(self, tested: Tested) -> Array | None:
        """The class of every image, for statistics of spikes that need one; None where there are no classes."""

    @abstractmethod
    def predictions(self, outputs: Array) -> Array:
        """The class that each row of outputs ``(n, k)`` stands for, int64 ``(n,)``; -1 where there are no classes."""

    @abstractmethod
    def run_facts(self, order: Sequence[int], names: Sequence[str], target_shape: Sequence[int] | None) -> Metrics:
        """What metrics.json says of the data set, JSON-ready.

        `order`: its classes in class order; `names`: of these. `target_shape`: as `Dataset.target_shape`.
        """

    @abstractmethod
    def header_facts(self, order: Sequence[int], names: Sequence[str], target_shape: Sequence[int] | None) -> Metrics:
        """The same for a checkpoint's header, of the classes seen so far."""

    @abstractmethod
    def task_facts(self, classes: Sequence[int], seen: int) -> Metrics:
        """What a task of metrics.json says of its classes and of the number of classes seen, JSON-ready."""

    @abstractmethod
    def scores(self, network: str, tested: Tested, outputs: Array, seen: int) -> Metrics:
        """How well a network (``torch`` or ``brian2``) did after a task, under keys that end in its name; JSON-ready.

        `outputs`: (images, k). `seen`: number of classes seen.
        """

    @abstractmethod
    def run_scores(self, network: str, tasks: Sequence[Metrics]) -> Metrics:
        """The same over all tasks done so far, from their entries."""

    @abstractmethod
    def csv_further(self, tasks: Sequence[Metrics]) -> Mapping[str, Sequence[Any]]:
        """The last columns of metrics.csv: a cell for each task, None where it is empty."""

    @abstractmethod
    def summary_cells(self, task: Metrics) -> Mapping[str, str]:
        """Cells of a task in the table at the end of a run, by their headings."""

    @abstractmethod
    def summary_lines(self, metrics: Metrics) -> list[str]:
        """What stands below that table."""

    # The report

    @abstractmethod
    def content(self, metrics: Metrics) -> str:
        """What was learnt after the last task, in a few words."""

    @abstractmethod
    def score_tiles(self, metrics: Metrics) -> list[Tile]:
        """Headline numbers: how well both networks did."""

    @abstractmethod
    def agreement_tiles(self, metrics: Metrics, agreement: str) -> list[Tile]:
        """Headline numbers: how far their outputs agree; `agreement`: share of equal answers, as text."""

    @abstractmethod
    def learning(self, metrics: Metrics, record: Record | None, drawn: list[Picture]) -> list[str]:
        """What was learnt, as parts of the page. Figures are added to `drawn`."""

    @abstractmethod
    def training(self, metrics: Metrics) -> tuple[str, str]:
        """What the figure of training is read for, and its caption."""

    @abstractmethod
    def answers(self, folder: Path, metrics: Metrics, record: Record, drawn: list[Picture]) -> list[str]:
        """What the neurons answer to, as parts of the page. Figures are added to `drawn`."""

    @abstractmethod
    def paper_figures(
        self,
        records: Mapping[int, TaskRecord],
        read: Mapping[int, Sequence[str]],
        spikes: Mapping[str, Array],
        naming: Naming,
    ) -> dict[str, Callable[[], Axes]]:
        """Figures that `alade-brian figures` draws beside those of spikes, by the names of their files.

        records   by task, the last is shown
        read      by task, the layers that the answer is read from
        spikes    of the layers chosen, bool (images, steps, neurons)
        """

    # Studies of perturbations

    @abstractmethod
    def study_facts(self, outputs: int, tested: Tested, names: Sequence[str]) -> Metrics:
        """What results.json says of the network that has so many outputs, JSON-ready; `names`: of its classes."""

    @abstractmethod
    def chance(self, results: Metrics) -> float:
        """What a network without knowledge reaches in the measure."""

    @abstractmethod
    def measurement(self, outputs: Array, tested: Tested) -> Metrics:
        """Of outputs ``(images, k)``: the measure, by its key, and as ``per_task`` for the images of each task.
        UserError where it is not defined."""

    @abstractmethod
    def by_task(self, task: Metrics) -> list[float]:
        """From a task of metrics.json: the measure of Brian2's network on the images of each task so far."""
