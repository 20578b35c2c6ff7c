"""Representational similarity: hand cases, numpy and scipy, drift between tasks, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from spike_trains import counted

from alade_brian.analysis.statistics.similarity import (
    RDM,
    correlation_distance,
    rdm,
    rdm_similarity,
    representational_drift,
)
from alade_brian.errors import UserError


def matrix(classes: list[int], *pairs: float) -> RDM:
    """An RDM from its upper triangle, row by row."""
    distances = np.zeros((len(classes), len(classes)))
    distances[np.triu_indices(len(classes), k=1)] = pairs
    return RDM(np.array(classes), distances + distances.T)


def test_distances_by_hand() -> None:
    # Alike up to scale, opposite, and uncorrelated.
    found = correlation_distance(np.array([[0.0, 1, 2, 3], [1, 3, 5, 7], [3, 2, 1, 0], [1, 0, 0, 1]]))
    assert found == pytest.approx(np.array([[0, 0, 2, 1], [0, 0, 2, 1], [2, 2, 0, 1], [1, 1, 1, 0]]), abs=1e-12)


def test_rdm_compares_the_means_of_the_classes() -> None:
    generator = np.random.default_rng(1)
    spikes, labels = generator.random((40, 5, 30)) < 0.4, np.arange(40) % 4 * 3
    means = np.array([spikes[labels == label].sum(axis=1).mean(axis=0) for label in (0, 3, 6, 9)])
    found = rdm(spikes, labels)
    assert found.classes.tolist() == [0, 3, 6, 9]
    assert found.distances == pytest.approx(1 - np.corrcoef(means), abs=1e-12)


def test_a_class_without_a_pattern_is_undefined() -> None:
    # Silent for class 1; all neurons alike for class 2.
    found = rdm(counted([1, 2, 3], [0, 0, 0], [4, 4, 4], [3, 2, 0]), np.arange(4)).distances
    assert np.isnan(found[1:3]).all() and np.isnan(found[:, 1:3]).all()
    assert found[0, 0] == found[3, 3] == 0
    assert found[0, 3] == pytest.approx(1 - np.corrcoef([1, 2, 3], [3, 2, 0])[0, 1])


def test_similarity_is_spearman_over_pairs() -> None:
    generator = np.random.default_rng(2)
    one, other = generator.random((2, 15)).round(1)
    expected = spearmanr(one, other).statistic
    assert rdm_similarity(matrix([*range(6)], *one), matrix([*range(6)], *other)) == pytest.approx(expected)


def test_similarity_takes_the_classes_that_both_hold() -> None:
    first = matrix([0, 1, 2], 0.1, 0.2, 0.3)
    second = matrix([0, 1, 2, 5], 0.4, 0.5, 9.0, 0.6, 9.0, 9.0)
    assert rdm_similarity(first, second) == pytest.approx(1.0)
    assert rdm_similarity(first, matrix([0, 1, 2], 0.6, 0.5, 0.4)) == pytest.approx(-1.0)


def test_undefined_pairs_are_left_out() -> None:
    first = matrix([0, 1, 2, 3], np.nan, 0.2, 0.3, 0.4, 0.5, 0.6)
    second = matrix([0, 1, 2, 3], 0.9, np.nan, 0.1, 0.3, 0.2, 0.4)
    # Ranks 1 2 3 4 against 1 3 2 4.
    assert rdm_similarity(first, second) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "second", [matrix([0, 1], 0.5), matrix([5, 6, 7], 0.1, 0.2, 0.3), matrix([0, 1, 2], 0.5, 0.5 + 1e-15, 0.5)]
)
def test_similarity_needs_distances_that_differ(second: RDM) -> None:
    assert rdm_similarity(matrix([0, 1, 2], 0.1, 0.2, 0.3), second) is None


def test_drift_between_tasks() -> None:
    tasks = [
        matrix([0, 1], 0.1),
        matrix([0, 1, 2], 0.1, 0.2, 0.3),
        matrix([0, 1, 2, 3], 0.3, 0.2, 9.0, 0.1, 8.0, 7.0),
    ]
    drift = representational_drift(tasks)
    assert drift == pytest.approx(np.array([[np.nan] * 3, [np.nan, 0, 2], [np.nan, 2, 0]]), nan_ok=True)
    assert representational_drift([]).shape == (0, 0)


def test_drift_does_not_ask_which_neuron_is_which() -> None:
    generator = np.random.default_rng(3)
    spikes, labels = generator.random((30, 6, 12)) < generator.random((30, 1, 12)), np.arange(30) % 5
    grown = np.concatenate([spikes, spikes], axis=2)[:, :, generator.permutation(24)]
    drift = representational_drift([rdm(spikes, labels), rdm(grown, labels)])
    assert drift == pytest.approx(np.zeros((2, 2)), abs=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="bool array"):
        rdm(np.zeros((0, 3, 4), dtype=bool), np.zeros(0, int))
    with pytest.raises(UserError, match="2 integers"):
        rdm(counted([1], [2]), np.array([1]))
