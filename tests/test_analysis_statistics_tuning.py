"""Sparseness, class responses and selectivity: hand cases, bounds, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from spike_trains import counted

from alade_brian.analysis.statistics import input as statistics_input
from alade_brian.analysis.statistics import tuning as statistics_tuning
from alade_brian.errors import UserError

NAN = np.nan


def test_lifetime_sparseness_by_hand() -> None:
    # Over four images: alike, one image only, counts 1 and 3 of which A = (4/4)^2 / (10/4), silent.
    spikes = counted([2, 5, 1, 0], [2, 0, 3, 0], [2, 0, 0, 0], [2, 0, 0, 0])
    found = statistics_tuning.lifetime_sparseness(spikes)
    assert found == pytest.approx([0, 1, (1 - 1 / 2.5) / (1 - 1 / 4), NAN], nan_ok=True)


def test_population_sparseness_by_hand() -> None:
    spikes = counted([2, 2, 2, 2], [5, 0, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0])
    found = statistics_tuning.population_sparseness(spikes)
    assert found == pytest.approx([0, 1, (1 - 1 / 2.5) / (1 - 1 / 4), NAN], nan_ok=True)


def test_sparseness_needs_two() -> None:
    assert np.isnan(statistics_tuning.lifetime_sparseness(counted([1, 2]))).all()
    assert np.isnan(statistics_tuning.population_sparseness(counted([1], [2]))).all()


def test_class_responses_are_means_over_the_images_of_a_class() -> None:
    responses = statistics_tuning.class_responses(counted([1, 0], [3, 4], [2, 8]), np.array([7, 2, 7]))
    assert responses.classes.tolist() == [2, 7]
    assert responses.images.tolist() == [1, 2]
    assert responses.mean_counts.tolist() == [[3, 4], [1.5, 4]]


def test_selectivity_by_hand() -> None:
    # Means of three classes: 4, 1, 0; 0, 2, 0; 3, 3, 3; silent. The first class has two images and counts once.
    spikes = counted([3, 0, 3, 0], [5, 0, 3, 0], [1, 2, 3, 0], [0, 0, 3, 0])
    labels = np.array([0, 0, 4, 9])
    found = statistics_tuning.class_selectivity(spikes, labels)
    assert found == pytest.approx([(4 - 0.5) / (4 + 0.5), 1, 0, NAN], nan_ok=True)
    assert statistics_tuning.preferred_class(spikes, labels).tolist() == [0, 4, 0, -1]


def test_selectivity_needs_two_classes() -> None:
    assert np.isnan(statistics_tuning.class_selectivity(counted([1], [2]), np.array([3, 3]))).all()


def test_blocks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    spikes, labels = generator.random((19, 6, 5)) < 0.4, generator.integers(0, 3, 19)

    def everything() -> list[np.ndarray]:
        sparseness = (statistics_tuning.lifetime_sparseness, statistics_tuning.population_sparseness)
        return [*(function(spikes) for function in sparseness), statistics_tuning.class_selectivity(spikes, labels)]

    whole = everything()
    counts = spikes.sum(axis=1)
    activity = counts.mean(axis=0) ** 2 / (counts**2).mean(axis=0)
    assert whole[0] == pytest.approx((1 - activity) / (1 - 1 / 19))
    monkeypatch.setattr(statistics_input, "_BLOCK_ENTRIES", 20)
    for found, expected in zip(everything(), whole, strict=True):
        assert (found == expected).all()


@pytest.mark.parametrize("labels", [np.zeros(2, int), np.zeros(3), np.zeros((3, 1), int), np.array([0, 1, -1])])
def test_labels_are_one_class_number_per_image(labels: np.ndarray) -> None:
    for function in (statistics_tuning.class_selectivity, statistics_tuning.preferred_class):
        with pytest.raises(UserError, match="3 integers from 0 up"):
            function(counted([1], [2], [3]), labels)


def test_other_arrays_are_refused() -> None:
    for function in (statistics_tuning.lifetime_sparseness, statistics_tuning.population_sparseness):
        with pytest.raises(UserError, match="bool array"):
            function(np.zeros((0, 3, 4), dtype=bool))
