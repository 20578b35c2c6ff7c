"""What a run keeps of its membranes: which neurons, the same in both networks, and nothing of networks too large."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from tiny_grid import GRID, learnt

from alade_brian.runs import membranes as job_membranes
from alade_brian.runs.membranes import representative_neurons
from alade_brian.spikes.state_record import load_states
from alade_brian.spikes.states import InnerState
from alade_brian.spikes.task_record import load_record
from alade_brian.verification.inner_states import TOLERANCE


def state(spikes: list[list[int]], membrane: list[list[float]]) -> InnerState:
    """One image; rows are steps, columns neurons."""
    values = np.array(membrane)[None]
    fired = np.array(spikes, bool)[None]
    return InnerState("layer", "v", np.arange(fired.shape[2]), values, values, fired, np.ones(values.shape))


def test_the_most_active_the_least_active_and_the_nearest_silent_neuron_are_chosen() -> None:
    spikes = [[0, 1, 1, 0, 1], [0, 1, 0, 0, 1], [0, 0, 1, 0, 1]]
    membrane = [[0.1, 2, 2, 0.2, 2], [0.9, 2, 0, 0.3, 2], [0.0, 0, 2, 0.8, 2]]
    assert representative_neurons(state(spikes, membrane)).tolist() == [4, 1, 0]
    assert representative_neurons(state([[0, 0]], [[-1.0, -2.0]])).tolist() == [0]
    # One neuron that fires is both the most and the least active.
    assert representative_neurons(state([[0, 1]], [[0.0, 2.0]])).tolist() == [1, 0]
    assert representative_neurons(state([[1, 1]], [[2.0, 2.0]])).tolist() == [0]


def run(folder: Path) -> Path:
    """Two tasks of the digits, learnt in an epoch; the folder."""
    network = {**GRID["set"]["network"], "channels": [4, 6], "strides": [1, 2]}
    return learnt(folder, "der", network=network, simulation={"backend": "numpy"}).parent.parent


def test_a_run_keeps_the_membranes_of_its_last_network(tmp_path: Path) -> None:
    folder = run(tmp_path / "run")
    assert [f.name for f in (folder / "membranes").iterdir()] == ["task-02.npz"]
    found, spikes = load_states(folder / "membranes" / "task-02.npz"), load_record(folder / "spikes" / "task-02.npz")
    assert found.images.tolist() == [0] and found.labels.tolist() == spikes.labels[:1].tolist()
    assert [each.layer for each in found.states] == list(spikes.layers)
    for each in found.states:
        assert each.largest_difference < TOLERANCE and np.ptp(each.brian2) > 0
        assert np.array_equal(each.spikes[0], spikes.layers[each.layer].brian2(0)[:, each.neurons])
        assert np.array_equal(each.spikes, each.brian2 > each.threshold)
    assert any(each.spikes.any() for each in found.states)


def test_of_a_network_too_large_none_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_membranes, "MOST_SYNAPSES", 10)
    with caplog.at_level(logging.INFO, "alade_brian"):
        folder = run(tmp_path / "run")
    assert "no membranes are recorded" in caplog.text and not (folder / "membranes").exists()
