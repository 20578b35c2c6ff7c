"""Targets that are values, vectors and fields: learnt by the plain method, proven in Brian2, refused where classes are
needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_learning_synthetic import one_thread

from alade_brian.cli import run_command
from alade_brian.commands import run_cil, train
from alade_brian.config.run import NetworkConfig, RunConfig, StageConfig
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.data import Dataset, Scenario, load_dataset, make_dataset, prepare
from alade_brian.errors import UserError
from alade_brian.learning import Learner, TaskData, incremental_methods
from alade_brian.learning.checkpoint import load_checkpoint, save_checkpoint
from alade_brian.learning.dense import read_images
from alade_brian.learning.losses import value_error
from alade_brian.simulation import SimulationSettings
from alade_brian.verification.verify import verify

CONFIG = RunConfig(
    method="plain",
    network=NetworkConfig(channels=(4, 6), strides=(2, 1), pool=2, steps=3),
    learning=StageConfig(epochs=8, batch_size=16, learning_rate=0.02, optimiser="adamw", milestones=()),
)


def centres(images: np.ndarray) -> np.ndarray:
    """Where the ink of a digit lies, ``(n, 2)``: row and column, from -1 to 1."""
    ink, place = images[:, 0] - images.min(), np.linspace(-1, 1, images.shape[-1])
    return np.stack([(ink.sum(2) * place).sum(1), (ink.sum(1) * place).sum(1)], 1) / ink.sum((1, 2))[:, None] * 5


def quarters(images: np.ndarray) -> np.ndarray:
    """The mean of each quarter of a digit, ``(n, 1, 2, 2)``."""
    return images.reshape(-1, 1, 2, 4, 2, 4).mean((3, 5))


def digits(targets) -> Dataset:
    found = load_dataset("digits")
    train, test = found.train_images[:240], found.test_images[:40]
    return make_dataset("places", (train, targets(train)), (test, targets(test)), None)


def all_at_once(dataset: Dataset) -> TaskData:
    """All training images of a data set as one task."""
    values = dataset.train_targets
    return TaskData(
        1, torch.from_numpy(dataset.train_images), torch.from_numpy(dataset.train_labels), 0, dataset.classes, 0,
        torch.ones(dataset.classes, dtype=torch.int64), None if values is None else torch.from_numpy(values),
    )  # fmt: skip


def learnt(dataset: Dataset) -> tuple[Learner, list[dict]]:
    learner = Learner(CONFIG, dataset.image_shape)
    with one_thread():
        history = learner.learn(all_at_once(dataset))
    return learner, history.epochs


@pytest.mark.parametrize(("targets", "outputs"), [(centres, 2), (quarters, 4)])
def test_values_are_learnt_and_the_simulated_network_gives_the_same(targets, outputs: int, tmp_path: Path) -> None:
    dataset = digits(targets)
    learner, epochs = learnt(dataset)
    assert [set(epoch) for epoch in epochs] == [{"stage", "epoch", "loss"}] * 8
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    # Better than the best answer that does not look at the image.
    assert dataset.train_targets is not None and epochs[-1]["loss"] < 0.7 * dataset.train_targets.var(0).mean()

    spec = convert(learner.network, dataset.image_shape)
    found = verify(learner.network, dataset.test_images[:12], spec, SimulationSettings(backend="numpy"))
    assert spec.readout.decision == found.decision == "value"
    assert found.agrees and found.mismatched_spikes == 0 and found.spikes_compared > 0
    assert found.logits_brian2.shape == (12, outputs) and found.prediction_agreement == 1.0

    path = tmp_path / "values.safetensors"
    save_checkpoint(path, learner.network, CONFIG, {"image_shape": list(dataset.image_shape)})
    again, _ = load_checkpoint(path)
    assert convert(again, dataset.image_shape).readout == spec.readout
    shown = torch.from_numpy(dataset.test_images)
    with torch.no_grad():
        assert torch.equal(again(shown), learner.network(shown))


def test_a_field_is_learnt_as_the_vector_of_its_numbers() -> None:
    field, vector = digits(quarters), digits(lambda images: quarters(images).reshape(len(images), 4))
    assert (field.target_shape, vector.target_shape) == ((1, 2, 2), (4,))
    (one, history), (other, same_history) = learnt(field), learnt(vector)
    assert history == same_history
    assert all(map(torch.equal, one.network.state_dict().values(), other.network.state_dict().values()))


def test_the_loss_of_values_is_the_mean_of_all_squares() -> None:
    outputs, target = (
        torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, 0]]),
        torch.tensor([[[[1.0, 2], [3, 2]]], [[[0, 0], [0, 2]]]]),
    )
    assert value_error(outputs, target).item() == 1.0


def test_classes_are_learnt_of_a_whole_data_set_too() -> None:
    data = all_at_once(load_dataset("digits"))
    assert (data.outputs, data.classes, data.targets, len(data.images)) == (10, 10, None, len(data.labels))
    assert data.task_of_label.tolist() == [1] * 10


# Where classes are needed


@pytest.mark.parametrize("method", incremental_methods())
def test_incremental_methods_refuse_values_before_anything_is_computed(method: str) -> None:
    dataset = digits(centres)
    learner = Learner(replace(CONFIG, method=method), dataset.image_shape)
    with pytest.raises(UserError, match=f"'{method}' learns classes, but the targets are values; use.*'plain'"):
        learner.learn(all_at_once(dataset))
    assert not learner.network.extractors and learner.network.classifier is None


def test_a_scenario_of_tasks_needs_classes() -> None:
    with pytest.raises(UserError, match=r"needs classes, but the targets of .*'places' are values of shape \(2,\)"):
        Scenario(digits(centres), 1, 1, [0])


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        (run_cil, ["--config", "digits"], "the method 'alade', to which they come one after another, needs classes"),
        (run_cil, ["--config", "digits-plain"], "a class-incremental run, in which they come one after another, needs"),
        (train, ["digits-plain", "--set", "augmentation=[flip]"], "not what is to be learnt of it, needs classes"),
    ],
)
def test_commands_that_need_classes_refuse_values_and_leave_nothing(
    command, given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "values.npz", tmp_path / "out"
    images = np.random.default_rng(0).random((6, 1, 8, 8), np.float32)
    np.savez(path, train_images=images, train_targets=centres(images), test_images=images, test_targets=centres(images))
    with pytest.raises(SystemExit) as left:
        whole = [*given, "--dataset", "npz", "--data-root", str(path), "--out", str(out)]
        run_command(command.parser(), command.main, whole)
    assert left.value.code == 2 and not out.exists()
    said = capsys.readouterr().err
    assert message in said and "needs classes, but the targets of the data set 'npz' are values" in said
    with pytest.raises(UserError, match="accuracy is measured needs classes"):
        read_images("npz", str(path))


# Data sets


def test_a_data_set_of_values_keeps_them_as_they_are_and_has_no_classes() -> None:
    images = np.arange(24.0).reshape(6, 1, 2, 2)
    values = np.arange(12.0).reshape(6, 2)
    dataset = make_dataset("made", (images, values), (images[:2], values[:2]), None)
    assert (dataset.classes, dataset.class_names, dataset.target_shape) == (0, (), (2,))
    np.testing.assert_array_equal(dataset.train_targets, values)
    assert dataset.train_targets is not None and dataset.train_targets.dtype == np.float32
    assert dataset.train_labels.tolist() == [-1] * 6
    held = prepare(dataset, validation=1 / 3, image_size=1)
    np.testing.assert_array_equal(held.train_targets, values[:4])
    np.testing.assert_array_equal(held.test_targets, values[4:])
    assert held.image_shape == (1, 1, 1)
    with pytest.raises(UserError, match="number of images per class .*needs classes"):
        prepare(dataset, train_per_class=1)
    with pytest.raises(UserError, match="'made' has one training image, which cannot be held out"):
        prepare(make_dataset("made", (images[:1], values[:1]), (images, values), None), validation=0.5)


PARTS = {
    "name": "made", "class_names": (), "mean": np.zeros(1), "std": np.ones(1),
    "train_images": np.zeros((4, 1, 2, 3), np.float32), "test_images": np.zeros((2, 1, 2, 3), np.float32),
    "train_labels": np.full(4, -1), "test_labels": np.full(2, -1),
    "train_targets": np.zeros((4, 2), np.float32), "test_targets": np.zeros((2, 2), np.float32),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_targets": None}, "only one of training and test images has targets"),
        ({"class_names": ("a",)}, "has targets and class names"),
        ({"train_targets": np.zeros((3, 2), np.float32)}, r"training targets: the shape \(3, 2\) is none of"),
        ({"test_targets": np.zeros(2, np.float32)}, r"test targets: the shape \(2,\) is none of"),
        ({"train_targets": np.zeros((4, 0), np.float32)}, r"the shape \(4, 0\)"),
        ({"train_targets": np.full((4, 2), np.nan, np.float32)}, "no finite float32 numbers"),
        ({"test_targets": np.zeros((2, 2))}, "test targets: some values are no finite float32"),
        ({"test_targets": np.zeros((2, 3), np.float32)}, r"training targets are \(2,\), test targets \(3,\)"),
        ({"train_labels": np.array([0, -1, -1, -1])}, r"the labels are \[-1, 0\], expected -1 alone"),
    ],
)
def test_targets_that_do_not_fit_are_refused(changes, message: str) -> None:
    assert Dataset(**PARTS).target_shape == (2,)
    with pytest.raises(UserError, match=message):
        Dataset(**PARTS | changes)


IMAGES, FIELDS = np.zeros((4, 1, 5, 6), np.uint8), np.random.default_rng(1).random((4, 2, 3, 5))
FILE = {"train_images": IMAGES, "test_images": IMAGES[:2], "train_targets": FIELDS, "test_targets": FIELDS[:2]}


def test_npz_targets_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **FILE)
    dataset = load_dataset("npz", tmp_path / "d.npz")
    assert dataset.target_shape == (2, 3, 5)
    np.testing.assert_array_equal(dataset.train_targets, FIELDS.astype(np.float32))
    np.testing.assert_array_equal(dataset.test_targets, FIELDS[:2].astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_targets": None}, "lacks test_targets; write it"),
        ({"train_labels": np.zeros(4, int)}, "holds classes and targets; keep those that are to be learnt"),
        ({"class_names": np.array(["a"])}, "holds classes and targets"),
        ({"train_targets": np.zeros((4, 2), int)}, r"train_targets are int64 of shape \(4, 2\); save floats"),
        ({"test_targets": np.zeros(2)}, r"test_targets are float64 of shape \(2,\)"),
        ({"train_targets": np.full((4, 2, 3, 5), 1e300)}, "training targets: some values are no finite float32"),
    ],
)
def test_npz_faults_of_targets_are_one_sentence(tmp_path: Path, changes, message: str) -> None:
    np.savez(tmp_path / "d.npz", **{key: value for key, value in (FILE | changes).items() if value is not None})
    with pytest.raises(UserError, match=message) as caught:
        load_dataset("npz", tmp_path / "d.npz")
    assert "\n" not in str(caught.value)
