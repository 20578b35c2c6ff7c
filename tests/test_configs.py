"""Every configuration that is shipped: it is read, and one epoch of a narrow copy of it runs on a few images.

With ALADE_BRIAN_FULL=1 it is no narrow copy: full width, images of full size, and both networks compared (minutes).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alade_brian.config.run import RunConfig, config_from, read_mapping
from alade_brian.data import augmentation, make_dataset, named_class_order
from alade_brian.learning import Learner, TaskData, method_class
from alade_brian.runs.setup import convert_options
from alade_brian.verification.verify import verify

CONFIGS = Path(__file__).resolve().parent.parent / "experiments" / "configs"
# Of the data sets that do not have a hundred.
CLASSES = {"digits": 10, "fashion-mnist": 10, "tinyimagenet": 200, "dvs-cifar10": 10}
PUBLISHED = "cifar100-b0-10", "cifar100-b0-20", "cifar100-b50-10", "tinyimagenet", "imagenet100", "dvs-cifar10"
NEW, OLD = range(2, 4), range(2)
PER_CLASS = 3
FULL = os.environ.get("ALADE_BRIAN_FULL") == "1"


def config_of(name: str) -> RunConfig:
    return config_from(read_mapping(CONFIGS / f"{name}.yaml"), name)


def test_the_published_protocols_are_there() -> None:
    assert {f.stem for f in CONFIGS.glob("*.yaml")} >= set(PUBLISHED)


@pytest.mark.parametrize("name", sorted(f.stem for f in CONFIGS.glob("*.yaml")))
def test_steps_add_up_to_the_classes(name: str) -> None:
    config, classes = config_of(name), CLASSES.get(name.removesuffix("-plain"), 100)
    if method_class(config.method).all_at_once:
        return  # one task of all classes; nothing is left to add up
    assert (classes - config.init_cls) % config.increment == 0
    if isinstance(config.class_order, str):
        assert sorted(named_class_order(config.class_order, classes)) == list(range(classes))


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_one_epoch_of_a_narrow_copy(name: str) -> None:
    """Two tasks on 16x16 (or 32x32) noise: every stage, loss and augmentation of the protocol is gone through."""
    config = config_of(name)
    size = 32 if config.network.backbone == "resnet18-imagenet" else 16
    if FULL:
        size = config.image_size or 32
    stage = {"epochs": 1, "batch_size": 4, "align_from": 0}
    config = replace(
        config, network=replace(config.network, width=1.0 if FULL else 0.05), learning=replace(config.learning, **stage),
        finetuning=replace(config.finetuning, **stage),
        first_learning=None if config.first_learning is None else replace(config.first_learning, **stage),
    )  # fmt: skip
    sequence = config.dataset.startswith("tonic:")
    frames = (config.network.steps, 2) if sequence else (3,)
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), PER_CLASS)
    images = generator.random((len(labels), *frames, size, size), dtype=np.float32)
    dataset = make_dataset(name, (images, labels), (images, labels), tuple("abcd"))
    augment = augmentation(config.augmentation, dataset)
    learner = Learner(config, dataset.image_shape, augment, sequence=sequence)
    for number, chosen in enumerate((OLD, [*NEW, *OLD]), start=1):
        rows = np.concatenate([np.flatnonzero(labels == c) for c in chosen])
        data = TaskData(
            number, torch.from_numpy(dataset.train_images[rows]), torch.from_numpy(labels[rows]), 2 * (number - 1),
            2 * number, PER_CLASS, torch.tensor([1, 1, 2, 2][: 2 * number]),
        )  # fmt: skip
        history = learner.learn(data)
    if FULL:
        network = learner.network.eval()
        found = verify(network, dataset.test_images[:2], **convert_options(dataset, network))
        assert found.mismatched_spikes == 0 and found.prediction_agreement == 1.0
        print(name, f"{sum(p.numel() for p in network.extractors[0].parameters()):,} parameters", found)
    assert [record["stage"] for record in history.epochs] == [1, 2]
    assert all(np.isfinite(record["loss"]) for record in history.epochs)
