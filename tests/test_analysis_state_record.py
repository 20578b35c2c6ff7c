"""Records of states: round trip, damaged files, and what the report makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_analysis_report import ReportPage
from test_analysis_synthetic import DT, make_run

from alade_brian.analysis.report.report import write_report
from alade_brian.errors import UserError
from alade_brian.spikes.state_record import StateRecord, load_states, save_states
from alade_brian.spikes.states import InnerState


def state(layer: str, images: int = 1, steps: int = 4, variable: str = "v") -> InnerState:
    rng = np.random.default_rng(len(layer))
    values = rng.normal(size=(images, steps, 3))
    level = np.full(values.shape, 0.5)
    return InnerState(layer, variable, np.array([4, 0, 9]), values, values + 1e-15, values > level, level)


def record(*layers: str) -> StateRecord:
    return StateRecord(DT, np.array([5]), np.array([2]), tuple(state(name) for name in layers))


def test_round_trip(tmp_path: Path) -> None:
    # A name may hold what parts the keys.
    known, unknown = state("conv:1"), state("head", variable="syn")
    unknown = InnerState("head", "syn", unknown.neurons, unknown.brian2, None, None, None)
    save_states(tmp_path / "s.npz", StateRecord(DT, np.array([5]), np.array([2]), (known, unknown)))
    found = load_states(tmp_path / "s.npz")
    assert (found.dt, found.images.tolist(), found.labels.tolist()) == (DT, [5], [2])
    for before, after in zip((known, unknown), found.states, strict=True):
        assert (after.layer, after.variable) == (before.layer, before.variable)
        for name in ("neurons", "brian2", "torch", "spikes", "threshold"):
            left, right = getattr(before, name), getattr(after, name)
            assert (left is None and right is None) or np.array_equal(left, right)


def test_some_neurons_of_a_record() -> None:
    whole = state("conv1")
    some = whole.of([2, 0])
    assert some.neurons.tolist() == [9, 4]
    assert np.array_equal(some.brian2, whole.brian2[:, :, [2, 0]]) and np.array_equal(
        some.spikes, whole.spikes[:, :, [2, 0]]
    )
    assert whole.largest_difference == pytest.approx(1e-15, rel=0.2)


def test_parts_that_do_not_fit_are_refused() -> None:
    good = state("conv1")
    with pytest.raises(ValueError, match="3 neurons of layer conv1"):
        InnerState("conv1", "v", good.neurons, good.brian2, good.torch[:, 1:], good.spikes, good.threshold)
    with pytest.raises(ValueError, match="2 neurons"):
        InnerState("conv1", "v", good.neurons[:2], good.brian2, None, None, None)
    with pytest.raises(UserError, match="same images"):
        StateRecord(DT, np.array([5, 6]), np.array([2, 1]), (good,))
    with pytest.raises(UserError, match="needs some"):
        StateRecord(DT, np.array([5]), np.array([2]), ())


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "task-01.npz"
    with pytest.raises(UserError, match="no record of states"):
        load_states(path)
    save_states(path, record("conv1"))
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            load_states(path)
    np.savez(path, dt=DT, images=[5], labels=[2], **{"brian2:conv1:v": np.zeros((1, 2, 3))})
    with pytest.raises(UserError, match="incomplete: neurons:conv1"):
        load_states(path)


def test_the_report_shows_membranes(tmp_path: Path) -> None:
    make_run(tmp_path, tasks=2)
    assert "Membranes" not in ReportPage(write_report(tmp_path)).words
    layers = [f"layer {number}" for number in range(9)]
    save_states(tmp_path / "membranes" / "task-02.npz", record(*layers))
    page = ReportPage(write_report(tmp_path))
    assert "Membranes" in page.words and "image 5 (class 2)" in page.text and "4 of 9 layers are shown" in page.text
    svg = next(text for text in page.svgs if 'id="brian2 9"' in text)
    # Of four layers, each of three neurons, both networks.
    assert svg.count('id="torch ') == svg.count('id="brian2 ') == 12
    assert (tmp_path / "figures" / "membranes.png").is_file()
    (tmp_path / "membranes" / "task-02.npz").write_bytes(b"damaged")
    assert "There are no membranes to show" in ReportPage(write_report(tmp_path)).text
