"""A fully connected spiking network, trained in a minute: what to show both simulators besides a run's checkpoint."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from alade_brian.data import Dataset, load_dataset
from alade_brian.errors import UserError
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps

STEPS, HIDDEN = 4, (256, 128)
EPOCHS, BATCH, LEARNING_RATE = 10, 128, 1e-3


def dense_network(dataset: Dataset) -> nn.Sequential:
    """pixels -> 256 -> 128 -> classes, with ALADE-SNN's neuron (decay 0.5, threshold 1) in both hidden layers."""
    first, second = HIDDEN
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(dataset.image_shape), first),
        HoldCurrent(STEPS),
        LIF(STEPS),
        nn.Linear(first, second),
        LIF(STEPS),
        nn.Linear(second, dataset.classes),
        MeanOverSteps(STEPS),
    )


def read_images(name: str, data_root: str | None) -> Dataset:
    """The data set; UserError where it is not there, or its images are sequences."""
    dataset = load_dataset(name, None if data_root is None else Path(data_root))
    if dataset.sequence_steps is not None:
        raise UserError(f"an image of '{name}' is a sequence; name a data set of images that stand still")
    return dataset


def train_dense(dataset: Dataset, seed: int) -> nn.Sequential:
    """The network, trained with Adam on all training images; in eval mode, the same for the same seed and threads."""
    torch.manual_seed(seed)
    network = dense_network(dataset)
    images, labels = torch.from_numpy(dataset.train_images), torch.from_numpy(dataset.train_labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for _ in tqdm(range(EPOCHS), desc="train", disable=None, leave=False):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def accuracy(network: nn.Module, dataset: Dataset) -> float:
    """Accuracy of the network on all test images."""
    with torch.no_grad():
        answers: list[Tensor] = [network(part) for part in torch.from_numpy(dataset.test_images).split(1000)]
    return float(np.mean(torch.cat(answers).argmax(1).numpy() == dataset.test_labels))
