"""A plain network, neither incremental nor of this package's own architectures, verified into a run folder."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import NUMPY, conv_net, dyadic_images
from torch import nn

from alade_brian.conversion.nir_graphs.read import read_nir
from alade_brian.conversion.nir_graphs.write import NotInNIR, to_nir
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.data import ImageSet
from alade_brian.errors import UserError
from alade_brian.models import AdaptiveLIF
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.verified_run import VerifiedRun
from alade_brian.simulation import simulate
from alade_brian.spikes.state_record import load_states
from alade_brian.spikes.task_record import load_record

SHAPE = (2, 7, 6)


def shown(count: int = 5) -> ImageSet:
    numbers = np.arange(count)
    return ImageSet(dyadic_images(count, *SHAPE), numbers % 3, numbers, np.ones(count, np.int64))


def saver(network: nn.Module):  # type: ignore[no-untyped-def]
    def save(path: Path) -> None:
        path.parent.mkdir(parents=True)
        torch.save(network.state_dict(), path)

    return save


def names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_plain_network_is_verified_and_everything_is_kept(tmp_path: Path) -> None:
    network, test, folder = conv_net(), shown(), RunFolder(tmp_path)
    task = VerifiedRun(folder, NUMPY, False).verify_task(1, network, SHAPE, test, {}, saver(network), membranes=True)
    assert names(tmp_path) == [
        "checkpoints/task-01.safetensors", "membranes/task-01.npz", "models/task-01.nir", "spikes/task-01.npz",
    ]  # fmt: skip
    responses, record = simulate(task.spec, test.images, NUMPY), load_record(folder.spikes(1))
    assert list(record.layers) == ["3", "6"] and record.labels.tolist() == test.labels.tolist()
    for name, layer in record.layers.items():
        assert responses.spikes[name].any()
        assert np.array_equal(layer.brian2(), responses.spikes[name])
        assert np.array_equal(layer.torch(), responses.spikes[name])
    assert record.predictions_torch.tolist() == responses.logits.argmax(1).tolist()
    assert [state.layer for state in load_states(folder.membranes(1)).states] == ["3", "6"]
    again = simulate(read_nir(folder.nir(1)), test.images, NUMPY)
    assert np.array_equal(again.logits, responses.logits)


def test_its_metrics_are_those_of_the_simulation(tmp_path: Path) -> None:
    network, test = conv_net(), shown()
    task = VerifiedRun(RunFolder(tmp_path), NUMPY, False).verify_task(2, network, SHAPE, test, {}, saver(network))
    found, responses = task.metrics(), simulate(task.spec, test.images, NUMPY)
    assert (found["task"], found["images"], found["agrees"], found["mismatched_spikes"]) == (2, 5, True, 0)
    assert found["spikes_compared"] == sum(spikes.size for spikes in responses.spikes.values())
    assert [layer["name"] for layer in found["layers"]] == ["3", "6"] and found["readout_layers"] == ["6"]
    for layer in found["layers"]:
        spikes = responses.spikes[layer["name"]]
        assert layer["neurons"] == spikes.shape[2]
        assert layer["spikes_torch"] == layer["spikes_brian2"] == spikes.sum() > 0
    assert found["synaptic_events"] == sum(found["synaptic_events_per_layer"].values()) > 0
    assert found["energy"]["joule_per_image"] > 0 and found["first_divergence"] is None
    assert set(found["seconds"]) == {"build", "simulate", "compare"}
    # Nothing of classes that are learnt one after the other, and no membranes that nobody asked for.
    assert not {"classes_seen", "accuracy_per_task_torch", "training"} & set(found)
    assert "membranes/task-02.npz" not in names(tmp_path)


def test_what_nir_cannot_say_is_logged_and_all_else_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network, test = conv_net(AdaptiveLIF(4)), shown()
    with caplog.at_level(logging.INFO, "alade_brian"):
        task = VerifiedRun(RunFolder(tmp_path), NUMPY, False).verify_task(1, network, SHAPE, test, {}, saver(network))
    with pytest.raises(NotInNIR) as refused:
        to_nir(task.spec)
    assert f"task 1: no NIR file is written: {refused.value}" in caplog.messages
    assert task.found.agrees
    assert names(tmp_path) == ["checkpoints/task-01.safetensors", "spikes/task-01.npz"]


def test_of_a_network_that_is_not_simulated_nothing_is_written(tmp_path: Path) -> None:
    network, run = conv_net(), VerifiedRun(RunFolder(tmp_path), NUMPY, False)
    odd = ImageSet(np.full((2, *SHAPE), np.nan), np.zeros(2, int), np.arange(2), np.ones(2, int))
    with pytest.raises(UserError, match="finite"):
        run.verify_task(1, network, SHAPE, odd, {}, saver(network))
    with pytest.raises(RefusedLayers):
        refused = nn.Sequential(nn.Softmax(1), network)
        run.verify_task(1, refused, SHAPE, shown(), {}, saver(refused))
    assert names(tmp_path) == []
