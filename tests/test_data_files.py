"""Data sets from files: Omniglot in the package, CIFAR-100's binary files, and one `.npz` file. All written here are tiny."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alade_brian.data import Dataset, load_dataset
from alade_brian.errors import UserError


def pixels(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Bytes as they were before normalisation."""
    return np.rint((images * dataset.std[:, None, None] + dataset.mean[:, None, None]) * 255).astype(int)


# Omniglot


def test_omniglot_comes_with_the_package() -> None:
    dataset = load_dataset("omniglot")
    assert (dataset.classes, dataset.image_shape, dataset.sequence_steps) == (242, (1, 28, 28), None)
    assert np.bincount(dataset.train_labels).tolist() == [15] * 242
    assert np.bincount(dataset.test_labels).tolist() == [5] * 242
    assert dataset.class_names[0] == "Balinese/character01" and len(set(dataset.class_names)) == 242


def test_omniglots_test_images_are_by_other_people() -> None:
    import alade_brian.data

    content = np.load(Path(alade_brian.data.__file__).parent / "files" / "omniglot242_28.npz")
    dataset = load_dataset("omniglot")
    for images, labels, drawers in (
        (dataset.train_images, dataset.train_labels, range(1, 16)),
        (dataset.test_images, dataset.test_labels, range(16, 21)),
    ):
        chosen = np.isin(content["drawer"], list(drawers))
        np.testing.assert_array_equal(labels, content["y"][chosen])
        np.testing.assert_array_equal(pixels(images, dataset)[:, 0], content["x"][chosen])


def test_omniglots_licence_stands_beside_it() -> None:
    import alade_brian.data

    text = (Path(alade_brian.data.__file__).parent / "files" / "omniglot242_28.txt").read_text()
    assert "MIT License" in text and "brendenlake/omniglot" in text


# CIFAR-100

NAMES = "\n".join(f"class{n:02d}" for n in range(100)) + "\n"


def records(per_class: int, seed: int) -> np.ndarray:
    """uint8 ``(100 * per_class, 3074)``, classes in turns."""
    content = np.random.default_rng(seed).integers(0, 256, (100 * per_class, 3074), np.uint8)
    content[:, 1] = np.arange(len(content)) % 100
    return content


TRAIN, TEST = records(2, 0), records(1, 1)


def put(folder: Path, train: bytes = TRAIN.tobytes(), test: bytes = TEST.tobytes(), names: str = NAMES) -> Path:
    folder.mkdir(parents=True)
    (folder / "train.bin").write_bytes(train)
    (folder / "test.bin").write_bytes(test)
    (folder / "fine_label_names.txt").write_text(names)
    return folder


def test_cifar100_records_are_a_coarse_and_a_fine_label_and_three_planes(tmp_path: Path) -> None:
    dataset = load_dataset("cifar100", put(tmp_path / "data"))
    assert (dataset.classes, dataset.image_shape, dataset.class_names[42]) == (100, (3, 32, 32), "class42")
    for images, labels, content in (
        (dataset.train_images, dataset.train_labels, TRAIN),
        (dataset.test_images, dataset.test_labels, TEST),
    ):
        assert labels.tolist() == content[:, 1].tolist()
        np.testing.assert_array_equal(pixels(images, dataset)[:, 0, 0, :5], content[:, 2:7])
        np.testing.assert_array_equal(pixels(images, dataset)[:, 2, 31, 27:], content[:, -5:])
        # The green plane begins after 1024 bytes, its second row 32 bytes later.
        np.testing.assert_array_equal(pixels(images, dataset)[:, 1, 1, 0], content[:, 2 + 1024 + 32])


def test_cifar100_is_found_below_the_named_folder_and_in_the_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="not found"):
        load_dataset("cifar100")
    put(tmp_path / "cache" / "alade_brian" / "cifar100" / "cifar-100-binary")
    put(tmp_path / "data" / "cifar-100-binary", train=TRAIN[::-1].tobytes())
    assert load_dataset("cifar100").train_labels[:3].tolist() == [0, 1, 2]
    assert load_dataset("cifar100", tmp_path / "data").train_labels[:3].tolist() == [99, 98, 97]


