"""Figures hold the data they were given; how they look is for the eye."""

from __future__ import annotations

import sys
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from test_analysis_synthetic import DT, flip, make_run, make_spikes

from alade_brian.analysis import figures
from alade_brian.analysis.figures.style import legend_above, new_axes, new_stack, png_bytes, svg_bytes
from alade_brian.analysis.statistics.tuning import class_responses
from alade_brian.errors import UserError


@pytest.fixture(scope="module")
def metrics(tmp_path_factory) -> dict[str, Any]:
    return make_run(tmp_path_factory.mktemp("figures") / "run", tasks=3, images=20)


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> dict[str, Any]:
    return make_run(tmp_path_factory.mktemp("figures") / "run", tasks=1, images=20, aligned=False)


@pytest.fixture
def ax() -> Axes:
    return new_axes()[1]


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def measured(line: Line2D) -> np.ndarray:
    """What a line of epochs shows, without the places where it is broken."""
    return line.get_ydata()[np.isfinite(line.get_xdata())]


def marks(ax: Axes) -> dict[str, int]:
    return {line.get_gid(): len(line.get_xdata()) for line in ax.lines if line.get_gid()}


def test_every_figure_returns_its_axes_and_needs_no_pyplot(metrics) -> None:
    spikes = make_spikes(np.random.default_rng(0), images=4, steps=6)
    one = {name: array[0] for name, array in spikes.items()}
    confusion = metrics["tasks"][-1]["confusion_brian2"]
    calls = [
        lambda ax: figures.plot_incremental_accuracy(metrics, ax),
        lambda ax: figures.plot_accuracy_matrix(metrics, ax),
        lambda ax: figures.plot_confusion(confusion, list("abcdef"), ax),
        lambda ax: figures.plot_logits(metrics, ax),
        lambda ax: figures.plot_alignment(metrics, ax),
        lambda ax: figures.plot_rates(metrics, ax),
        lambda ax: figures.plot_isi(spikes, DT, ax),
        lambda ax: figures.plot_raster(one, one, DT, ax),
        lambda ax: figures.plot_time(metrics, ax),
        lambda ax: figures.plot_energy(metrics["energy"], ax),
        lambda ax: figures.plot_energy_tasks(metrics, ax),
    ]
    pyplot = sys.modules.get("matplotlib.pyplot")
    before = pyplot.get_fignums() if pyplot else []
    for call in calls:
        _, ax = new_axes()
        assert call(ax) is ax
        assert ax.get_xlabel() and ax.get_ylabel()
    assert (pyplot.get_fignums() if pyplot else []) == before


def test_incremental_accuracy(metrics, ax) -> None:
    figures.plot_incremental_accuracy(metrics, ax)
    torch, brian2 = ax.lines
    expected = [100 * task["accuracy_torch"] for task in metrics["tasks"]]
    for line in (torch, brian2):
        assert line.get_xdata().tolist() == [2, 4, 6]
        np.testing.assert_allclose(line.get_ydata(), expected)
    assert brian2.get_fillstyle() == "none" and brian2.get_markersize() > torch.get_markersize()
    assert legend(ax) == [f"{name}: average {np.mean(expected):.2f} %" for name in ("PyTorch", "Brian2")]


def test_accuracy_matrix(metrics, ax) -> None:
    figures.plot_accuracy_matrix(metrics, ax)
    assert texts(ax) == [f"{100 * value:.1f}" for row in metrics["accuracy_matrix_brian2"] for value in row]
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    assert np.isnan(shown[0, 1:]).all()
    assert shown[2, 1] == pytest.approx(100 * metrics["accuracy_matrix_brian2"][2][1])


