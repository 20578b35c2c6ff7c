"""The table and the figures of a comparison, by hand: means, deviations over seeds, and differences."""

from __future__ import annotations

import csv
import io
from functools import partial
from typing import Any

import numpy as np
import pytest
from tiny_grid import cells, table

from alade_brian.analysis.figures import style
from alade_brian.analysis.figures.comparison import plot_cost, plot_curves, plot_forgetting
from alade_brian.analysis.metrics.seeds import interval, mean_std, pooled_difference
from alade_brian.errors import UserError
from alade_brian.studies.comparison import paired


def test_statistics_over_seeds() -> None:
    assert mean_std([0.5, 0.6, 0.7]) == (pytest.approx(0.6), pytest.approx(0.1))
    assert mean_std([0.5]) == (0.5, None)
    # Squares 2 and 8 over 2 + 1 degrees of freedom.
    assert pooled_difference([1, 2, 3], [4, 8]) == pytest.approx((2 - 6) / np.sqrt(10 / 3))
    assert pooled_difference([1.0, 3.0], [5.0]) == pytest.approx(-3 / np.sqrt(2))
    assert pooled_difference([1.0], [2.0]) is None
    assert pooled_difference([0.1, 0.1, 0.1], [0.3, 0.3, 0.3]) is None
    with pytest.raises(UserError, match="no seed"):
        mean_std([])


def test_intervals_leave_out_what_is_not_known() -> None:
    assert interval([1.0, float("nan"), 3.0]) == pytest.approx((2.0, 2 - 12.706, 2 + 12.706), rel=1e-3)
    assert interval([5.0]) == (5.0, None, None) and np.isnan(interval([float("nan")])[0])


def made_up(rows: int = 2) -> dict[str, Any]:
    """Averages 50, 60, 70 % and 40, 50, 60 %, and so on downwards; Brian2 one point below PyTorch."""

    def seed(number: int, row: int) -> dict[str, Any]:
        curve = np.array([0.7, 0.5, 0.3]) + 0.1 * (number - row)
        found = {"agrees": True, "classes_seen": [2, 4, 6], "mismatched_spikes": 0, "spikes_compared": 1000}
        found |= {"train_seconds": 10.0 + 2 * number + row, "synaptic_events_per_image": 1e4 * (row + 1) + number}
        for network, below in (("torch", 0.0), ("brian2", 0.01)):
            found[f"accuracy_{network}"] = (curve - below).tolist()
            found[f"average_incremental_accuracy_{network}"] = float(curve.mean()) - below
            found[f"last_accuracy_{network}"] = float(curve[-1]) - below
            found[f"forgetting_{network}"] = 0.2 + 0.05 * number - below
        return found

    names = ["first", "second", *map(str, range(2, rows))]
    content = {name: {"seeds": {str(s): seed(s, row) for s in range(3)}} for row, name in enumerate(names)}
    return {"reference": "first", "seeds": [0, 1, 2], "rows": content}


def test_the_table_says_mean_deviation_and_difference() -> None:
    head, _, first, second, *_ = [line.split("|")[1:-1] for line in table.markdown(made_up()).splitlines()]
    column = {name.strip(): (a.strip(), b.strip()) for name, a, b in zip(head, first, second, strict=True)}
    assert column["seeds"] == ("3", "3")
    assert column["average, PyTorch"] == ("60.00 ± 10.00", "50.00 ± 10.00")
    assert column["average, Brian2"] == ("59.00 ± 10.00", "49.00 ± 10.00")
    assert column["last, Brian2"] == ("39.00 ± 10.00", "29.00 ± 10.00")
    assert column["forgetting, PyTorch"] == ("25.00 ± 5.00", "25.00 ± 5.00")
    assert column["first above by"] == ("", "+10.00 ± 0.00 (+1.0 sd)")
    assert column["of entries"] == ("3,000", "3,000")
    assert column["training, s"] == ("12.0 ± 2.0", "13.0 ± 2.0")
    assert column["events per image"] == ("10,001 ± 1", "20,001 ± 1")


def test_pairs_of_seeds_have_intervals() -> None:
    """One seed more each time 10, 10 and 13 points below; Student's t of 2 degrees of freedom is 4.303 for 95 %."""
    content = made_up()
    first, second = (content["rows"][name]["seeds"] for name in ("first", "second"))
    second["2"][paired.JUDGED] -= 0.03
    for rate, seeds in ((200.0, first), (150.0, second)):
        for found in seeds.values():
            found["mean_rate_hz"] = rate
    text = paired.markdown(content)
    assert text is not None and "Difference from the row 'first' of the same seed" in text
    head, _, line, *_ = [row.split("|")[1:-1] for row in text.splitlines()]
    column = {name.strip(): cell.strip() for name, cell in zip(head, line, strict=True)}
    # A deviation of sqrt(3) over sqrt(3) seeds.
    assert column["accuracy, points"] == "**-11.00 [-15.30, -6.70]**"
    assert column["mean rate, %"] == "**-25.0 [-25.0, -25.0]**"
    assert column["events per image, %"].startswith("**+100.0 [+100.0,") and column["seeds"] == "3"


