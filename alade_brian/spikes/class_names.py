"""Names of classes: labels and answers of a network are positions in the class order, which nobody can read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alade_brian.spikes.task_record import NO_CLASS


def class_name(names: Sequence[str], label: int) -> str:
    """Name of the class at a position in the class order; the position itself if its name is not known.

    names   in class order, as metrics.json (`class_names`) and the header of a checkpoint hold them; may be empty
    """
    return names[label] if 0 <= label < len(names) else str(label)


def class_phrase(names: Sequence[str], label: int) -> str:
    """The same in words, "class zebra"; empty for an image without a class, which has the label `NO_CLASS`."""
    return "" if label == NO_CLASS else f"class {class_name(names, label)}"


def names_of(names: Sequence[str], labels: Iterable[int]) -> list[str]:
    """Names of several classes."""
    return [class_name(names, int(label)) for label in labels]
