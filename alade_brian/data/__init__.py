"""Data sets, the class-incremental scenario, and exemplar memory. Needs neither torch nor brian2."""

from alade_brian.data.datasets import Dataset, available_datasets, load_dataset, make_dataset
from alade_brian.data.memory import ExemplarMemory, herd
from alade_brian.data.scenario import ImageSet, Scenario, Task, check_memory, class_order

__all__ = [
    "Dataset",
    "ExemplarMemory",
    "ImageSet",
    "Scenario",
    "Task",
    "available_datasets",
    "check_memory",
    "class_order",
    "herd",
    "load_dataset",
    "make_dataset",
]