def test_pairs_need_a_reference_and_two_seeds_in_common() -> None:
    content = made_up()
    assert paired.markdown({**content, "reference": None}) is None
    seeds = content["rows"]["second"]["seeds"]
    content["rows"]["second"]["seeds"] = {"0": seeds["0"], "7": seeds["1"]}
    assert paired.markdown(content) is None


def test_an_interval_that_holds_0_is_not_bold() -> None:
    content = made_up()
    for number, found in enumerate(content["rows"]["second"]["seeds"].values()):
        found[paired.JUDGED] += (0.0, 0.2, 0.1)[number]
    text = paired.markdown(content)
    # Differences -10, 10 and 0; a rate is not known.
    assert text is not None and "| +0.00 [-24.84, +24.84] |" in text and "**+0.00" not in text


def test_a_silent_reference_leaves_no_percentages() -> None:
    content = made_up()
    content["rows"]["first"]["seeds"]["1"]["synaptic_events_per_image"] = 0.0
    text = paired.markdown(content)
    assert text is not None
    (row,) = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| second")]
    assert row[2].strip() and not row[4].strip()


def test_the_table_says_which_images_were_evaluated() -> None:
    content = made_up()
    assert "of the same test images in both networks" in table.markdown(content)
    for row in content["rows"].values():
        row["config"] = {"validation": 0.1}
    text = table.markdown(content)
    assert "of the same validation images in both networks" in text and "test images" not in text


def test_one_seed_has_no_deviation_and_no_difference_in_deviations() -> None:
    content = made_up()
    for row in content["rows"].values():
        row["seeds"] = {"0": row["seeds"]["0"]}
    assert "±" not in table.markdown(content).split("\n\n")[0] and "+10.00 |" in table.markdown(content)
    assert next(csv.DictReader(io.StringIO(table.csv_text(content))))["last_accuracy_torch_std"] == ""


def test_the_csv_holds_the_same_numbers() -> None:
    first, second = csv.DictReader(io.StringIO(table.csv_text(made_up())))
    assert (first["row"], second["row"], first["seeds"]) == ("first", "second", "3")
    assert float(second["average_incremental_accuracy_brian2_mean"]) == pytest.approx(0.49)
    assert float(second["average_incremental_accuracy_brian2_std"]) == pytest.approx(0.1)
    assert first["spikes_compared"] == "3000" and first["joule_per_image_mean"] == ""


def test_the_curves_are_means_and_the_bands_deviations() -> None:
    _, ax = style.new_axes()
    plot_curves(made_up(), ax)
    line, rings = ax.lines[0], ax.lines[1]
    np.testing.assert_allclose(line.get_xydata(), [[2, 80], [4, 60], [6, 40]])
    np.testing.assert_allclose(rings.get_ydata(), [79, 59, 39])
    corners = ax.collections[0].get_paths()[0].vertices
    assert corners[:, 1].max() == pytest.approx(90) and corners[corners[:, 0] == 6, 1].min() == pytest.approx(30)
    assert ax.get_legend().get_texts()[0].get_text() == "first: 60.0 ± 10.0"


def test_forgetting_and_cost_are_drawn_as_they_are() -> None:
    _, bars = style.new_axes()
    plot_forgetting(made_up(), bars)
    assert [patch.get_width() for patch in bars.patches] == pytest.approx([25, 25])
    _, points = style.new_axes()
    plot_cost(made_up(), points, "synaptic_events_per_image")
    drawn = [tuple(container[0].get_xydata()[0]) for container in points.containers]
    np.testing.assert_allclose(drawn, [(10001, 59), (20001, 49)])


def test_names_of_rows_are_drawn_as_they_stand() -> None:
    results = made_up(2)
    results["rows"] = {r"$\frac$": results["rows"].popitem()[1], **results["rows"]}
    for plot in (plot_curves, plot_forgetting, partial(plot_cost, cost="train_seconds")):
        figure, ax = style.new_axes()
        plot(results, ax)
        assert r"$\frac$" in style.svg_bytes(figure).decode("utf-8")


def test_no_two_of_many_rows_look_the_same() -> None:
    _, ax = style.new_axes()
    plot_curves(made_up(rows=20), ax)
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in ax.lines[::2]}
    assert len(looks) == 20


def test_a_cost_that_nobody_measured_leaves_a_note() -> None:
    content = made_up()
    for row in content["rows"].values():
        for found in row["seeds"].values():
            del found["synaptic_events_per_image"]
    _, ax = style.new_axes()
    plot_cost(content, ax, "synaptic_events_per_image")
    assert "no run" in ax.texts[0].get_text()
    assert table.markdown(content).splitlines()[2].split("|")[-2].strip() == ""


def test_a_rest_of_time_is_said_as_people_say_it() -> None:
    assert [cells.duration(s) for s in (7.4, 300, 4000, 8000)] == ["7 s", "5 min", "67 min", "2 h 13 min"]
