"""What the neurons of one layer answer to: sparseness over images and neurons, class responses and selectivity.

`spikes` is a bool array (images, steps, neurons), `labels` an integer array (images,) with the class of each. The
response of a neuron to an image is its spike count; all values here are ratios, so rates would give the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alade_brian.analysis.statistics.input import (
    Spikes,
    Values,
    blocks,
    check_labels,
    check_spikes,
    count_moments,
    spike_counts,
)

# What `preferred_class` answers for a neuron without one.
NO_CLASS = -1


def lifetime_sparseness(spikes: Spikes) -> Values:
    """Sparseness of each neuron's responses over the images: (neurons,), from 0 (all alike) to 1 (one image only).

    (1 - A) / (1 - 1 / n) with A = mean(r)^2 / mean(r^2) over the n images. NaN for a silent neuron and for one image.
    Raises UserError when `spikes` is not a bool array (images, steps, neurons) with something in it. Source: Rolls and
    Tovee 1995, J. Neurophysiol. 73, 713 (A, after Treves and Rolls 1991), as Vinje and Gallant 2000, Science 287, 1273
    scale it.
    """
    moments = count_moments(spikes)
    return _sparseness(moments.total, moments.squares, moments.images)


def population_sparseness(spikes: Spikes) -> Values:
    """Sparseness of each image's responses over the neurons: (images,), from 0 (all alike) to 1 (one neuron only).

    As `lifetime_sparseness` with n the number of neurons, silent ones included. NaN for an image without spikes and for
    one neuron. Errors and source as there.
    """
    check_spikes(spikes)
    images, _, neurons = spikes.shape
    total, squares = np.zeros(images, dtype=np.int64), np.zeros(images, dtype=np.int64)
    for block in blocks(images, entries_each=neurons):
        counts = spike_counts(spikes[block])
        total[block] = counts.sum(axis=1)
        squares[block] = np.square(counts).sum(axis=1)
    return _sparseness(total, squares, neurons)


@dataclass(frozen=True)
class ClassResponses:
    """Mean spike count of every neuron for the images of each class.

    `classes`: (classes,), rising, those that occur. `images`: (classes,), how many each has. `mean_counts`: float
    (classes, neurons), averaged over the images of the class.
    """

    classes: NDArray[Any]
    images: NDArray[np.int64]
    mean_counts: Values


def class_responses(spikes: Spikes, labels: NDArray[Any]) -> ClassResponses:
    """The mean response to each class that occurs in `labels`; works through blocks of images.

    Raises UserError when `spikes` is not a bool array (images, steps, neurons) with something in it, or `labels` are
    not as many integers from 0 up.
    """
    check_spikes(spikes)
    images, _, neurons = spikes.shape
    check_labels(labels, images)
    classes, index, number = np.unique(labels, return_inverse=True, return_counts=True)
    total = np.zeros((classes.size, neurons))
    for block in blocks(images, entries_each=neurons):
        member = np.arange(classes.size)[:, None] == index[block]
        total += member.astype(np.float64) @ spike_counts(spikes[block]).astype(np.float64)
    return ClassResponses(classes, number.astype(np.int64), total / number[:, None])


def class_selectivity(spikes: Spikes, labels: NDArray[Any]) -> Values:
    """Class selectivity index of each neuron: (neurons,), from 0 (no class stands out) to 1 (answers to one only).

    (m - o) / (m + o), where m is the largest of the mean responses to the classes and o the mean of the others, each
    class counting once however many images it has. NaN for a silent neuron and where only one class occurs. Raises
    UserError as `class_responses`. Source: Morcos et al. 2018, On the importance of single directions for
    generalization, ICLR.
    """
    means = class_responses(spikes, labels).mean_counts
    classes = len(means)
    largest = means.max(axis=0)
    if classes == 1:
        return np.full_like(largest, np.nan)
    # From the mean, and not by subtracting from the sum, so that a neuron of one class gives exactly 1.
    others = np.sort(means, axis=0)[:-1].mean(axis=0)
    return np.divide(largest - others, largest + others, out=np.full_like(largest, np.nan), where=largest > 0)


def preferred_class(spikes: Spikes, labels: NDArray[Any]) -> NDArray[np.int64]:
    """The class with each neuron's largest mean response, the lowest of equals: (neurons,), -1 for a silent neuron.

    Raises UserError as `class_responses`.
    """
    responses = class_responses(spikes, labels)
    best = responses.classes[responses.mean_counts.argmax(axis=0)].astype(np.int64)
    return np.where(responses.mean_counts.any(axis=0), best, NO_CLASS)


def _sparseness(total: NDArray[np.int64], squares: NDArray[np.int64], number: int) -> Values:
    values = np.full(total.size, np.nan)
    if number > 1:
        fired = total > 0
        # n * sum(r^2) - sum(r)^2 stays an integer, so equal responses give exactly 0.
        spread = number * squares[fired] - np.square(total[fired])
        values[fired] = spread / (squares[fired] * (number - 1))
    return values
