"""Spike statistics against hand cases, closed forms and straightforward formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest
from spike_trains import trains

from alade_brian.analysis.statistics import input as statistics_input
from alade_brian.analysis.statistics import rates as statistics
from alade_brian.errors import UserError


def test_rate_counts_silent_neurons() -> None:
    # 3 spikes of 2 neurons in 4 steps of 1 ms: 3 / (2 * 0.004 s).
    assert statistics.mean_rate_hz(trains("1011", "0000"), 1e-3) == pytest.approx(375.0)


def test_intervals_stay_within_a_presentation() -> None:
    spikes = np.concatenate([trains("1001", "0110"), trains("1000", "0101")])
    assert statistics.isi_steps(spikes).tolist() == [1, 2, 3]
    assert statistics.isi_histogram(spikes).tolist() == [0, 1, 1, 1]
    assert statistics.cv_isi(spikes) == pytest.approx(np.std([1, 2, 3]) / 2)


def test_regular_firing_has_no_variation() -> None:
    assert statistics.cv_isi(trains("10101010")) == 0.0


@pytest.mark.parametrize("rows", [("0000",), ("1000", "0001"), ("1010",)])
def test_cv_needs_two_intervals(rows) -> None:
    assert statistics.cv_isi(trains(*rows)) is None


def test_fano_by_hand() -> None:
    # Counts over two images: neuron 1: 1 and 3 (variance 1, mean 2), neuron 2: 2 and 2, neuron 3 never.
    spikes = np.concatenate([trains("1000", "1100", "0000"), trains("1110", "0011", "0000")])
    assert statistics.fano_factor(spikes) == pytest.approx((0.5 + 0.0) / 2)
    assert statistics.fano_factor(np.zeros((3, 4, 5), dtype=bool)) is None


def test_fano_per_neuron_leaves_silent_neurons_undefined() -> None:
    spikes = np.concatenate([trains("1000", "1100", "0000"), trains("1110", "0011", "0000")])
    assert statistics.fano_factor_per_neuron(spikes) == pytest.approx([0.5, 0.0, np.nan], nan_ok=True)


def test_mean_of_what_is_defined() -> None:
    assert statistics.defined_mean(np.array([1.0, np.nan, 4.0])) == 2.5
    assert statistics.defined_mean(np.array([np.nan])) is None


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_independent_spikes_follow_the_closed_forms(probability: float) -> None:
    spikes = np.random.default_rng(3).random((400, 200, 30)) < probability
    assert statistics.fano_factor(spikes) == pytest.approx(1 - probability, abs=0.03)
    assert statistics.mean_rate_hz(spikes, 2e-3) == pytest.approx(probability / 2e-3, rel=0.01)
    # Geometric intervals: standard deviation over mean is sqrt(1 - p), but for the cut at the presentation's end.
    assert statistics.cv_isi(spikes) == pytest.approx(np.sqrt(1 - probability), abs=0.04)


def test_silent_and_saturated() -> None:
    spikes = np.concatenate([trains("1111", "0000", "1111", "0100"), trains("1111", "0000", "1101", "0000")])
    assert statistics.silent_fraction(spikes) == 0.25
    assert statistics.saturated_fraction(spikes) == 0.25


def test_blocks_give_what_the_whole_gives(monkeypatch) -> None:
    spikes = np.random.default_rng(4).random((23, 9, 17)) < 0.3
    whole = statistics.layer_statistics(spikes, 1e-3)
    monkeypatch.setattr(statistics_input, "_BLOCK_ENTRIES", 40)
    assert statistics.layer_statistics(spikes, 1e-3) == whole
    counts = spikes.sum(axis=1)
    assert whole["fano_factor"] == pytest.approx(np.mean(counts.var(axis=0) / counts.mean(axis=0)))
    trains_of = [np.flatnonzero(image[:, neuron]) for image in spikes for neuron in range(17)]
    intervals = np.concatenate([np.diff(times) for times in trains_of])
    assert sorted(intervals) == statistics.isi_steps(spikes).tolist()
    assert whole["cv_isi"] == pytest.approx(np.std(intervals) / np.mean(intervals))


def test_layer_statistics_match_the_single_functions() -> None:
    spikes = np.random.default_rng(6).random((10, 5, 40)) < 0.05
    assert statistics.layer_statistics(spikes, 1e-3) == {
        "mean_rate_hz": statistics.mean_rate_hz(spikes, 1e-3),
        "cv_isi": statistics.cv_isi(spikes),
        "fano_factor": statistics.fano_factor(spikes),
        "silent_fraction": pytest.approx(statistics.silent_fraction(spikes)),
    }


def test_a_silent_layer_is_json_without_nan() -> None:
    values = statistics.layer_statistics(np.zeros((2, 4, 3), dtype=bool), 1e-3)
    assert json.loads(json.dumps(values, allow_nan=False)) == {
        "mean_rate_hz": 0.0,
        "cv_isi": None,
        "fano_factor": None,
        "silent_fraction": 1.0,
    }


@pytest.mark.parametrize("spikes", [np.zeros((2, 3), dtype=bool), np.zeros((2, 3, 4)), np.zeros((0, 3, 4), dtype=bool)])
def test_other_arrays_are_refused(spikes) -> None:
    for function in (statistics.isi_steps, statistics.fano_factor, statistics.silent_fraction):
        with pytest.raises(UserError, match="bool array"):
            function(spikes)


@pytest.mark.parametrize("dt", [0.0, -1e-3, float("nan")])
def test_a_time_step_must_be_positive(dt: float) -> None:
    with pytest.raises(UserError, match="time step"):
        statistics.mean_rate_hz(trains("10"), dt)
    with pytest.raises(UserError, match="time step"):
        statistics.layer_statistics(trains("10"), dt)