def test_confusion_shades_by_the_true_class(ax) -> None:
    figures.plot_confusion([[3, 1], [0, 0]], ["cat", "dog"], ax, borders=[1, 2])
    np.testing.assert_allclose(ax.images[0].get_array(), [[75, 25], [0, 0]])
    assert texts(ax) == ["3", "1", "0", "0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]
    assert len(ax.lines) == 2


def test_a_large_confusion_matrix_is_not_written_full(ax) -> None:
    figures.plot_confusion(np.eye(100, dtype=int), [f"class {number}" for number in range(100)], ax)
    assert texts(ax) == []
    # Every third class is named.
    assert [label.get_text() for label in ax.get_xticklabels()] == [f"class {number}" for number in range(0, 100, 3)]


def test_confusion_of_other_shape_is_refused(ax) -> None:
    with pytest.raises(UserError, match="does not fit 3"):
        figures.plot_confusion([[1, 0], [0, 1]], ["a", "b", "c"], ax)


def test_logits(metrics, single, ax) -> None:
    figures.plot_logits(metrics, ax)
    training = metrics["tasks"][-1]["training"]
    expected = training["logits_before_alignment"] + training["logits_after_alignment"]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(expected)
    with pytest.raises(UserError, match="no logits"):
        figures.plot_logits(single, ax)


def test_alignment(metrics, single, ax) -> None:
    assert figures.has_gap(metrics) and not figures.has_gap(single)
    figures.plot_alignment(metrics, ax)
    epochs = [epoch for task in metrics["tasks"] for epoch in task["training"]["epochs"]]
    gap, gamma = ax.lines[:2]
    assert len(gap.get_xdata()) == len(epochs) + 4
    np.testing.assert_allclose(gamma.get_ydata(), [epoch["gamma"] for epoch in epochs])
    for value, epoch in zip(measured(gap), epochs, strict=True):
        if epoch["logit_old"] is None:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(epoch["logit_new"] - epoch["logit_old"])
    assert texts(ax) == ["task 1", "task 2", "task 3"]


def stack(metrics: dict[str, Any]) -> list[Axes]:
    axes = new_stack(9.0, 2.5, figures.training_panels(metrics))[1]
    assert figures.plot_training(metrics, axes) is axes
    return axes


def labels(axes: list[Axes]) -> list[str]:
    return [ax.get_ylabel() for ax in axes]


def test_training_shows_loss_logits_and_norms(metrics) -> None:
    axes = stack(metrics)
    assert labels(axes) == ["training loss", "logit", "mean norm of rows"]
    epochs = [epoch for task in metrics["tasks"] for epoch in task["training"]["epochs"]]
    loss, (old, new) = axes[0].lines[0], axes[2].lines[:2]
    assert measured(loss).tolist() == [epoch["loss"] for epoch in epochs]
    # Broken before every stage of every task, the first task having one stage.
    assert np.flatnonzero(np.isnan(loss.get_xdata())).tolist() == [12, 25, 32, 45]
    assert measured(new).tolist() == [epoch["norm_new"] for epoch in epochs]
    assert np.isnan(measured(old)[:12]).all() and np.isfinite(measured(old)[12:]).all()
    # Tasks are named once, stages of all panels are shaded alike.
    assert [texts(ax) for ax in axes] == [["task 1", "task 2", "task 3"], [], []]
    assert [len(ax.patches) for ax in axes] == [2, 2, 2]
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, True]


def test_training_leaves_out_what_a_method_does_not_record() -> None:
    plain = {"stage": 1, "loss": 0.5}
    only_loss = {"tasks": [{"task": 1, "training": {"epochs": [plain, plain]}}, {"task": 2}]}
    assert labels(stack(only_loss)) == ["training loss"]
    gap = {
        "tasks": [{"task": 1, "training": {"epochs": [plain, {**plain, "gamma": 0.0, "gap": -1.5, "logit_old": 9}]}}]
    }
    axes = stack(gap)
    assert labels(axes) == ["training loss", "logit"]
    # No gamma was ever added, and a gap that was recorded is not calculated again.
    assert legend(axes[1]) == ["gap, new - old logit"]
    np.testing.assert_array_equal(axes[1].lines[0].get_ydata(), [np.nan, -1.5])
    assert axes[0].get_yscale() == "linear"
    steep = {"tasks": [{"task": 1, "training": {"epochs": [plain, {**plain, "loss": 0.001}]}}]}
    assert stack(steep)[0].get_yscale() == "log"
    falling = {"tasks": [{"task": 1, "training": {"epochs": [{**plain, "gamma": -0.5}]}}]}
    assert legend(stack(falling)[1]) == ["gap, new - old logit", "gamma"]
    assert not figures.has_epochs({"tasks": [{"task": 1, "training": None}]})


