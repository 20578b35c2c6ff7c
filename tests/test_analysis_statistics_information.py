"""Mutual information between class and spike count: hand cases, its bias, and what is exactly nothing."""

from __future__ import annotations

import numpy as np
import pytest
from spike_trains import counted

from alade_brian.analysis.statistics import input as statistics_input
from alade_brian.analysis.statistics.information import mutual_information
from alade_brian.errors import UserError


def test_information_by_hand() -> None:
    # Four images of two classes: tells them apart, tells three of four, does not vary with the class, silent.
    spikes = counted([1, 1, 1, 0], [1, 1, 2, 0], [4, 1, 1, 0], [4, 3, 2, 0])
    labels = np.array([5, 5, 8, 8])
    three_to_one = -(3 / 4) * np.log2(3 / 4) - (1 / 4) * np.log2(1 / 4)
    plain = [1.0, three_to_one + 1 - 1.5, 0.0, 0.0]
    assert mutual_information(spikes, labels, bias_correction=False) == pytest.approx(plain, abs=1e-12)
    # Occupied bins: 2 counts, 2 classes and 2, 3, 4 pairs, so that (2 + 2 - pairs - 1) / (2 * 4 ln 2) is added.
    bits = np.array([1, 0, -1, 0]) / (8 * np.log(2))
    assert mutual_information(spikes, labels) == pytest.approx(plain + bits, abs=1e-12)


def test_many_classes_told_apart_carry_the_entropy_of_the_class() -> None:
    labels = np.repeat(np.arange(8), 5)
    spikes = counted(*[[label] for label in labels])
    assert mutual_information(spikes, labels, bias_correction=False) == pytest.approx(3.0)


def test_the_correction_removes_the_bias() -> None:
    # 500 neurons that know nothing: plainly (5 - 1) (8 - 1) / (2 N ln 2) bits too much, corrected nearly nothing.
    generator = np.random.default_rng(1)
    labels = np.tile(np.arange(5), 80)
    spikes = counted(*generator.integers(0, 8, size=(400, 500)))
    bias = 4 * 7 / (2 * 400 * np.log(2))
    assert mutual_information(spikes, labels, bias_correction=False).mean() == pytest.approx(bias, rel=0.05)
    assert abs(mutual_information(spikes, labels).mean()) < 0.05 * bias


def test_a_noisy_channel_has_its_closed_form() -> None:
    # The count is the class, but in one image of ten the other class: 1 bit less the entropy of 0.1.
    generator = np.random.default_rng(2)
    labels = np.arange(20_000) % 2
    spikes = counted(*(labels ^ (generator.random(20_000) < 0.1))[:, None], steps=2)
    noise = -0.1 * np.log2(0.1) - 0.9 * np.log2(0.9)
    assert mutual_information(spikes, labels) == pytest.approx(1 - noise, abs=0.02)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_silence_and_a_single_class_are_exactly_nothing(bias_correction: bool) -> None:
    silent = np.zeros((7, 4, 2), dtype=bool)
    assert (mutual_information(silent, np.arange(7), bias_correction) == 0).all()
    varied = counted([1, 2], [3, 4], [5, 6])
    assert (mutual_information(varied, np.full(3, 2), bias_correction) == 0).all()


def test_blocks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    spikes, labels = generator.random((30, 6, 11)) < generator.random(11), generator.integers(0, 4, 30)
    whole = mutual_information(spikes, labels)
    monkeypatch.setattr(statistics_input, "_BLOCK_ENTRIES", 70)
    assert mutual_information(spikes, labels) == pytest.approx(whole, rel=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="bool array"):
        mutual_information(np.zeros((0, 3, 4), dtype=bool), np.zeros(0, int))
    with pytest.raises(UserError, match="2 integers"):
        mutual_information(counted([1], [2]), np.array([0.0, 1.0]))
