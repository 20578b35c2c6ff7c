"""Variation of successive intervals and latencies: hand cases, closed forms, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from spike_trains import trains

from alade_brian.analysis.statistics import input as statistics_input
from alade_brian.analysis.statistics import timing as statistics_timing
from alade_brian.errors import UserError

DT = 1e-3
NAN = np.nan


def test_variation_by_hand() -> None:
    # Intervals 1, 3 of the first neuron, 2, 2 of the second.
    spikes = trains("11001", "10101")
    assert statistics_timing.cv2_per_neuron(spikes) == pytest.approx([2 * 2 / 4, 0])
    assert statistics_timing.lv_per_neuron(spikes) == pytest.approx([3 * 4 / 16, 0])
    # R = 2 ms, two steps, on a sum of four steps: 1 + 4 * 2 / 4 = 3.
    assert statistics_timing.lvr_per_neuron(spikes, DT, 2e-3) == pytest.approx([3 * 0.75, 0])
    assert statistics_timing.cv_isi_per_neuron(spikes) == pytest.approx([1 / 2, 0])
    assert statistics_timing.cv2(spikes) == pytest.approx(0.5)
    assert statistics_timing.lv(spikes) == pytest.approx(0.375)
    assert statistics_timing.lvr(spikes, DT, 2e-3) == pytest.approx(1.125)


def test_pooled_counts_every_pair_once() -> None:
    # One pair (1, 3) of one neuron, three pairs (1, 1) of the other: not the mean of the neurons' means.
    spikes = trains("11001", "11111")
    assert statistics_timing.cv2(spikes) == pytest.approx(1 / 4)


def test_pairs_stay_within_a_presentation() -> None:
    # Intervals 1 and 3 of one neuron, but in two images: no pair.
    spikes = np.concatenate([trains("11000"), trains("10010")])
    assert statistics_timing.cv2(spikes) is None
    assert np.isnan(statistics_timing.lv_per_neuron(spikes)).all()
    assert statistics_timing.cv_isi_per_neuron(spikes) == pytest.approx([1 / 2])


def test_without_refractoriness_lvr_is_lv() -> None:
    spikes = np.random.default_rng(1).random((3, 40, 4)) < 0.3
    assert statistics_timing.lvr(spikes, DT, 0.0) == statistics_timing.lv(spikes)


@pytest.mark.parametrize("rows", [("0000",), ("1000",), ("1001",)])
def test_variation_needs_three_spikes(rows: tuple[str, ...]) -> None:
    spikes = trains(*rows)
    assert statistics_timing.cv2(spikes) is None
    assert statistics_timing.lv(spikes) is None
    assert statistics_timing.lvr(spikes, DT) is None
    assert np.isnan(statistics_timing.cv2_per_neuron(spikes)).all()
    assert np.isnan(statistics_timing.cv_isi_per_neuron(spikes)).all()


@pytest.mark.parametrize("probability", [0.02, 0.3])
def test_independent_spikes_follow_the_closed_forms(probability: float) -> None:
    spikes = np.random.default_rng(2).random((4, 20_000, 10)) < probability
    # Geometric intervals: their sum s is negative binomial, and given s the first is uniform on 1 to s - 1.
    s = np.arange(2, 2000)
    weight = (s - 1) * probability**2 * (1 - probability) ** (s - 2)
    expected_cv2 = float(weight @ (2 * ((s - 1) ** 2 // 2) / (s - 1) / s))
    expected_lv = float(weight @ ((s - 2) / s))
    assert statistics_timing.cv2(spikes) == pytest.approx(expected_cv2, abs=0.015)
    assert statistics_timing.lv(spikes) == pytest.approx(expected_lv, abs=0.02)
    # A refractoriness constant adds 4 R / s to each weight; R of one step.
    expected_lvr = expected_lv + float(weight @ (4 * (s - 2) / s**2))
    assert statistics_timing.lvr(spikes, DT, DT) == pytest.approx(expected_lvr, abs=0.03)


def test_latency_by_hand() -> None:
    spikes = np.concatenate([trains("0010", "1001", "0000"), trains("0001", "0000", "0000")])
    expected = np.array([[2e-3, 0.0, NAN], [3e-3, NAN, NAN]])
    assert statistics_timing.first_spike_latency(spikes, DT) == pytest.approx(expected, nan_ok=True)
    # The second neuron's mean is over the one image in which it spikes.
    found = statistics_timing.mean_first_spike_latency(spikes, DT)
    assert found == pytest.approx([2.5e-3, 0.0, NAN], nan_ok=True)


def test_latency_of_independent_spikes_is_geometric() -> None:
    spikes = np.random.default_rng(3).random((4000, 60, 5)) < 0.25
    # Mean number of failures before the first success: (1 - p) / p = 3.
    assert statistics_timing.mean_first_spike_latency(spikes, DT) == pytest.approx(3 * DT, rel=0.06)


def test_blocks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    spikes = np.random.default_rng(4).random((23, 12, 7)) < 0.4

    def everything() -> list[np.ndarray]:
        per_neuron = (statistics_timing.cv_isi_per_neuron, statistics_timing.cv2_per_neuron)
        latency = statistics_timing.mean_first_spike_latency(spikes, DT)
        return [*(function(spikes) for function in per_neuron), latency]

    whole = everything()
    monkeypatch.setattr(statistics_input, "_BLOCK_ENTRIES", 20)
    for found, expected in zip(everything(), whole, strict=True):
        assert found == pytest.approx(expected, rel=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="bool array"):
        statistics_timing.cv2(np.zeros((2, 3), dtype=bool))
    with pytest.raises(UserError, match="bool array"):
        statistics_timing.mean_first_spike_latency(np.zeros((0, 3, 2), dtype=bool), DT)
    with pytest.raises(UserError, match="time step"):
        statistics_timing.first_spike_latency(trains("1"), 0.0)
    with pytest.raises(UserError, match="refractoriness"):
        statistics_timing.lvr(trains("111"), DT, -1e-3)