def test_energy_by_layer(metrics, ax) -> None:
    energy = metrics["energy"]
    figures.plot_energy(energy, ax)
    count = len(energy["layers"])
    unit = {"(nJ)": 1e-9, "(µJ)": 1e-6}[ax.get_xlabel().split()[-1]]
    added, multiplied, relu = (
        np.array([b.get_width() for b in ax.patches[k : k + count]]) for k in (0, count, 2 * count)
    )
    wanted = [layer["joule_per_image"] / unit for layer in energy["layers"]]
    np.testing.assert_allclose(added + multiplied, wanted)
    np.testing.assert_allclose(relu, [layer["joule_per_image_relu"] / unit for layer in energy["layers"]])
    assert multiplied[0] > 0 and not multiplied[1:].any() and ax.yaxis_inverted()


def test_energy_over_tasks(metrics, ax) -> None:
    figures.plot_energy_tasks(metrics, ax)
    unit = {"(nJ)": 1e-9, "(µJ)": 1e-6}[ax.get_ylabel().split()[-1]]
    keys = ("joule_per_image_relu", "joule_per_image_input_every_step", "joule_per_image_input_once")
    for line, key in zip(ax.lines, keys, strict=True):
        assert line.get_xdata().tolist() == [1, 2, 3]
        np.testing.assert_allclose(line.get_ydata(), [task["energy"][key] / unit for task in metrics["tasks"]])


def test_names_from_data_are_drawn_as_they_stand(metrics) -> None:
    name = "$\\frac$ \x01-->"
    trains = {name: np.random.default_rng(0).random((4, 6, 9)) < 0.5}
    layer = {**metrics["tasks"][-1]["layers"][0], "name": name}
    renamed = {**metrics, "tasks": [{**metrics["tasks"][-1], "layers": [layer]}]}
    energy = {**metrics["energy"], "layers": [{**metrics["energy"]["layers"][0], "name": name}]}
    responses = class_responses(trains[name], np.array([0, 0, 1, 1]))
    for call in (
        lambda ax: figures.plot_confusion([[1]], [name], ax),
        lambda ax: figures.plot_tuning(responses, ax, [name, "b"]),
        lambda ax: figures.plot_selectivity({name: np.linspace(0, 1, 9)}, ax),
        lambda ax: figures.plot_rates(renamed, ax),
        lambda ax: figures.plot_isi(trains, DT, ax),
        lambda ax: figures.plot_raster({name: trains[name][0]}, {name: trains[name][0]}, DT, ax),
        lambda ax: figures.plot_energy(energy, ax),
    ):
        figure, ax = new_axes()
        call(ax)
        svg = svg_bytes(figure)
        ElementTree.fromstring(svg)
        # The writer puts the text into a comment, as it was drawn.
        assert "$\\frac$ \ufffd" in svg.decode("utf-8")


def test_rates_first_layer_on_top(metrics, ax) -> None:
    figures.plot_rates(metrics, ax)
    layers = metrics["tasks"][-1]["layers"]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([layer["mean_rate_hz"] for layer in layers])
    assert ax.yaxis_inverted() and "Hz" in ax.get_xlabel()


def test_isi_shares(ax) -> None:
    train = np.array([[1, 1, 0, 1, 1, 0, 0, 0]], dtype=bool)[:, :, np.newaxis]
    figures.plot_isi({"a": train, "silent": np.zeros_like(train)}, 2e-3, ax)
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_xdata(), [2.0, 4.0])
    np.testing.assert_allclose(line.get_ydata(), [200 / 3, 100 / 3])
    assert legend(ax) == ["a"]


def test_isi_of_many_layers_and_of_none() -> None:
    rng = np.random.default_rng(1)
    spikes = {f"layer {number}": rng.random((5, 4 + number, 30)) < 0.4 for number in range(12)}
    ax = figures.plot_isi(spikes, DT, new_axes()[1])
    assert len(ax.lines) == 13
    assert legend(ax) == ["each of 12 layers", "all layers"]
    assert ax.lines[-1].get_ydata().sum() == pytest.approx(100)
    empty = figures.plot_isi({"a": np.zeros((1, 4, 3), dtype=bool)}, DT, new_axes()[1])
    assert texts(empty) == ["no neuron fired twice in one presentation"]


