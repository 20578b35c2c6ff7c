"""Representational similarity: which classes a layer tells apart, and how that drifts from task to task.

A representational dissimilarity matrix (RDM) holds the distance between the mean responses to every two classes. It
does not ask which neuron is which, so that two networks, or one network before and after it has grown, can be compared.
Source: Kriegeskorte, Mur and Bandettini 2008, Front. Syst. Neurosci. 2, 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alade_brian.analysis.statistics.input import Spikes, Values
from alade_brian.analysis.statistics.tuning import class_responses

# Distances are ranked: those that differ by rounding alone must not be put in order.
_DECIMALS = 12


@dataclass(frozen=True)
class RDM:
    """`classes`: (classes,), rising, each once. `distances`: float (classes, classes), symmetric, in their order."""

    classes: NDArray[Any]
    distances: Values


def rdm(spikes: Spikes, labels: NDArray[Any]) -> RDM:
    """RDM of the classes in `labels`: `correlation_distance` of the spike counts, averaged over the images of a class.

    `spikes`: bool (images, steps, neurons); `labels`: integers (images,). Raises UserError when they are not, or are
    empty.
    """
    responses = class_responses(spikes, labels)
    return RDM(responses.classes, correlation_distance(responses.mean_counts))


def correlation_distance(patterns: Values) -> Values:
    """1 - Pearson correlation over neurons, of every two rows of `patterns` (conditions, neurons): from 0 to 2.

    (conditions, conditions), 0 on the diagonal. Rows and columns of a condition to which all neurons answer alike (none
    at all, for one) are NaN, its diagonal entry too.
    """
    constant = patterns.min(axis=1) == patterns.max(axis=1)
    centred = patterns - patterns.mean(axis=1, keepdims=True)
    length = np.where(constant, np.nan, np.linalg.norm(centred, axis=1))
    unit = centred / length[:, None]
    distances = 1 - np.clip(unit @ unit.T, -1.0, 1.0)
    distances[np.diag_indices_from(distances)] = np.where(constant, np.nan, 0.0)
    return distances


def rdm_similarity(first: RDM, second: RDM) -> float | None:
    """Spearman correlation of two RDMs over all pairs of classes that both hold, from -1 to 1.

    Pairs whose distance is undefined in either are left out; distances that agree to 12 decimals are ties. None for
    fewer than two pairs, or when all distances of one RDM are ties.
    """
    classes = np.intersect1d(first.classes, second.classes)
    upper = np.triu_indices(classes.size, k=1)
    one, other = (
        matrix.distances[np.ix_(chosen, chosen)][upper]
        for matrix, chosen in ((matrix, np.searchsorted(matrix.classes, classes)) for matrix in (first, second))
    )
    defined = ~(np.isnan(one) | np.isnan(other))
    return _spearman(np.round(one[defined], _DECIMALS), np.round(other[defined], _DECIMALS))


def representational_drift(rdms: Sequence[RDM]) -> Values:
    """1 - `rdm_similarity` of a layer between every two tasks, from its RDM after each: (tasks, tasks), symmetric.

    0 where the order of the distances has not changed, 1 where nothing of it is left, up to 2. Row t, column s compares
    the classes that both know, which for s before t are those of the tasks up to s. NaN where that is undefined, on the
    diagonal too.
    """
    drift = np.full((len(rdms), len(rdms)), np.nan)
    for row, later in enumerate(rdms):
        for column, earlier in enumerate(rdms[: row + 1]):
            similarity = rdm_similarity(later, earlier)
            if similarity is not None:
                drift[row, column] = drift[column, row] = 1 - similarity
    return drift


def _spearman(one: Values, other: Values) -> float | None:
    if one.size < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    a, b = (_ranks(values) - (one.size + 1) / 2 for values in (one, other))
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def _ranks(values: Values) -> Values:
    """Ranks from 1 on, ties sharing their mean rank; SciPy's would take longer to import than a report to write."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
