"""How a run's images and classes are named where they are shown to a reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from alade_brian.spikes.class_names import class_name, class_phrase, names_of


@dataclass(frozen=True)
class Naming:
    """kind      of the images that the run tests on: test or validation
    classes   names in class order, as labels and answers count; empty where the run does not know them
    """

    kind: str = "test"
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> Naming:
        """From the contents of metrics.json."""
        held_out = (metrics.get("config") or {}).get("validation")
        names = metrics.get("class_names") or metrics.get("class_order") or ()
        return cls("validation" if held_out else "test", tuple(str(name) for name in names))

    def name(self, label: int) -> str:
        """A class by its place in class order; the place itself where its name is not known."""
        return class_name(self.classes, label)

    def shown(self, label: int) -> str:
        """The class of an image in words, "class zebra"; empty for an image without one."""
        return class_phrase(self.classes, label)

    def names(self, labels: Iterable[int]) -> list[str]:
        """The same for several."""
        return names_of(self.classes, labels)