def test_raster_counts_and_colours(ax) -> None:
    torch = {name: array[0] for name, array in make_spikes(np.random.default_rng(2), images=1, steps=6).items()}
    torch["features"][5, 63] = True
    torch["conv1"][0, 3] = False
    brian2 = {name: array.copy() for name, array in torch.items()}
    brian2["features"][5, 63] = False
    brian2["conv1"][0, 3] = True
    figures.plot_raster(torch, brian2, 2e-3, ax, max_neurons=1000)
    both = sum(int((torch[name] & brian2[name]).sum()) for name in torch)
    assert marks(ax) == {"torch": both, "brian2": both, "torch only": 1, "brian2 only": 1}
    assert ax.get_title() == f"2 of {both + 2:,} spikes disagree"
    lines = {line.get_gid(): line for line in ax.lines}
    assert lines["torch only"].get_xdata().tolist() == [10.0]
    assert lines["torch only"].get_ydata().tolist() == [96 + 320 + 63]
    assert lines["torch only"].get_color() != lines["torch"].get_color()
    assert lines["brian2"].get_fillstyle() == "none"
    assert not lines["torch"].get_rasterized()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["conv1\n(96)", "conv2\n(320)", "features\n(64)"]


def test_raster_subsample_keeps_what_disagrees_and_says_so(ax) -> None:
    torch = {"wide": np.ones((3, 5000), dtype=bool)}
    brian2 = flip({"wide": torch["wide"][np.newaxis]}, [("wide", 0, 1, 777), ("wide", 0, 2, 4321)])
    figures.plot_raster(torch, {"wide": brian2["wide"][0]}, DT, ax, max_neurons=50)
    assert marks(ax) == {"torch": 148, "brian2": 148, "torch only": 2, "brian2 only": 0}
    assert ax.get_title() == "2 of 15,000 spikes disagree"
    assert ax.get_yticklabels()[0].get_text() == "wide\n(50 of 5000)"
    again = figures.plot_raster(torch, {"wide": brian2["wide"][0]}, DT, new_axes()[1], max_neurons=50)
    np.testing.assert_array_equal(again.lines[0].get_ydata(), ax.lines[0].get_ydata())


def test_raster_with_many_marks_is_a_picture(ax) -> None:
    spikes = {"wide": np.ones((60, 100), dtype=bool)}
    figures.plot_raster(spikes, spikes, DT, ax)
    assert all(line.get_rasterized() for line in ax.lines if line.get_gid())


def test_raster_refuses_what_does_not_fit(ax) -> None:
    spikes = {"a": np.ones((4, 3), dtype=bool)}
    for other in ({"b": spikes["a"]}, {"a": spikes["a"][:, :2]}):
        with pytest.raises(UserError):
            figures.plot_raster(spikes, other, DT, ax)
    with pytest.raises(UserError, match="at least one"):
        figures.plot_raster({}, {}, DT, ax)


def test_time_is_stacked(metrics, ax) -> None:
    figures.plot_time(metrics, ax)
    train, build, simulate, compare = (ax.patches[start : start + 3] for start in (0, 3, 6, 9))
    assert [bar.get_height() for bar in train] == [22.5, 23.5, 24.5]
    assert [bar.get_y() for bar in build] == [22.5, 23.5, 24.5]
    assert [bar.get_height() for bar in simulate] == [5.5, 6.5, 7.5]
    assert [bar.get_y() + bar.get_height() for bar in compare] == [37.75, 39.75, 41.75]
    assert legend(ax) == ["train", "build", "simulate", "compare"]


def test_files_are_the_same_every_time(metrics) -> None:
    def draw() -> tuple[bytes, bytes]:
        figure, ax = new_axes()
        figures.plot_incremental_accuracy(metrics, ax)
        return svg_bytes(figure), png_bytes(figure)

    svg, png = draw()
    assert (svg, png) == draw()
    assert svg.replace(b"http://www.w3.org/", b"").count(b"http") == 0
    assert png.startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [3.4, 7.0])
def test_a_legend_above_is_not_cut_off(width: float) -> None:
    figure, ax = new_axes(width, 2.6)
    for task in range(1, 6):
        ax.plot([0, 1], [0, task], label=f"task {task}")
    legend_above(ax, columns=3)
    figure.draw_without_rendering()
    legend = ax.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == [f"task {k}" for k in range(1, 6)]
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
    # Where there is room, as many columns as were asked for.
    assert (box.width > 250) == (width == 7.0)
