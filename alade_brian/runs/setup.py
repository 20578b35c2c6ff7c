"""Construct the parts of a run from its configuration; invalid combinations are refused before anything is computed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alade_brian.config.run import RunConfig
from alade_brian.data import (
    Dataset,
    ExemplarMemory,
    Scenario,
    ValueScenario,
    augmentation,
    check_memory,
    class_order,
    load_dataset,
    named_class_order,
    prepare,
    require_classes,
)
from alade_brian.errors import UserError
from alade_brian.learning import Learner, method_class
from alade_brian.learning.architectures import check_parameter_memory, without_memory
from alade_brian.models import ExpandableNetwork
from alade_brian.plugins import is_plugin
from alade_brian.simulation import SimulationSettings


def simulation_settings(config: RunConfig) -> SimulationSettings:
    """Convert the simulation section of a configuration to settings."""
    return SimulationSettings(**dataclasses.asdict(config.simulation), reuse=True)


def load_images(config: RunConfig, download: bool = False) -> Dataset:
    """Load the data set, resized, reduced and split according to the configuration."""
    root = Path(config.data_root) if config.data_root is not None else None
    dataset = load_dataset(config.dataset, root, download, image_size=config.image_size, steps=config.network.steps)
    return prepare(
        dataset, image_size=config.image_size, train_per_class=config.train_per_class,
        test_per_class=config.test_per_class, validation=config.validation,
    )  # fmt: skip


def convert_options(dataset: Dataset, network: nn.Module) -> dict[str, Any]:
    """Options of `convert` for images that are sequences, and for a network that says what a step lasts."""
    steps = dataset.sequence_steps
    seconds = network.step_seconds if isinstance(network, ExpandableNetwork) else None
    return {
        **({} if steps is None else {"steps": steps, "sequence": True}),
        **({} if seconds is None else {"dt": seconds}),
    }


def make_scenario(config: RunConfig, dataset: Dataset) -> Scenario:
    """The class-incremental scenario that a configuration asks for; of a method that learns all at once, one task, with
    the classes in the data set's order unless another is given. UserError where targets are values, and the method
    learns class after class."""
    method = method_class(config.method)
    if method.takes_values and dataset.target_shape is not None:
        return ValueScenario(dataset)
    require_classes(dataset, f"the method '{config.method}', to which they come one after another,")
    order, at_once = config.class_order, method.all_at_once
    if order is None and at_once:
        order = tuple(range(dataset.classes))
    elif order is None:
        order = class_order(config.seed, dataset.classes)
    elif isinstance(order, str):
        order = named_class_order(order, dataset.classes, config.seed)
    return Scenario(dataset, dataset.classes if at_once else config.init_cls, config.increment, order)


def make_memory(config: RunConfig, scenario: Scenario) -> ExemplarMemory:
    """Make an empty exemplar memory of the size that method and configuration require."""
    if not method_class(config.method).rehearses:
        return ExemplarMemory(0)
    memory = ExemplarMemory(config.memory_size, config.memory_per_class)
    if not memory.holds_any:
        raise UserError(f"memory_size is 0, but the method '{config.method}' needs exemplars; set memory_size")
    check_memory(memory, scenario)
    return memory


def make_learner(config: RunConfig, dataset: Dataset) -> Learner:
    """Make a learner for the data set's images. It builds one extractor and discards it, so that an invalid one is
    refused."""
    _check_device(config)
    steps = dataset.sequence_steps
    if steps is not None and steps != config.network.steps:
        raise UserError(
            f"network.steps is {config.network.steps}, but an image of '{dataset.name}' has {steps} frames; set both "
            "to the same number"
        )

    def learner() -> Learner:
        augment = augmentation(config.augmentation, dataset) if config.augmentation else None
        return Learner(config, dataset.image_shape, augment, sequence=steps is not None)

    try:
        if not is_plugin(config.network.backbone):
            with without_memory():
                (sized := learner().network).add_extractor()
            check_parameter_memory(sized, "section 'network': the network")
        learner().network.add_extractor()
        made = learner()
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"section 'network' does not fit the {config.dataset} images of {dataset.image_shape}: {error}"
        ) from None
    made.method.see(dataset)
    return made


def _check_device(config: RunConfig) -> None:
    if config.training.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "training.device is 'cuda', but PyTorch finds no GPU here; install a PyTorch build with CUDA on a machine "
            "that has one, or use --device cpu"
        )