@pytest.mark.parametrize("name", ["train.bin", "test.bin", "fine_label_names.txt"])
def test_cifar100_missing_says_where_and_what_to_do(tmp_path: Path, name: str) -> None:
    (put(tmp_path / "data") / name).unlink()
    with pytest.raises(UserError, match=r"not found.*cifar-100-binary\.tar\.gz.*--data-root") as caught:
        load_dataset("cifar100", tmp_path / "data")
    assert str(tmp_path / "data") in str(caught.value) and name in str(caught.value)


BAD_LABEL, ODD = TEST.copy(), TRAIN.copy()
BAD_LABEL[7, 1] = 100
ODD[0, 1] = 1


@pytest.mark.parametrize(
    ("changes", "named", "message"),
    [
        ({"train": TRAIN.tobytes()[:-1]}, "train.bin", f"{200 * 3074 - 1} bytes, not one or more images of 3074"),
        ({"test": b""}, "test.bin", "0 bytes"),
        ({"test": BAD_LABEL.tobytes()}, "test.bin", "label 100"),
        ({"train": TRAIN[:-3].tobytes()}, "train.bin", "1 images of one class and 2 of another.*truncated"),
        ({"train": ODD.tobytes()}, "train.bin", "1 images of one class and 3 of another"),
        ({"names": NAMES[:-8]}, "fine_label_names.txt", "99 class names"),
        ({"names": NAMES.replace("class01", "class00")}, "fine_label_names.txt", "99 class names"),
        ({"names": ""}, "fine_label_names.txt", "0 class names"),
    ],
)
def test_damaged_cifar100_is_refused_and_named(tmp_path: Path, changes, named: str, message: str) -> None:
    put(tmp_path / "data", **changes)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset("cifar100", tmp_path / "data")
    assert str(tmp_path / "data" / named) in str(caught.value)


# One .npz file

IMAGES = np.random.default_rng(2).integers(0, 256, (6, 3, 8, 7), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def save(path: Path, leave_out: str = "", **changes) -> Path:
    arrays = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES[:3], "test_labels": LABELS[:3]}
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if key != leave_out})
    return path


def test_npz_bytes(tmp_path: Path) -> None:
    dataset = load_dataset("npz", save(tmp_path / "d.npz", class_names=np.array(["x", "y", "z"])))
    assert (dataset.image_shape, dataset.class_names) == ((3, 8, 7), ("x", "y", "z"))
    np.testing.assert_array_equal(pixels(dataset.train_images, dataset), IMAGES)
    np.testing.assert_allclose(dataset.mean, IMAGES.mean((0, 2, 3)) / 255)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_npz_floats_are_taken_as_they_are(tmp_path: Path, kind) -> None:
    images = (IMAGES * 3.0 - 100).astype(kind)
    dataset = load_dataset("npz", save(tmp_path / "d.npz", train_images=images, test_images=images[:3]))
    np.testing.assert_allclose(dataset.mean, images.astype(float).mean((0, 2, 3)))
    assert dataset.class_names == ("0", "1", "2")


def test_npz_axes(tmp_path: Path) -> None:
    wanted = load_dataset("npz", save(tmp_path / "d.npz")).train_images
    last = IMAGES.transpose(0, 2, 3, 1)
    found = load_dataset("npz", save(tmp_path / "last.npz", train_images=last, test_images=last[:3]))
    np.testing.assert_array_equal(found.train_images, wanted)
    grey = load_dataset("npz", save(tmp_path / "grey.npz", train_images=IMAGES[:, 0], test_images=IMAGES[:3, 0]))
    np.testing.assert_array_equal(grey.train_images, wanted[:, :1])
    moving = np.stack([IMAGES] * 5, axis=1)
    found = load_dataset("npz", save(tmp_path / "moving.npz", train_images=moving, test_images=moving[:3]))
    assert (found.sequence_steps, found.image_shape) == (5, (3, 8, 7))


