"""Event recordings: counting events into frames by hand, and reading them through a stand-in for the package tonic."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

from alade_brian.data import load_dataset
from alade_brian.data.events import bin_events
from alade_brian.errors import UserError

FIELDS = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", bool)])


def recording(*events: tuple[int, int, int, int]) -> np.ndarray:
    """Events (t, x, y, p)."""
    return np.array(list(events), dtype=FIELDS)


# Counting


def test_events_count_where_and_when_they_are() -> None:
    events = recording((100, 0, 0, 0), (149, 2, 1, 1), (150, 2, 1, 1), (151, 2, 1, 1), (200, 1, 0, 0))
    frames = bin_events(events, (3, 2, 2), 2)
    expected = np.zeros((2, 2, 2, 3))
    # The time 100..200 has its middle at 150, which belongs to the second half; the last event does too.
    expected[0, 0, 0, 0], expected[0, 1, 1, 2] = 1, 1
    expected[1, 1, 1, 2], expected[1, 0, 0, 1] = 2, 1
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames, expected)


def test_every_event_counts_once_and_order_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    events = np.zeros(1000, FIELDS)
    for field, limit in (("t", 10**6), ("x", 5), ("y", 4), ("p", 2)):
        events[field] = generator.integers(0, limit, 1000)
    frames = bin_events(events, (5, 4, 2), 7)
    assert frames.sum() == 1000
    np.testing.assert_array_equal(frames, bin_events(events[::-1], (5, 4, 2), 7))
    np.testing.assert_array_equal(frames.sum(0), bin_events(events, (5, 4, 2), 1)[0])
    # Evenly spread events fill the parts evenly.
    assert bin_events(recording(*((t, 0, 0, 0) for t in range(70))), (1, 1, 1), 7).ravel().tolist() == [10] * 7


def test_a_sensor_without_rows_or_polarity() -> None:
    events = np.array([(0, 3, 1), (9, 0, 1)], dtype=[("t", int), ("x", int), ("p", int)])
    assert bin_events(events, (4, 1, 1), 2).tolist() == [[[[0, 0, 0, 1]]], [[[1, 0, 0, 0]]]]


def test_no_event_and_events_at_one_time() -> None:
    assert not bin_events(recording(), (3, 2, 2), 4).any()
    assert bin_events(recording((5, 1, 0, 0), (5, 1, 0, 0)), (3, 2, 2), 4)[0, 0, 0, 1] == 2


@pytest.mark.parametrize("event", [(0, 3, 0, 0), (0, 0, 2, 0), (0, -1, 0, 0)])
def test_an_event_outside_the_sensor_is_an_error(event) -> None:
    with pytest.raises(ValueError, match="invalid entry"):
        bin_events(recording(event), (3, 2, 2), 4)


# Reading


class Recordings:
    """As much of a data set of tonic as is used: files by name, in the order of the file system."""

    sensor_size: tuple[int, int, int] | None = (4, 4, 2)
    classes: tuple[str, ...] = ("zero", "one")
    files: ClassVar[dict[str, tuple[np.ndarray, object]]] = {}

    def __init__(self, save_to: str) -> None:
        self.place = Path(save_to, type(self).__name__)
        if not self.place.exists():
            self.download()
        self.data = list(self.files)
        self.targets = [label for _, label in self.files.values()]

    def download(self) -> None:
        self.place.mkdir(parents=True)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[np.ndarray, object]:
        return self.files[self.data[index]]


def mark(x: int, y: int = 0) -> np.ndarray:
    """A recording that is known again by its place."""
    return recording((0, x, y, 0), (10, x, y, 1))


class Split(Recordings):
    def __init__(self, save_to: str, train: bool = True) -> None:
        self.files = (
            {"a": (mark(0), 1), "b": (mark(1), 0), "c": (mark(2), 1)}
            if train
            else {"d": (mark(3), 0), "e": (mark(0, 3), 1)}
        )
        super().__init__(save_to)


class NamedSplit(Split):
    def __init__(self, save_to: str, split: str = "train") -> None:
        super().__init__(save_to, {"train": True, "test": False}[split])


class Whole(Recordings):
    # Ten recordings of each class, in no order.
    files: ClassVar = {
        f"{n:02d}": (mark(n % 4, n // 5), ("dog", "cat")[n % 2])
        for n in (7, 3, 19, *range(3), *range(4, 7), *range(8, 19))
    }
    classes = ()


class Unequal(Split):
    sensor_size = None


class Scene(Recordings):
    def __init__(self, save_to: str, scene: str) -> None:
        super().__init__(save_to)


class Boxes(Split):
    def __getitem__(self, index: int) -> tuple[np.ndarray, object]:
        return mark(0), np.zeros(4)


class Damaged(Split):
    def __getitem__(self, index: int) -> tuple[np.ndarray, object]:
        return mark(7), 0


class Gone(Recordings):
    def download(self) -> None:
        raise RuntimeError("the server\nis gone")


@pytest.fixture
def tonic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package, datasets = ModuleType("tonic"), ModuleType("tonic.datasets")
    kinds = (Split, NamedSplit, Whole, Unequal, Scene, Boxes, Damaged, Gone)
    datasets.__all__ = [kind.__name__ for kind in kinds]  # type: ignore[attr-defined]
    for kind in kinds:
        setattr(datasets, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "tonic", package)
    monkeypatch.setitem(sys.modules, "tonic.datasets", datasets)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["Split", "NamedSplit"])
def test_a_published_split_is_kept(tonic, tmp_path: Path, name: str) -> None:
    dataset = load_dataset(f"tonic:{name}", tmp_path, download=True, steps=3)
    assert (dataset.sequence_steps, dataset.image_shape) == (3, (2, 4, 4))
    assert dataset.name == f"tonic:{name}" and dataset.class_names == ("zero", "one")
    assert (dataset.train_labels.tolist(), dataset.test_labels.tolist()) == ([1, 0, 1], [0, 1])
    counts = dataset.train_images * dataset.std[:, None, None] + dataset.mean[:, None, None]
    expected = np.zeros((3, 3, 2, 4, 4))
    for index in range(3):
        expected[index, 0, 0, 0, index] = expected[index, 2, 1, 0, index] = 1
    np.testing.assert_allclose(counts, expected, atol=1e-6)


def test_without_a_split_the_last_tenth_of_every_class_is_for_test(tonic, tmp_path: Path) -> None:
    dataset = load_dataset("tonic:Whole", tmp_path, download=True)
    assert dataset.class_names == ("cat", "dog") and dataset.sequence_steps == 10
    # Files 00..19 in sorted order, dogs at the even ones: 18 and 19 are held out.
    assert dataset.test_labels.tolist() == [1, 0] and dataset.train_labels.tolist() == [1, 0] * 9
    places = dataset.test_images[:, 0, 0].reshape(2, 16).argmax(1)
    assert [divmod(int(place), 4) for place in places] == [(3, 2), (3, 3)]


def test_frames_are_resampled_by_area(tonic, tmp_path: Path) -> None:
    whole = load_dataset("tonic:Split", tmp_path, download=True, steps=2)
    small = load_dataset("tonic:Split", tmp_path, steps=2, image_size=2)
    assert small.image_shape == (2, 2, 2)
    counts, small_counts = (d.train_images * d.std[:, None, None] + d.mean[:, None, None] for d in (whole, small))
    np.testing.assert_allclose(small_counts, counts.reshape(3, 2, 2, 2, 2, 2, 2).mean((4, 6)), atol=1e-6)


def test_recordings_of_unequal_size_need_an_image_size(tonic, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not all of one size; set image_size"):
        load_dataset("tonic:Unequal", tmp_path, download=True)
    assert load_dataset("tonic:Unequal", tmp_path, image_size=2).image_shape == (2, 2, 2)


def test_nothing_is_fetched_unless_asked_for(tonic, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'tonic:Split' were not found in .*--data-root.*--download") as caught:
        load_dataset("tonic:Split", tmp_path)
    assert str(tmp_path) in str(caught.value) and list(tmp_path.iterdir()) == []
    load_dataset("tonic:Split", download=True)
    assert (tmp_path / "cache" / "alade_brian" / "events" / "Split").is_dir()
    load_dataset("tonic:Split")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MNIST", "no data set 'MNIST'; use tonic: and one of Boxes, "),
        ("", "no data set ''"),
        ("Scene", "has no class labels .it asks for scene"),
        ("Boxes", "has no class labels .a label is ndarray"),
        ("Damaged", "'tonic:Damaged, recording 0' could not be read .ValueError: invalid entry"),
        ("Gone", "'tonic:Gone' could not be read .RuntimeError: the server is gone"),
    ],
)
def test_faults_are_one_sentence(tonic, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(f"tonic:{name}", tmp_path, download=True)
    assert "\n" not in str(caught.value)


def test_without_tonic_the_way_to_get_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.delitem(sys.modules, "tonic.datasets", raising=False)
    with pytest.raises(UserError, match=r"'tonic:NMNIST' needs the package tonic.*pip install 'alade-brian\[events\]'"):
        load_dataset("tonic:NMNIST")
