"""The fully connected network, trained in a minute.

Its loop is its own, not `StageTrainer`'s: torch's generator orders the batches, and published numbers rest on that.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from alade_brian.data import Dataset, load_dataset, require_classes
from alade_brian.errors import UserError
from alade_brian.models.networks.dense import dense_network

EPOCHS, BATCH, LEARNING_RATE = 10, 128, 1e-3


def read_images(name: str, data_root: str | None) -> Dataset:
    """The data set; UserError where it is not there, its images are sequences, or its targets are values."""
    dataset = load_dataset(name, None if data_root is None else Path(data_root))
    require_classes(dataset, "a network whose accuracy is measured")
    if dataset.sequence_steps is not None:
        raise UserError(f"an image of '{name}' is a sequence; name a data set of images that stand still")
    return dataset


def train_dense(dataset: Dataset, seed: int) -> nn.Sequential:
    """A `dense_network`, trained with Adam on all training images; in eval mode, the same for a seed and threads."""
    torch.manual_seed(seed)
    network = dense_network(dataset.image_shape, dataset.classes)
    images, labels = torch.from_numpy(dataset.train_images), torch.from_numpy(dataset.train_labels)
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for _ in tqdm(range(EPOCHS), desc="train", disable=None, leave=False):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def accuracy(network: nn.Module, dataset: Dataset) -> float:
    """Accuracy of the network on all test images."""
    with torch.no_grad():
        answers: list[Tensor] = [network(part) for part in torch.from_numpy(dataset.test_images).split(1000)]
    return float(np.mean(torch.cat(answers).argmax(1).numpy() == dataset.test_labels))
