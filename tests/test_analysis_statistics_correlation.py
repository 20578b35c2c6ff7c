"""Correlation of binned trains and spike-time tiling coefficient: hand cases, pooling over images, the undefined."""

from __future__ import annotations

import numpy as np
import pytest
from spike_trains import trains

from alade_brian.analysis.statistics import correlation as statistics_correlation
from alade_brian.analysis.statistics import input as statistics_input
from alade_brian.errors import UserError

DT = 1e-3
NAN = np.nan
correlation = statistics_correlation.correlation
tiling = statistics_correlation.spike_time_tiling_coefficient


def test_correlation_by_hand() -> None:
    # A train, its opposite, one with half of its spikes, silence, and a spike at every step.
    found = correlation(trains("1100", "0011", "1000", "0000", "1111"))
    third = 1 / np.sqrt(3)
    defined = [[1, -1, third], [-1, 1, -third], [third, -third, 1]]
    assert found[:3, :3] == pytest.approx(np.array(defined))
    assert np.isnan(found[3:]).all() and np.isnan(found[:, 3:]).all()


def test_bins_hold_counts_and_end_with_the_presentation() -> None:
    spikes = np.concatenate([trains("110010", "100111"), trains("000001", "100000")])
    counts = np.array([[2, 0, 1, 0, 0, 1], [1, 1, 2, 1, 0, 0]])
    assert correlation(spikes, bin_steps=2) == pytest.approx(np.corrcoef(counts))


def test_independent_trains_do_not_correlate() -> None:
    spikes = np.random.default_rng(1).random((40, 500, 30)) < 0.2
    # The mean over 435 pairs of 20,000 bins has a standard error of 1 / sqrt(435 * 20,000).
    assert abs(statistics_correlation.mean_correlation(spikes)) < 4 / np.sqrt(435 * 20_000)


@pytest.mark.parametrize("bin_steps", [1, 3])
def test_mean_correlation_is_the_mean_over_defined_pairs(bin_steps: int) -> None:
    generator = np.random.default_rng(2)
    spikes = generator.random((5, 12, 9)) < generator.random((5, 12, 1))
    spikes[:, :, 3] = False
    spikes[:, :, 7] = True
    pairs = correlation(spikes, bin_steps)[np.triu_indices(9, k=1)]
    assert np.count_nonzero(~np.isnan(pairs)) == 21
    assert statistics_correlation.mean_correlation(spikes, bin_steps) == pytest.approx(np.nanmean(pairs), abs=1e-12)


@pytest.mark.parametrize("rows", [("0000", "0000"), ("1010", "0000"), ("1010", "1111"), ("1010",)])
def test_mean_correlation_needs_two_trains_that_vary(rows: tuple[str, ...]) -> None:
    assert statistics_correlation.mean_correlation(trains(*rows)) is None


def test_tiling_by_hand() -> None:
    # 10 ms, window 1.5 ms. A at 2 and 5 ms tiles 0.5 to 6.5 ms; B at 3 and 9 ms tiles 1.5 to 4.5 and 7.5 to 10 ms.
    # One spike of each is met.
    found = tiling(trains("0010010000", "0001000001"), DT, window=1.5e-3)
    of_a = (0.5 - 0.55) / (1 - 0.5 * 0.55)
    of_b = (0.5 - 0.6) / (1 - 0.5 * 0.6)
    assert found == pytest.approx(np.array([[1, (of_a + of_b) / 2], [(of_a + of_b) / 2, 1]]))


def test_tiling_pools_presentations() -> None:
    # A and B meet in the first image only; 2 * 4 ms in all, window half a step, so each spike tiles 1 ms, or 0.5 ms
    # at the start of a presentation.
    spikes = np.concatenate([trains("0100", "0100"), trains("0100", "1000")])
    a, b = 2 / 8, 1.5 / 8
    of_a = (1 / 2 - b) / (1 - b / 2)
    of_b = (1 / 2 - a) / (1 - a / 2)
    assert tiling(spikes, DT, window=0.5e-3)[0, 1] == pytest.approx((of_a + of_b) / 2)


def test_tiling_of_silent_and_saturated_trains() -> None:
    found = tiling(trains("0000", "1111", "0100"), DT, window=1e-3)
    assert np.isnan(found[0]).all() and np.isnan(found[:, 0]).all()
    # The third's spike is matched in a record tiled all over (1 for 0 / 0); it tiles 1/2 and meets 3 of the other's 4.
    assert found[1, 2] == pytest.approx((1 + (3 / 4 - 1 / 2) / (1 - 3 / 8)) / 2)
    assert found[1, 1] == found[2, 2] == 1


def test_a_window_longer_than_the_presentation_tiles_it_all() -> None:
    assert tiling(trains("1000", "0001"), DT, window=1.0) == pytest.approx(np.ones((2, 2)))


def test_blocks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    spikes = np.random.default_rng(3).random((11, 12, 5)) < 0.3

    def everything() -> list[np.ndarray]:
        mean = statistics_correlation.mean_correlation(spikes)
        return [correlation(spikes, 4), tiling(spikes, DT, window=2e-3), np.array(mean)]

    whole = everything()
    monkeypatch.setattr(statistics_input, "_BLOCK_ENTRIES", 150)
    for found, expected in zip(everything(), whole, strict=True):
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bin_steps", [0, -1, 3, 8])
def test_a_bin_must_divide_the_steps(bin_steps: int) -> None:
    for function in (correlation, statistics_correlation.mean_correlation):
        with pytest.raises(UserError, match="whole part of the 4 steps"):
            function(trains("1010"), bin_steps)


def test_bad_input_is_refused() -> None:
    for function in (correlation, statistics_correlation.mean_correlation):
        with pytest.raises(UserError, match="bool array"):
            function(np.zeros((2, 3)))
    with pytest.raises(UserError, match="time step"):
        tiling(trains("1"), -1.0)
    with pytest.raises(UserError, match="window"):
        tiling(trains("1"), DT, window=0.0)
