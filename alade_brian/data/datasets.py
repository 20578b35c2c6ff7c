"""Image data sets by name: training and test images, normalised, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alade_brian import plugins
from alade_brian.data.cifar100 import read_cifar100
from alade_brian.data.dataset import Dataset, make_dataset
from alade_brian.data.digits import INK, digit_positions, noisy_digits, read_digits
from alade_brian.data.events import read_events
from alade_brian.data.fashion_mnist import FASHION_MNIST_CLASSES, read_fashion_mnist
from alade_brian.data.image_folder import read_image_folder
from alade_brian.data.npz_file import read_npz
from alade_brian.data.omniglot import read_omniglot
from alade_brian.errors import UserError
from alade_brian.registry import Registry

EVENTS = "tonic:"
BYTES = 255.0


@dataclass(frozen=True)
class Source:
    """What a data set is read from: its files' place, whether to fetch them, and the size wanted of images that do not
    have one (files of unequal sizes, events)."""

    data_root: Path | None = None
    download: bool = False
    image_size: int | None = None
    steps: int | None = None


Loader = Callable[[Source], Dataset]
DATASETS: Registry[str, Loader] = Registry("data set", also=(f"{EVENTS}NAME", plugins.FORM))


def load_dataset(
    name: str,
    data_root: Path | None = None,
    download: bool = False,
    image_size: int | None = None,
    steps: int | None = None,
) -> Dataset:
    """The data set of that name, or the one that a function in a plug-in's file loads.

    data_root    where its files lie: a folder, or the file itself for `npz`
    download     fetch them where they are missing
    image_size   pixels a side, for `folder` and event data alone (`prepare` resamples any data set)
    steps        frames of a recording, for event data alone
    UserError where the name is unknown, or files are missing or damaged.
    """
    for key, value in (("image_size", image_size), ("steps", steps)):
        if value is not None and value < 1:
            raise UserError(f"{key} is {value}; use at least 1, or leave it out")
    source = Source(data_root, download, image_size, steps)
    if name.startswith(EVENTS):
        return _events(name.removeprefix(EVENTS), source)
    return plugins.find(DATASETS, name)(source)


@DATASETS.register("digits")
def _digits(source: Source) -> Dataset:
    """1,797 handwritten digits, 8x8."""
    return make_dataset("digits", *read_digits(), tuple(str(n) for n in range(10)), INK)


@DATASETS.register("digits-position")
def _digits_position(source: Source) -> Dataset:
    """The digits somewhere on 14x14 pixels; to be learnt is where: two values."""
    return make_dataset("digits-position", *digit_positions(), None)


@DATASETS.register("digits-denoise")
def _digits_denoise(source: Source) -> Dataset:
    """The digits in noise; to be learnt are the digits without it: fields of 8x8 values."""
    return make_dataset("digits-denoise", *noisy_digits(), None)


@DATASETS.register("fashion-mnist")
def _fashion_mnist(source: Source) -> Dataset:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60,000 training and 10,000 test images, 28x28."""
    train, test = (
        (images[:, None], labels) for images, labels in read_fashion_mnist(source.data_root, source.download)
    )
    return make_dataset("fashion-mnist", train, test, FASHION_MNIST_CLASSES, BYTES)


@DATASETS.register("omniglot")
def _omniglot(source: Source) -> Dataset:
    """242 characters of Omniglot (Lake, Salakhutdinov, Tenenbaum 2015): 15 training and 5 test images of each, 28x28,
    the test images by other people."""
    return make_dataset("omniglot", *read_omniglot(), BYTES)


@DATASETS.register("cifar100")
def _cifar100(source: Source) -> Dataset:
    """CIFAR-100 (Krizhevsky 2009): 50,000 training and 10,000 test images, 32x32, in colour."""
    return make_dataset("cifar100", *read_cifar100(source.data_root), BYTES)


@DATASETS.register("folder")
def _folder(source: Source) -> Dataset:
    """Image files in a folder of folders."""
    return make_dataset("folder", *read_image_folder(source.data_root, source.image_size), BYTES)


@DATASETS.register("npz")
def _npz(source: Source) -> Dataset:
    """Arrays in a file."""
    return make_dataset("npz", *read_npz(source.data_root))


def _events(name: str, source: Source) -> Dataset:
    """Recordings of an event camera; images are sequences of frames of counts."""
    return make_dataset(
        f"{EVENTS}{name}",
        *read_events(name, source.data_root, source.download, source.steps, source.image_size),
    )
