"""Sparse spikes: what a task's record holds, times, selections, files, and a sentence for what contradicts itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_analysis_synthetic import LAYERS, flip, make_record, make_spikes

from alade_brian.errors import UserError
from alade_brian.spikes import spike_record
from alade_brian.spikes.spike_record import SpikeRecord, load_spikes, save_spikes
from alade_brian.spikes.task_record import TaskRecord

FIELDS = ("images", "labels", "tasks", "image", "step", "layer", "neuron")


def assert_same(found: SpikeRecord, expected: SpikeRecord) -> None:
    assert (found.dt, found.steps, list(found.layers)) == (expected.dt, expected.steps, list(expected.layers))
    assert found.class_names == expected.class_names
    for name, neurons in expected.layers.items():
        np.testing.assert_array_equal(found.layers[name], neurons)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def small(**changes) -> SpikeRecord:
    """Three images (the second without a spike) of two steps, two layers; worked by hand."""
    parts = {
        "dt": 1e-3, "steps": 2, "layers": {"in": np.arange(3), "out": np.array([4, 7])},
        "images": np.array([2, 5, 9]), "labels": np.array([0, 1, 0]), "tasks": np.array([1, 1, 1]),
        "image": np.array([9, 2, 2, 2, 9]), "step": np.array([1, 1, 0, 0, 0]), "layer": np.array([1, 0, 1, 0, 1]),
        "neuron": np.array([7, 2, 4, 2, 7]),
    }  # fmt: skip
    return SpikeRecord(**{**parts, **changes})


@pytest.fixture
def networks() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    torch = make_spikes(np.random.default_rng(0), images=12, steps=5)
    return torch, flip(torch, [("conv1", 2, 0, 95), ("conv1", 11, 4, 0), ("features", 2, 3, 7)])


@pytest.fixture
def task(networks) -> TaskRecord:
    return make_record(*networks, classes=4)


@pytest.mark.parametrize("block", [1, 50_000_000])
@pytest.mark.parametrize("number", [0, 1])
def test_every_spike_of_either_network_is_there(networks, task, number: int, block: int, monkeypatch) -> None:
    monkeypatch.setattr(spike_record, "_BLOCK_ENTRIES", block)
    record = SpikeRecord.of(task, ("torch", "brian2")[number])
    assert record.dt == 1e-3 and record.steps == 5
    np.testing.assert_array_equal(record.labels, task.labels)
    np.testing.assert_array_equal(record.tasks, task.tasks)
    for name, raster in networks[number].items():
        np.testing.assert_array_equal(record.raster(name), raster)
    assert len(record) == sum(raster.sum() for raster in networks[number].values())


def test_brian2_is_the_default_and_differs(task) -> None:
    assert_same(SpikeRecord.of(task), SpikeRecord.of(task, "brian2"))
    assert len(SpikeRecord.of(task)) != len(SpikeRecord.of(task, "torch"))


@pytest.mark.parametrize("block", [1, 1000, 50_000_000])
def test_what_is_unpacked_is_what_is_selected(task, block: int, monkeypatch) -> None:
    monkeypatch.setattr(spike_record, "_BLOCK_ENTRIES", block)
    for network in ("brian2", "torch"):
        some = SpikeRecord.of(task, network, layers=["features", "conv1"], images=[11, 2, 3])
        assert_same(some, SpikeRecord.of(task, network).select(["conv1", "features"], images=[2, 3, 11]))
        assert list(some.layers) == ["conv1", "features"] and some.images.tolist() == [2, 3, 11]
        assert len(some) > 0


def test_rasters_of_any_shape(networks, task) -> None:
    torch, _ = networks
    shaped = {name: raster.reshape(12, 5, 4, -1) for name, raster in torch.items()}
    assert_same(SpikeRecord.from_rasters(shaped, 1e-3, task.labels, task.tasks), SpikeRecord.of(task, "torch"))


def test_spikes_are_in_the_order_of_time() -> None:
    record = small()
    spikes = [tuple(each) for each in zip(record.image, record.step, record.layer, record.neuron, strict=True)]
    assert spikes == [(2, 0, 0, 2), (2, 0, 1, 4), (2, 1, 0, 2), (9, 0, 1, 7), (9, 1, 1, 7)]
    assert record.neuron.dtype == np.int32


def test_times() -> None:
    record = small(dt=2e-3)
    assert record.duration == 4e-3
    np.testing.assert_array_equal(record.within, [0, 0, 2e-3, 0, 2e-3])
    np.testing.assert_allclose(record.starts(0.1), [0, 0.104, 0.208], rtol=1e-15)
    np.testing.assert_allclose(record.times(0.1), [0, 0, 0.002, 0.208, 0.21], rtol=1e-15)
    np.testing.assert_allclose(record.times(0), [0, 0, 0.002, 0.008, 0.01], rtol=1e-15)
    for gap in (-0.1, np.nan, np.inf):
        with pytest.raises(UserError, match="gap between presentations"):
            record.times(gap)


def test_units_are_all_recorded_neurons() -> None:
    record = small()
    layer, neuron = record.units
    assert layer.tolist() == [0, 0, 0, 1, 1] and neuron.tolist() == [0, 1, 2, 4, 7]
    assert record.unit.tolist() == [2, 3, 2, 4, 4]
    assert record.presentation.tolist() == [0, 0, 0, 2, 2]


@pytest.mark.parametrize(
    ("choice", "images", "layers", "spikes"),
    [
        ({}, [2, 5, 9], {"in": [0, 1, 2], "out": [4, 7]}, [(2, 0, 0, 2), (2, 0, 1, 4), (2, 1, 0, 2), (9, 0, 1, 7), (9, 1, 1, 7)]),
        ({"layers": ["out"]}, [2, 5, 9], {"out": [4, 7]}, [(2, 0, 0, 4), (9, 0, 0, 7), (9, 1, 0, 7)]),
        ({"images": [5]}, [5], {"in": [0, 1, 2], "out": [4, 7]}, []),
        ({"classes": [0], "images": [9, 5]}, [9], {"in": [0, 1, 2], "out": [4, 7]}, [(9, 0, 1, 7), (9, 1, 1, 7)]),
        ({"neurons": {"out": [4]}}, [2, 5, 9], {"in": [0, 1, 2], "out": [4]}, [(2, 0, 0, 2), (2, 0, 1, 4), (2, 1, 0, 2)]),
        ({"neurons": {"in": 1 + np.arange(1)}, "layers": {"in"}}, [2, 5, 9], {"in": [1]}, []),
    ],
)  # fmt: skip
def test_selections(choice, images, layers, spikes) -> None:
    record = small().select(**choice)
    assert record.images.tolist() == images
    assert {name: numbers.tolist() for name, numbers in record.layers.items()} == layers
    assert [tuple(each) for each in zip(record.image, record.step, record.layer, record.neuron, strict=True)] == spikes


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"layers": ["hidden"]}, "no layer 'hidden'; the record has in, out"),
        ({"layers": []}, "no layer chosen"),
        ({"images": [2, 3]}, "no image 3; the record has 3, from 2 to 9"),
        ({"images": []}, "no image chosen"),
        ({"images": [2.5]}, "list of integers"),
        ({"classes": [2]}, "no class 2; the record has 2, from 0 to 1"),
        ({"classes": [1], "images": [2]}, "None of the images chosen"),
        ({"neurons": {"out": [5]}}, "no neuron of layer out 5; the record has 2, from 4 to 7"),
        ({"neurons": {"hidden": [0]}}, "no layer 'hidden'"),
        ({"neurons": {"out": [4]}, "layers": ["in"]}, "no layer 'out'; the record has in"),
    ],
)
def test_choices_that_are_not_there(choice, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        small().select(**choice)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dt": 0.0}, "time step above 0"),
        ({"dt": np.nan}, "time step above 0"),
        ({"steps": 0}, "at least one step"),
        ({"layers": {}}, "at least one layer"),
        ({"layers": {"in": np.arange(3), "out": np.array([7, 4])}}, "neurons of layer out must be numbers"),
        ({"layers": {"in": np.arange(3), "out": np.array([])}}, "neurons of layer out must be numbers"),
        ({"images": np.array([])}, "images must be numbers"),
        ({"images": np.array([2, 2, 9])}, "rising order"),
        ({"images": np.array([-2, 5, 9])}, "from 0"),
        ({"images": np.array([2, 5, 2**31])}, "images must be numbers"),
        ({"labels": np.array([0, 1])}, "3 entries of 'images' and 2 of 'labels'"),
        ({"tasks": np.ones((3, 1), int)}, "'tasks' must be a list of integers"),
        ({"step": np.zeros(4, int)}, "5 entries of 'image' and 4 of 'step'"),
        ({"step": np.array([1, 1, 0, 0, 2])}, "step lies outside of 0 to 1"),
        ({"step": np.array([1, 1, 0, 0, -1])}, "step lies outside of 0 to 1"),
        ({"step": np.array([0, 1, 0, 0, 0])}, "one spike twice"),
        ({"step": np.array([0.5, 1, 0, 0, 0])}, "'step' must be a list of integers"),
        ({"layer": np.array([2, 0, 1, 0, 1])}, "layer lies outside of 0 to 1"),
        ({"image": np.array([9, 2, 2, 2, 8])}, "image that the spike record does not list"),
        ({"neuron": np.array([5, 2, 4, 2, 7])}, "neuron that layer out"),
    ],
)
def test_contradictions_are_refused(changes, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        small(**changes)


def test_bad_arguments(task, networks) -> None:
    torch, _ = networks
    with pytest.raises(UserError, match="no network 'nest'"):
        SpikeRecord.of(task, "nest")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no layer 'conv9'; the record has conv1, conv2, features"):
        SpikeRecord.of(task, layers=["conv9"])
    with pytest.raises(UserError, match="no image 12; the record has 12, from 0 to 11"):
        SpikeRecord.of(task, images=[12])
    with pytest.raises(UserError, match="no layer 'conv9'"):
        small().raster("conv9")
    with pytest.raises(UserError, match="no layer chosen; the record has none"):
        SpikeRecord.of(replace(task, layers={}))
    other = {name: raster[:, : 4 if name == "conv2" else 5] for name, raster in torch.items()}
    with pytest.raises(UserError, match="equally many images and steps"):
        SpikeRecord.from_rasters(other, 1e-3, task.labels, task.tasks)
    with pytest.raises(UserError, match="bool arrays"):
        SpikeRecord.from_rasters({"conv1": torch["conv1"].astype(float)}, 1e-3, task.labels, task.tasks)
    with pytest.raises(UserError, match=r"differ in their number of steps: \[4, 5\]"):
        SpikeRecord.of(make_record(other, other, classes=4))


@pytest.mark.parametrize("record", [small(), small().select(images=[5])], ids=["spikes", "no spike"])
def test_a_file_keeps_everything(record: SpikeRecord, tmp_path: Path) -> None:
    save_spikes(tmp_path / "new" / "spikes.npz", record)
    assert_same(load_spikes(tmp_path / "new" / "spikes.npz"), record)
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["spikes.npz"]


def test_a_large_file_keeps_everything(task, tmp_path: Path) -> None:
    record = SpikeRecord.of(task)
    assert {name: len(numbers) for name, numbers in record.layers.items()} == LAYERS
    save_spikes(tmp_path / "spikes.npz", record)
    assert_same(load_spikes(tmp_path / "spikes.npz"), record)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "spikes.npz"
    with pytest.raises(UserError, match="no spike record"):
        load_spikes(path)
    save_spikes(path, small())
    whole = path.read_bytes()
    for content in (b"", b"not an archive", whole[: len(whole) // 2], whole[:-40]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            load_spikes(path)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").replace(path)
    with pytest.raises(UserError, match="not an npz"):
        load_spikes(path)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("neurons_1", None, "incomplete or of another kind.*neurons_1"),
        ("steps", None, "incomplete or of another kind.*steps"),
        ("step", [0, 0, 0, 0, 9], "damaged.*outside of 0 to 1"),
        ("dt", [1.0, 2.0], "damaged"),
        ("labels", ["a", "b", "c"], "damaged.*integers"),
        ("labels", np.array([{}, {}, {}]), "damaged"),
    ],
)
def test_files_that_contradict_themselves(key: str, value, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "spikes.npz"
    save_spikes(path, small())
    with np.load(path) as file:
        arrays = {name: file[name] for name in file if name != key}
    np.savez(path, **arrays, **({} if value is None else {key: np.asarray(value)}))
    with pytest.raises(UserError, match=sentence):
        load_spikes(path)
