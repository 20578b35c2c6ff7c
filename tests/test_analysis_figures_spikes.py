"""Figures of spike records, membranes, tuning and drift hold the data they were given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from test_analysis_synthetic import DT, LAYERS, flip, make_record, make_spikes

from alade_brian.analysis import figures
from alade_brian.analysis.figures import style
from alade_brian.analysis.figures.raster import choose
from alade_brian.analysis.figures.tuning import tuning_order
from alade_brian.analysis.statistics.similarity import RDM, representational_drift
from alade_brian.analysis.statistics.summary import layer_summary
from alade_brian.analysis.statistics.timing import cv2, interval_variations, lv, lvr
from alade_brian.analysis.statistics.tuning import (
    ClassResponses,
    class_responses,
    class_selectivity,
    lifetime_sparseness,
)
from alade_brian.errors import UserError
from alade_brian.spikes.spike_record import SpikeRecord

STEPS = 6


@pytest.fixture
def spikes() -> dict[str, np.ndarray]:
    return make_spikes(np.random.default_rng(8), images=3, steps=STEPS)


@pytest.fixture
def record(spikes) -> SpikeRecord:
    return SpikeRecord.of(make_record(spikes, spikes, classes=2))


def marks(ax: Axes) -> dict[str, np.ndarray]:
    """By name of a kind of mark: (marks, 2), time in ms and row."""
    found = {}
    for line in ax.lines:
        if line.get_gid():
            x, y = (np.asarray(values).reshape(-1, 3) for values in (line.get_xdata(), line.get_ydata()))
            found[str(line.get_gid())] = np.stack([x[:, 0], y[:, :2].mean(1)], axis=1)
    return found


def strip(ax: Axes, name: str) -> Axes:
    return next(each for each in ax.child_axes if each.get_label() == name)


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_a_raster_has_a_mark_for_every_spike(record, spikes) -> None:
    ax = figures.plot_spikes(record, max_neurons=1000)
    start = 0
    for name, found in marks(ax).items():
        image, step, neuron = np.nonzero(spikes[name])
        np.testing.assert_allclose(found[:, 0], (image * STEPS + step) * DT * 1e3)
        assert found[:, 1].round().astype(int).tolist() == (start + neuron).tolist()
        start += LAYERS[name]
    assert sum(map(len, marks(ax).values())) == len(record)
    assert ax.yaxis_inverted() and ax.get_ylim() == (start - 0.5, -0.5)
    low, high = ax.get_xlim()
    assert low < 0 and high > (3 * STEPS - 1) * DT * 1e3
    assert ax.get_xlabel() == "time (ms)" and len({line.get_color() for line in ax.lines}) == 3


def test_rates_stand_above_and_counts_beside(record, spikes) -> None:
    ax = figures.plot_spikes(record, max_neurons=50)
    above, beside = strip(ax, "rates"), strip(ax, "counts")
    for rate, count, (name, array) in zip(above.patches, beside.patches, spikes.items(), strict=True):
        # Rates over all neurons, drawn or not; counts of those that are drawn.
        np.testing.assert_allclose(rate.get_data().values, array.mean(2).ravel() / DT)
        drawn = choose(np.arange(LAYERS[name]), 50)
        assert count.get_data().values.tolist() == array.sum((0, 1))[drawn].tolist()
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        f"{name}\n(50 of {total})" for name, total in LAYERS.items()
    ]
    assert texts(above) == [" class 0", " 1", " 0"]
    assert above.child_axes[0].get_xlabel() == "step"


def test_evenly_spaced_neurons_are_drawn(record, spikes) -> None:
    found = marks(figures.plot_spikes(record, max_neurons=10))
    shown = choose(np.arange(LAYERS["conv2"]), 10)
    assert shown.tolist() == np.linspace(0, LAYERS["conv2"] - 1, 10).astype(int).tolist()
    assert len(found["conv2"]) == spikes["conv2"][:, :, shown].sum()
    assert choose(np.arange(100), 4, np.array([50, 51])).tolist() == [0, 50, 51, 99]
    with pytest.raises(UserError, match="at least one neuron"):
        figures.plot_spikes(record, max_neurons=0)


def test_many_marks_are_a_picture_in_vector_files() -> None:
    few, many = (
        SpikeRecord.from_rasters({"wide": np.ones((1, steps, 100), dtype=bool)}, DT, [0], [1]) for steps in (100, 101)
    )
    assert [figures.plot_spikes(each).lines[0].get_rasterized() for each in (few, many)] == [False, True]


def test_a_record_without_spikes_is_drawn() -> None:
    record = SpikeRecord.from_rasters({"silent": np.zeros((2, 4, 3), dtype=bool)}, DT, [0, 1], [1, 1])
    ax = figures.plot_spikes(record)
    assert texts(ax) == ["no neuron fired"] and marks(ax)["silent"].size == 0
    assert strip(ax, "rates").patches[0].get_data().values.tolist() == [0.0] * 8
    left, right = figures.plot_spikes_pair(record, record)
    assert strip(left, "rates").get_title() == "PyTorch: 0 spikes, 0 differ"
    assert style.svg_bytes(right.figure).startswith(b"<?xml")


def test_both_networks_side_by_side(spikes) -> None:
    other = flip(spikes, [("conv2", 1, 3, 300), ("features", 0, 2, 9), ("features", 2, 5, 9)])
    whole = make_record(spikes, other, classes=2)
    torch, brian2 = (SpikeRecord.of(whole, network) for network in ("torch", "brian2"))
    left, right = figures.plot_spikes_pair(torch, brian2, max_neurons=20)
    assert strip(left, "rates").get_title() == f"PyTorch: {len(torch):,} spikes, 3 differ"
    assert strip(right, "rates").get_title() == f"Brian2: {len(brian2):,} spikes, 3 differ"
    alone = [{k: v for k, v in marks(ax).items() if k.endswith("only here")} for ax in (left, right)]
    # Neurons that disagree are among the twenty drawn.
    assert sum(len(each) for side in alone for each in side.values()) == 3
    times = sorted(float(t) for side in alone for each in side.values() for t in each[:, 0])
    np.testing.assert_allclose(times, [2.0, (STEPS + 3) * 1.0, (2 * STEPS + 5) * 1.0])
    colours = {line.get_color() for ax in (left, right) for line in ax.lines if "only here" in str(line.get_gid())}
    assert colours == {style.ALARM}
    assert left.get_ylim() == right.get_ylim() and left.get_xlim() == right.get_xlim()
    with pytest.raises(UserError, match="same images, steps, layers and neurons"):
        figures.plot_spikes_pair(torch, brian2.select(layers=["conv1"]))


def test_a_membrane_is_drawn_with_threshold_and_spikes() -> None:
    torch = np.array([[0.5, 1.5], [1.2, 0.1], [0.2, 1.1]])
    brian2, spikes = torch + 1e-15, torch > 1
    ax = figures.plot_membrane(torch, brian2, 2e-3, threshold=1.0, spikes=spikes, neurons=[4, 9], variable="v")
    lines = {line.get_gid(): line for line in ax.lines if line.get_gid()}
    assert lines["torch 9"].get_ydata().tolist() == torch[:, 1].tolist()
    assert lines["brian2 4"].get_ydata().tolist() == brian2[:, 0].tolist()
    assert lines["spikes 4"].get_xdata().tolist() == [2.0] and lines["spikes 9"].get_xdata().tolist() == [0.0, 4.0]
    assert lines["threshold"].get_ydata() == [1.0, 1.0] and ax.get_ylabel() == "v"
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["threshold", "neuron 4", "neuron 9", "Brian2", "spike"]


def test_a_threshold_that_moves_and_a_network_alone() -> None:
    values, level = np.zeros((3, 2)), np.arange(6.0).reshape(3, 2)
    ax = figures.plot_membrane(None, values, DT, threshold=level)
    drawn = [line.get_ydata().tolist() for line in ax.lines if line.get_gid() == "threshold"]
    assert drawn == level.T.tolist()
    assert not [line for line in ax.lines if str(line.get_gid()).startswith("torch")]
    for wrong in (
        lambda: figures.plot_membrane(values, values[:2], DT),
        lambda: figures.plot_membrane(None, values[:0], DT),
    ):
        with pytest.raises(UserError, match="one shape"):
            wrong()
    with pytest.raises(UserError, match="threshold of shape"):
        figures.plot_membrane(None, values, DT, threshold=[1.0, 2.0, 3.0, 4.0])


def test_neurons_are_sorted_by_the_class_they_prefer() -> None:
    means = np.array([[0.0, 2.0, 1.0, 0.0, 4.0], [3.0, 0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0]])
    responses = ClassResponses(np.array([2, 5, 6]), np.array([4, 4, 4]), means)
    order, preferred = tuning_order(means)
    # Neuron 3 is silent; 4 answers to one class alone, 2 to two alike, of which the first counts.
    assert order.tolist() == [4, 1, 2, 0] and preferred.tolist() == [0, 0, 0, 1]
    ax = figures.plot_tuning(responses)
    np.testing.assert_allclose(ax.images[0].get_array(), means[:, order] / means.max(0)[order])
    assert ax.get_xlabel() == "4 neurons by preferred class (1 silent ones left out)"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["2", "5", "6"]
    assert [line.get_xdata()[0] for line in ax.lines] == [2.5]
    silent = figures.plot_tuning(ClassResponses(np.array([0]), np.array([1]), np.zeros((1, 3))))
    assert texts(silent) == ["no neuron fired"] and not silent.images
    with pytest.raises(UserError, match="3 classes and 1 class names"):
        figures.plot_tuning(responses, class_names=["a"])


def test_selectivity_shares() -> None:
    ax = figures.plot_selectivity({"a": np.array([0.0, 0.52, 1.0, np.nan]), "silent": np.array([np.nan])})
    (outline,) = ax.patches
    assert outline.get_data().values.sum() == pytest.approx(100)
    assert np.flatnonzero(outline.get_data().values).tolist() == [0, 10, 19]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a"]
    many = figures.plot_selectivity({f"layer {k}": np.full(k + 1, 0.1) for k in range(9)})
    assert len(many.patches) == 10
    assert texts(figures.plot_selectivity({"silent": np.array([np.nan])})) == ["no neuron has a selectivity"]


def test_drift_is_written_into_its_cells() -> None:
    draw = np.random.default_rng(1)
    rdms = []
    for classes in (2, 4, 6):
        distances = draw.random((classes, classes))
        rdms.append(RDM(np.arange(classes), distances + distances.T))
    drift = representational_drift(rdms)
    ax = figures.plot_drift(drift, tasks=[1, 2, 5])
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown, drift)
    # With two classes there is one distance, and nothing to put in order.
    assert np.isnan(drift[0]).all()
    assert texts(ax) == [f"{value:.2f}" for value in drift[1:, 1:].ravel()]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "5"]
    assert "fewer than three classes" in texts(figures.plot_drift(np.full((1, 1), np.nan)))[0]
    with pytest.raises(UserError, match="between all tasks"):
        figures.plot_drift(np.zeros((2, 3)))


def test_axes_that_are_given_are_used_and_both_files_written(record, tmp_path: Path) -> None:
    means = class_responses(record.raster("conv1"), np.array([0, 1, 0]))
    calls = [
        lambda ax: figures.plot_spikes(record, ax),
        lambda ax: figures.plot_tuning(means, ax),
        lambda ax: figures.plot_selectivity({"a": np.array([0.5])}, ax),
        lambda ax: figures.plot_drift(np.zeros((2, 2)), ax),
        lambda ax: figures.plot_membrane(None, np.zeros((3, 2)), DT, ax),
        lambda ax: figures.plot_isi({"a": record.raster("conv1")}, DT, ax),
    ]
    for number, call in enumerate(calls):
        _, ax = style.new_axes()
        assert call(ax) is ax and ax.get_xlabel() and ax.get_ylabel()
        png, svg = style.write_figure(ax, tmp_path / f"{number}.with.dots")
        assert png.name == f"{number}.with.dots.png" and png.read_bytes().startswith(b"\x89PNG")
        assert svg.read_bytes().startswith(b"<?xml")


def test_the_summary_of_a_layer_is_what_the_single_functions_say(spikes) -> None:
    array, labels = np.tile(spikes["conv1"], (4, 2, 1)), np.arange(12) % 3
    found = layer_summary(array, labels, DT)
    assert [found["cv2"], found["lv"], found["lvr"]] == [cv2(array), lv(array), lvr(array, DT)]
    assert interval_variations(array, DT) == {name: found[name] for name in ("cv2", "lv", "lvr")}
    assert found["lifetime_sparseness"] == np.nanmean(lifetime_sparseness(array))
    assert found["class_selectivity"] == np.nanmean(class_selectivity(array, labels))
    assert None not in found.values()
    silent = layer_summary(np.zeros((4, 5, 3), dtype=bool), np.arange(4), DT)
    defined = {key: value for key, value in silent.items() if value is not None}
    assert defined == {"mean_rate_hz": 0.0, "silent_fraction": 1.0, "mutual_information_bits": 0.0}