@pytest.mark.parametrize("shape", [(6, 3, 8, 3), (6, 16, 8, 8)])
def test_npz_axes_that_could_be_either_need_a_layout(tmp_path: Path, shape) -> None:
    images = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    path = save(tmp_path / "d.npz", train_images=images, test_images=images[:3])
    with pytest.raises(UserError, match="could be .n, C, H, W. or .n, H, W, C.; add layout='NCHW'"):
        load_dataset("npz", path)
    for layout, wanted in (("NCHW", shape[1:]), ("NHWC", (shape[3], *shape[1:3]))):
        save(path, train_images=images, test_images=images[:3], layout=layout)
        assert load_dataset("npz", path).image_shape == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leave_out": "test_labels"}, "lacks test_labels"),
        ({"train_images": IMAGES.astype(np.int64)}, "train_images are int64; save them as uint8"),
        ({"test_images": IMAGES[:3].astype(bool)}, "test_images are bool"),
        ({"test_images": IMAGES[:3] / 255}, "train_images are uint8, test_images float64"),
        ({"train_images": IMAGES[:, 0, 0]}, r"train_images have the shape \(6, 7\)"),
        ({"train_images": np.zeros((6, 3, 0, 7), np.uint8)}, r"train_images have the shape \(6, 3, 0, 7\)"),
        ({"train_images": IMAGES[:5]}, r"\(5, 3, 8, 7\) images and \(6,\) labels do not match"),
        ({"test_images": IMAGES[:3, :, :4]}, r"training images are \(3, 8, 7\), test images \(3, 4, 7\)"),
        ({"train_images": np.full((6, 3, 8, 7), np.nan), "test_images": IMAGES[:3] / 255}, "not finite"),
        ({"train_labels": LABELS / 1.0}, r"train_labels are float64 of shape \(6,\)"),
        ({"test_labels": LABELS[:3, None]}, r"test_labels are int64 of shape \(3, 1\)"),
        ({"train_labels": LABELS - 1}, "train_labels hold -1; number the classes from 0"),
        ({"train_labels": LABELS * 1000000}, r"\[0, 1000000, 2000000\], expected every one of 0\.\.2"),
        ({"test_labels": np.array([0, 1, 1])}, r"test images: the labels are \[0, 1\]"),
        ({"test_labels": np.array([0, 1, 3])}, r"test images: the labels are \[0, 1, 3\]"),
        ({"class_names": np.array(["a", "b"])}, r"class_names are <U1 of shape \(2,\).*3 names"),
        ({"class_names": np.array([1, 2, 3])}, "class_names are int64"),
        (
            {"class_names": np.array(["a", "b\udcff", "c"])},
            r"the class name 'b\\udcff' holds characters that cannot be shown",
        ),
        ({"layout": "CHWN"}, "layout is 'CHWN'; use NCHW or NHWC"),
        ({"train_labels": np.array([None] * 6)}, "cannot be read as an .npz file of plain arrays"),
    ],
)
def test_npz_faults_are_one_sentence(tmp_path: Path, changes, message: str) -> None:
    path = save(tmp_path / "d.npz", **changes)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset("npz", path)
    assert "\n" not in str(caught.value)


def truncated(path: Path) -> None:
    save(path)
    path.write_bytes(path.read_bytes()[:-200])


def flipped(path: Path) -> None:
    save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "is not a file"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"PK\3\4 nothing"), "cannot be read"),
        (lambda path: path.write_text("a,b\n1,2\n"), "cannot be read"),
        (lambda path: np.save(path.open("wb"), IMAGES), "single array"),
        (truncated, "cannot be read"),
        (flipped, "cannot be read"),
    ],
)
def test_files_that_are_no_npz_are_refused_and_named(tmp_path: Path, write, message: str) -> None:
    path = tmp_path / "d.npz"
    write(path)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset("npz", path)
    assert str(path) in str(caught.value)


def test_npz_needs_a_file() -> None:
    with pytest.raises(UserError, match="--data-root FILE"):
        load_dataset("npz")
