"""Data sets, the class-incremental scenario, and exemplar memory. Needs neither torch nor brian2."""

from alade_brian.data.augmentation import AUGMENTATIONS, Augmentation, augmentation
from alade_brian.data.class_orders import ORDER_NAMES, class_order, named_class_order
from alade_brian.data.dataset import Dataset, make_dataset, require_classes
from alade_brian.data.datasets import DATASETS, Source, load_dataset
from alade_brian.data.memory import ExemplarMemory, herd
from alade_brian.data.preparation import prepare
from alade_brian.data.scenario import ImageSet, Scenario, Task, ValueScenario, check_memory

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "ORDER_NAMES",
    "Augmentation",
    "Dataset",
    "ExemplarMemory",
    "ImageSet",
    "Scenario",
    "Source",
    "Task",
    "ValueScenario",
    "augmentation",
    "check_memory",
    "class_order",
    "herd",
    "load_dataset",
    "make_dataset",
    "named_class_order",
    "prepare",
    "require_classes",
]
