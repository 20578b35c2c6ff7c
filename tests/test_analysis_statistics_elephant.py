"""Every statistic that elephant has too, on 100 random records: equal to 1e-10."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from alade_brian.analysis.statistics import correlation as statistics_correlation
from alade_brian.analysis.statistics import distance as statistics_distance
from alade_brian.analysis.statistics import rates as statistics
from alade_brian.analysis.statistics import timing as statistics_timing

pytest.importorskip("elephant")

import neo
import quantities as pq
from elephant import conversion, spike_train_correlation, spike_train_dissimilarity
from elephant import statistics as elephant

DT = 1e-3
RECORDS = range(100)
EXACT = {"rel": 1e-10, "abs": 1e-10, "nan_ok": True}


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """What elephant says about silent neurons, for which both answer NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def record(seed: int) -> np.ndarray:
    """A few images and neurons of unequal rates, among them neurons that are silent or spike at every step."""
    generator = np.random.default_rng(seed)
    images, neurons = generator.integers(1, 4), generator.integers(2, 5)
    steps = 10 * int(generator.integers(2, 7))
    rates = generator.choice([0.0, 0.05, 0.2, 0.5, 0.9, 1.0], size=neurons, p=[0.1, 0.2, 0.3, 0.2, 0.1, 0.1])
    return generator.random((images, steps, neurons)) < rates


def train(spikes: np.ndarray) -> neo.SpikeTrain:
    """The train of one presentation: bool (steps,), a step of 1 ms."""
    return neo.SpikeTrain(np.flatnonzero(spikes), units="ms", t_start=0, t_stop=len(spikes))


def each(spikes: np.ndarray) -> list[neo.SpikeTrain]:
    return [train(image[:, neuron]) for image in spikes for neuron in range(spikes.shape[2])]


@pytest.mark.parametrize("seed", RECORDS)
def test_rate_intervals_and_counts(seed: int) -> None:
    spikes = record(seed)
    rates = [float(elephant.mean_firing_rate(train).rescale("Hz")) for train in each(spikes)]
    assert statistics.mean_rate_hz(spikes, DT) == pytest.approx(np.mean(rates), **EXACT)

    intervals = np.concatenate([elephant.isi(train).magnitude for train in each(spikes)])
    assert sorted(intervals) == statistics.isi_steps(spikes).tolist()
    if len(intervals) >= 2:
        assert statistics.cv_isi(spikes) == pytest.approx(float(elephant.cv(intervals)), **EXACT)

    for neuron, fano in enumerate(statistics.fano_factor_per_neuron(spikes)):
        assert fano == pytest.approx(elephant.fanofactor(each(spikes[:, :, [neuron]])), **EXACT)


@pytest.mark.parametrize("seed", RECORDS)
def test_variation_of_intervals(seed: int) -> None:
    spikes = record(seed)
    pairs = {"cv2": (elephant.cv2, statistics_timing.cv2), "lv": (elephant.lv, statistics_timing.lv)}
    pairs["lvr"] = (
        lambda intervals, with_nan: elephant.lvr(intervals, R=2 * pq.ms, with_nan=with_nan),
        lambda spikes: statistics_timing.lvr(spikes, DT, refractoriness=2e-3),
    )
    for theirs, ours in pairs.values():
        values, weights = [], []
        for image in range(len(spikes)):
            for neuron in range(spikes.shape[2]):
                intervals = elephant.isi(train(spikes[image, :, neuron]))
                expected = theirs(intervals, with_nan=True)
                found = ours(spikes[image : image + 1, :, [neuron]])
                assert (np.nan if found is None else found) == pytest.approx(float(expected), **EXACT)
                if len(intervals) >= 2:
                    values.append(float(expected))
                    weights.append(len(intervals) - 1)
        # Pooled, every pair of successive intervals counts once.
        assert ours(spikes) == (pytest.approx(np.average(values, weights=weights), **EXACT) if values else None)


@pytest.mark.parametrize("seed", RECORDS)
def test_cv_of_one_presentation(seed: int) -> None:
    spikes = record(seed)[:1]
    for neuron, found in enumerate(statistics_timing.cv_isi_per_neuron(spikes)):
        intervals = elephant.isi(train(spikes[0, :, neuron])).magnitude
        expected = float(elephant.cv(intervals)) if len(intervals) >= 2 else np.nan
        assert found == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("seed", RECORDS)
def test_correlation(seed: int) -> None:
    spikes = record(seed)
    images, steps, neurons = spikes.shape
    joined = [train(spikes[:, :, neuron].ravel()) for neuron in range(neurons)]
    for bin_steps in (1, 5):
        binned = conversion.BinnedSpikeTrain(joined, bin_size=bin_steps * pq.ms, n_bins=images * steps // bin_steps)
        expected = spike_train_correlation.correlation_coefficient(binned)
        assert statistics_correlation.correlation(spikes, bin_steps) == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("seed", RECORDS)
def test_spike_time_tiling_coefficient(seed: int) -> None:
    spikes = record(seed)[:1]
    trains, theirs = each(spikes), spike_train_correlation.spike_time_tiling_coefficient
    for window in (0.5, 2.0, 7.0):
        expected = np.array([[theirs(one, other, dt=window * pq.ms) for other in trains] for one in trains])
        found = statistics_correlation.spike_time_tiling_coefficient(spikes, DT, window=window * 1e-3)
        assert found == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("seed", RECORDS)
def test_van_rossum_distance(seed: int) -> None:
    trains = record(seed)[0]
    # Between equal trains elephant gives the root of a rounding error, up to 1e-6; here it is exactly 0.
    equal = (trains[:, :, np.newaxis] == trains[:, np.newaxis]).all(axis=0)
    for time_constant in (2.0, 15.0, np.inf):
        expected = spike_train_dissimilarity.van_rossum_distance(each(trains[np.newaxis]), time_constant * pq.ms)
        found = statistics_distance.van_rossum_matrix(trains, DT, time_constant * 1e-3)
        assert found == pytest.approx(np.where(equal, 0.0, expected), **EXACT)


@pytest.mark.parametrize("seed", RECORDS)
def test_victor_purpura_distance(seed: int) -> None:
    trains = record(seed)[0]
    for cost in (0.0, 30.0, 500.0):
        expected = spike_train_dissimilarity.victor_purpura_distance(each(trains[np.newaxis]), cost * pq.Hz)
        found = statistics_distance.victor_purpura_matrix(trains, DT, cost)
        assert found == pytest.approx(np.asarray(expected, dtype=float), **EXACT)
