"""Mutual information between the class of an image and the spike count of a neuron.

`spikes` is a bool array (images, steps, neurons), `labels` an integer array (images,) with the class of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from alade_brian.analysis.statistics.input import Spikes, Values, blocks, check_labels, check_spikes, spike_counts


def mutual_information(spikes: Spikes, labels: NDArray[Any], bias_correction: bool = True) -> Values:
    """Information in bits between class and spike count of a presentation, for each neuron by itself: (neurons,).

    Over all images: H(count) + H(class) - H(count, class) of the observed frequencies. With `bias_correction` each
    entropy is raised by (occupied bins - 1) / (2 N ln 2), N the number of images (Miller 1955; Madow 1948), which is
    Panzeri and Treves' first-order term with the occupied counts as relevant responses (Network 7, 87, 1996). Finite
    samples otherwise give information where there is none; the corrected value of such a neuron scatters around 0 and
    may be negative. Never undefined: a silent neuron, or a single class, gives exactly 0. Raises UserError when
    `spikes` is not a bool array (images, steps, neurons) with something in it, or `labels` are not as many integers
    from 0 up.
    """
    check_spikes(spikes)
    images, steps, neurons = spikes.shape
    check_labels(labels, images)
    classes, index = np.unique(labels, return_inverse=True)
    values = np.empty(neurons)
    for block in blocks(neurons, entries_each=max(images, classes.size * (steps + 1))):
        joint = _joint(spike_counts(spikes[:, :, block]), index, classes.size)
        values[block] = _information(joint, images, bias_correction)
    return values


def _joint(counts: NDArray[np.int64], index: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """How many images have which class, count and neuron: (classes, largest count + 1, neurons)."""
    levels, neurons = int(counts.max()) + 1, counts.shape[1]
    cell = (index[:, None] * levels + counts) * neurons + np.arange(neurons)
    return np.bincount(cell.ravel(), minlength=classes * levels * neurons).reshape(classes, levels, neurons)


def _information(joint: NDArray[np.int64], images: int, bias_correction: bool) -> Values:
    by_count, by_class = joint.sum(axis=0), joint.sum(axis=1)
    both = joint.reshape(-1, joint.shape[2])
    nats = sum(sign * entr(table / images).sum(axis=0) for sign, table in ((1, by_count), (1, by_class), (-1, both)))
    # Exactly no information, whatever the entropies are rounded to.
    nothing = (np.count_nonzero(by_count, axis=0) == 1) | (np.count_nonzero(by_class, axis=0) == 1)
    if bias_correction:
        occupied = [np.count_nonzero(table, axis=0) for table in (by_count, by_class, both)]
        nats = nats + (occupied[0] + occupied[1] - occupied[2] - 1) / (2 * images)
    return np.where(nothing, 0.0, nats / np.log(2))
