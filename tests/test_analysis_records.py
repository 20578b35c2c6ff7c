"""Spike records: round trip, PyTorch's spikes from Brian2's and the mismatches, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_analysis_synthetic import flip, make_record, make_spikes

from alade_brian.errors import UserError
from alade_brian.spikes.task_record import LayerRecord, load_record, save_record


@pytest.fixture
def spikes() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    torch = make_spikes(np.random.default_rng(0), images=12, steps=5)
    return torch, flip(torch, [("conv1", 2, 0, 95), ("conv1", 11, 4, 0), ("features", 2, 3, 7)])


@pytest.fixture
def path(tmp_path: Path, spikes) -> Path:
    save_record(tmp_path / "task-01.npz", make_record(*spikes, classes=4))
    return tmp_path / "task-01.npz"


def test_round_trip(path: Path, spikes) -> None:
    torch, brian2 = spikes
    record, original = load_record(path), make_record(torch, brian2, classes=4)
    assert record.dt == 1e-3
    assert list(record.layers) == list(torch)
    for name in torch:
        np.testing.assert_array_equal(record.layers[name].brian2(), brian2[name])
        np.testing.assert_array_equal(record.layers[name].torch(), torch[name])
        np.testing.assert_array_equal(record.layers[name].mismatches, np.argwhere(torch[name] ^ brian2[name]))
    for name in ("labels", "tasks", "predictions_torch", "predictions_brian2", "logits_torch", "logits_brian2"):
        np.testing.assert_array_equal(getattr(record, name), getattr(original, name))


@pytest.mark.parametrize("images", [0, 2, -1, slice(2, 3), slice(None, None, -3), slice(5, 5)])
def test_chosen_images(path: Path, spikes, images) -> None:
    torch, brian2 = spikes
    for name, layer in load_record(path).layers.items():
        np.testing.assert_array_equal(layer.brian2(images), brian2[name][images])
        np.testing.assert_array_equal(layer.torch(images), torch[name][images])
        assert layer.torch(images).dtype == np.bool_


def test_an_image_that_is_not_there(path: Path) -> None:
    layer = load_record(path).layers["conv1"]
    for read in (layer.brian2, layer.torch):
        with pytest.raises(IndexError):
            read(12)


def test_the_file_holds_the_agreed_keys(path: Path, spikes) -> None:
    _, brian2 = spikes
    with np.load(path, allow_pickle=False) as file:
        assert file["layer_names"].tolist() == ["conv1", "conv2", "features"]
        assert file["shape_1"].tolist() == [12, 5, 320]
        np.testing.assert_array_equal(file["spikes_1"], np.packbits(brian2["conv2"].reshape(12, -1), axis=-1))
        assert file["spikes_0"].dtype == np.uint8
        assert file["mismatches_0"].dtype == np.int64
        assert file["mismatches_1"].shape == (0, 3)


def test_batches_are_put_together(spikes) -> None:
    torch, brian2 = (network["conv1"] for network in spikes)
    parts = [LayerRecord.from_spikes(torch[cut], brian2[cut]) for cut in (slice(0, 5), slice(5, 6), slice(6, 12))]
    whole = LayerRecord.concatenate(parts)
    assert whole.shape == brian2.shape
    np.testing.assert_array_equal(whole.brian2(), brian2)
    np.testing.assert_array_equal(whole.torch(), torch)
    with pytest.raises(UserError, match="one layer"):
        LayerRecord.concatenate([parts[0], LayerRecord.from_spikes(torch[:, :, :4], brian2[:, :, :4])])


def test_networks_of_unequal_shape_are_refused(spikes) -> None:
    torch, brian2 = spikes
    with pytest.raises(UserError, match="one shape"):
        LayerRecord.from_spikes(torch["conv1"], brian2["conv2"])


def test_writing_replaces_and_leaves_nothing_behind(path: Path, spikes) -> None:
    save_record(path, make_record(*spikes, classes=2))
    assert load_record(path).logits_torch.shape == (12, 2)
    assert [each.name for each in path.parent.iterdir()] == ["task-01.npz"]


def test_a_failed_write_leaves_the_old_file(path: Path, spikes, monkeypatch) -> None:
    before = path.read_bytes()

    def fail(file, **arrays) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        save_record(path, make_record(*spikes, classes=2))
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no spike record"):
        load_record(tmp_path / "task-09.npz")


def test_damaged_files(path: Path) -> None:
    whole = path.read_bytes()
    middle = len(whole) // 2
    scrambled = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 200]) + whole[middle + 200 :]
    for content in (b"", b"not an archive", whole[:middle], whole[:-40], scrambled):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            load_record(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape_0", [12, 5, 4000]),
        ("shape_0", [12, 5]),
        ("mismatches_0", [[99, 0, 0]]),
        ("mismatches_0", [[0.5, 0, 0]]),
        ("labels", [1, 2]),
        ("dt", 0.0),
        ("spikes_1", np.array([{}], dtype=object)),
    ],
)
def test_contradictory_content(path: Path, key: str, value) -> None:
    with np.load(path) as file:
        arrays = {**file, key: np.asarray(value)}
    np.savez_compressed(path, **arrays)
    with pytest.raises(UserError, match="damaged"):
        load_record(path)


@pytest.mark.parametrize("key", ["spikes_1", "labels", "layer_names", "dt"])
def test_a_missing_key_is_named(path: Path, key: str) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file if name != key}
    np.savez_compressed(path, **arrays)
    with pytest.raises(UserError, match=f"incomplete.*{key}"):
        load_record(path)
