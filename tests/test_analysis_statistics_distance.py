"""Van Rossum and Victor-Purpura distance: hand cases, limits, a plain implementation, and the undefined."""

from __future__ import annotations

import numpy as np
import pytest
from spike_trains import trains

from alade_brian.analysis.statistics import distance as statistics_distance
from alade_brian.analysis.statistics import input as statistics_input
from alade_brian.errors import UserError

DT = 1e-3
van_rossum = statistics_distance.van_rossum_distance
victor_purpura = statistics_distance.victor_purpura_distance


def record(seed: int, probability: float = 0.3) -> np.ndarray:
    return np.random.default_rng(seed).random((6, 15, 4)) < probability


def test_van_rossum_by_hand() -> None:
    # One spike from none; two spikes 2 ms apart; two trains without any.
    first, second = trains("1000", "1000", "0000"), trains("0000", "0010", "0000")
    expected = [[1.0, np.sqrt(2 * (1 - np.exp(-2 / 5))), 0.0]]
    assert van_rossum(first, second, DT, 5e-3) == pytest.approx(np.array(expected))


def test_van_rossum_is_the_integral_of_the_smoothed_difference() -> None:
    first, second, tau = record(1), record(2), 4e-3
    # Fine sampling, far beyond the last spike; 2 / tau makes one spike 1 away from none.
    time = np.arange(0, 0.2, 2e-6) + 1e-6
    for image, neuron in ((0, 0), (3, 2)):
        trace = np.zeros_like(time)
        for spikes, sign in ((first, 1), (second, -1)):
            for spike in np.flatnonzero(spikes[image, :, neuron]) * DT:
                trace += np.where(time > spike, sign * np.exp(-(time - spike) / tau), 0.0)
        integral = np.sum(trace**2) * 2e-6 * 2 / tau
        assert van_rossum(first, second, DT, tau)[image, neuron] == pytest.approx(np.sqrt(integral), rel=1e-3)


def test_van_rossum_limits() -> None:
    first, second = record(3), record(4)
    counts = np.abs(first.sum(axis=1) - second.sum(axis=1).astype(int))
    assert van_rossum(first, second, DT, np.inf) == pytest.approx(counts, abs=1e-12)
    # Without memory only spikes of the same step cancel.
    assert van_rossum(first, second, DT, 1e-9) == pytest.approx(np.sqrt((first != second).sum(axis=1)))


def test_victor_purpura_by_hand() -> None:
    first, second = trains("10100", "10000", "10000", "00000"), trains("11000", "00100", "00001", "00000")
    # q = 300 / s, 0.3 per step: a move by one, a move by two; four steps (1.2) still beat remove and add (2); nothing.
    assert victor_purpura(first, second, DT, 300.0) == pytest.approx(np.array([[0.3, 0.6, 1.2, 0.0]]))
    # q = 700 / s, 0.7 per step.
    assert victor_purpura(first, second, DT, 700.0) == pytest.approx(np.array([[0.7, 1.4, 2.0, 0.0]]))


def edit_cost(one: list[int], other: list[int], cost: float) -> float:
    """The recursion as it is defined, without a table."""
    if not one or not other:
        return len(one) + len(other)
    moved = edit_cost(one[:-1], other[:-1], cost) + cost * abs(one[-1] - other[-1])
    return min(edit_cost(one[:-1], other, cost) + 1, edit_cost(one, other[:-1], cost) + 1, moved)


@pytest.mark.parametrize("cost", [0.1, 0.6, 1.7])
def test_victor_purpura_follows_its_definition(cost: float) -> None:
    first, second = record(5, 0.2), record(6, 0.35)
    found = victor_purpura(first, second, DT, cost / DT)
    for image, neuron in np.ndindex(*found.shape):
        times = [np.flatnonzero(spikes[image, :, neuron]).tolist() for spikes in (first, second)]
        assert found[image, neuron] == pytest.approx(edit_cost(*times, cost))


def test_victor_purpura_limits() -> None:
    first, second = record(7), record(8)
    counts = np.abs(first.sum(axis=1) - second.sum(axis=1).astype(int))
    assert victor_purpura(first, second, DT, 0.0) == pytest.approx(counts)
    assert victor_purpura(first, second, DT, 3 / DT) == pytest.approx((first != second).sum(axis=1))


@pytest.mark.parametrize("distance", [van_rossum, victor_purpura])
def test_equal_trains_are_exactly_nothing_apart(distance) -> None:
    spikes = record(9)
    assert (distance(spikes, spikes.copy(), DT, 0.7) == 0).all()


@pytest.mark.parametrize(
    ("distance", "matrix"),
    [
        (van_rossum, statistics_distance.van_rossum_matrix),
        (victor_purpura, statistics_distance.victor_purpura_matrix),
    ],
)
def test_a_matrix_holds_the_distance_of_every_pair(distance, matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    spikes = record(10)
    presentations = spikes[:, :, 1].T
    found = matrix(presentations, DT, 20.0)
    assert found.shape == (6, 6)
    for i, j in np.ndindex(6, 6):
        assert found[i, j] == distance(spikes[i : i + 1, :, [1]], spikes[j : j + 1, :, [1]], DT, 20.0)[0, 0]
    monkeypatch.setattr(statistics_input, "_BLOCK_ENTRIES", 100)
    assert (matrix(presentations, DT, 20.0) == found).all()


def test_bad_input_is_refused() -> None:
    spikes = record(11)
    for distance in (van_rossum, victor_purpura):
        with pytest.raises(UserError, match="one shape"):
            distance(spikes, spikes[:2], DT, 1.0)
        with pytest.raises(UserError, match="bool array"):
            distance(spikes[:0], spikes[:0], DT, 1.0)
        with pytest.raises(UserError, match="time step"):
            distance(spikes, spikes, 0.0, 1.0)
    for time_constant in (0.0, -1.0, np.nan):
        with pytest.raises(UserError, match="time constant"):
            van_rossum(spikes, spikes, DT, time_constant)
    for cost in (-1.0, np.inf, np.nan):
        with pytest.raises(UserError, match="cost"):
            victor_purpura(spikes, spikes, DT, cost)
    with pytest.raises(UserError, match="steps, trains"):
        statistics_distance.van_rossum_matrix(spikes, DT, 1.0)
