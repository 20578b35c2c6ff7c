"""Values through the whole of `alade-brian train`: from a configuration to metrics, report, figures and exports."""

from __future__ import annotations

import csv
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import call, kill_training
from sklearn.metrics import mean_squared_error, r2_score
from test_analysis_report import ReportPage

from alade_brian.analysis.metrics import regression
from alade_brian.commands import train
from alade_brian.data import load_dataset
from alade_brian.errors import UserError
from alade_brian.learning.checkpoint import load_checkpoint
from alade_brian.runs.subject import read_trained_network
from alade_brian.spikes.spike_record import SpikeRecord, load_spikes
from alade_brian.spikes.task_record import NO_CLASS, load_record, save_record

QUICK: dict[str, Any] = {
    "method": "plain",
    "verify_images": 30,
    "network": {"channels": [8, 8], "strides": [2, 1], "pool": 2, "steps": 3},
    "learning": {"epochs": 3, "learning_rate": 0.01, "optimiser": "adamw", "schedule": "cosine"},
    "simulation": {"backend": "numpy"},
}
# Nothing of classes in metrics.json, under whatever key.
OF_CLASSES = ("class", "accuracy", "confusion", "forgetting", "transfer", "logit", "selectivity", "mutual_information")
CHECKPOINT = Path("checkpoints") / "task-01.safetensors"


def configuration(folder: Path, dataset: str) -> Path:
    path = folder / f"{dataset}.yaml"
    path.write_text(yaml.safe_dump({"dataset": dataset, **QUICK}))
    return path


def trained(folder: Path, dataset: str) -> Path:
    assert call("train", configuration(folder, dataset), "--out", folder / "run") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on targets that are vectors."""
    return trained(tmp_path_factory.mktemp("vectors"), "digits-position")


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on targets that are fields."""
    return trained(tmp_path_factory.mktemp("fields"), "digits-denoise")


@pytest.fixture(params=["vectors", "fields"])
def finished(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())


def keys(found: Any) -> set[str]:
    """Of all mappings in a value, however deep; what `config` holds is the user's."""
    if isinstance(found, dict):
        return set(found) | {key for name, value in found.items() if name != "config" for key in keys(value)}
    return {key for value in found for key in keys(value)} if isinstance(found, list) else set()


def test_metrics_are_those_of_a_regression(finished: Path) -> None:
    found, record = read(finished), load_record(finished / "spikes" / "task-01.npz")
    (task,) = found["tasks"]
    dataset = load_dataset(found["dataset"])
    assert (found["problem"], tuple(found["target_shape"])) == ("regression", dataset.target_shape)
    assert not [key for key in keys(found) if any(word in key for word in OF_CLASSES)]
    assert record.targets is not None and dataset.test_targets is not None
    spread = np.linspace(0, len(dataset.test_targets) - 1, 30).round().astype(int)
    np.testing.assert_array_equal(record.targets, dataset.test_targets[spread])
    wanted = record.targets.reshape(30, -1)
    for network, outputs in (("torch", record.logits_torch), ("brian2", record.logits_brian2)):
        assert task[f"mean_squared_error_{network}"] == pytest.approx(mean_squared_error(wanted, outputs))
        r2 = 1 - mean_squared_error(wanted, outputs) / wanted.var(0).mean()
        assert task[f"r2_{network}"] == found[f"r2_{network}"] == pytest.approx(r2)
    # Learnt, and the same in both.
    assert task["r2_brian2"] > 0.1
    assert task["agrees"] and task["mismatched_spikes"] == 0 and task["prediction_agreement"] == 1
    assert task["output_max_abs_difference"] == np.abs(record.logits_torch - record.logits_brian2).max() < 1e-12
    assert {set(epoch) == {"stage", "epoch", "loss"} for epoch in task["training"]["epochs"]} == {True}
    (row,) = csv.DictReader((finished / "metrics.csv").open())
    assert float(row["r2_brian2"]) == task["r2_brian2"] and not [c for c in row if "class" in c or "accuracy" in c]


def test_the_report_shows_values_and_leaves_classes_out(finished: Path) -> None:
    page = ReportPage(finished / "report.html")
    (task,) = read(finished)["tasks"]
    assert "so is every output." in page.text
    assert f"{task['r2_brian2']:.4g}" in page.words and f"{task['output_max_abs_difference']:.3g}" in page.words
    names = {path.stem for path in (finished / "figures").glob("*.svg")}
    assert names == {"energy", "isi", "membranes", "outputs", "raster", "raster_pair", "rates", "time", "training"}
    assert len(page.images) == len(names)
    before_configuration = page.text[: page.text.index("Configuration")].lower()
    assert not [word for word in ("class", "accuracy", "tuning", "selectivity") if word in before_configuration]
    assert "raster-class" not in page.source.split("<script")[0]
    raster = json.loads(page.source.split('id="raster-data">')[1].split("</script>")[0])
    assert all(set(image) == {"number", "label", "task"} for image in raster["images"])


def test_the_checkpoint_names_no_classes_and_gives_what_was_verified(finished: Path) -> None:
    network, header = load_checkpoint(finished / CHECKPOINT)
    assert header["target_shape"] == read(finished)["target_shape"] and "classes" not in header
    subject, record = read_trained_network(finished / CHECKPOINT, 30), load_record(finished / "spikes" / "task-01.npz")
    with torch.no_grad():
        outputs = network.double()(torch.from_numpy(subject.images.images).double())
    np.testing.assert_allclose(outputs.numpy(), record.logits_torch, rtol=0, atol=1e-12)


def test_figures_beside_the_targets(fields: Path, tmp_path: Path) -> None:
    assert call("figures", fields, "--out", tmp_path, "--dpi", 40) == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == {"spikes", "spikes-pair", "intervals", "outputs"}


def test_perturbations_are_measured_by_r2(vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--images", 20, "--strengths", 0.5, "--repeats", 2, "--backend", "numpy", "--out", tmp_path / "out"]
    assert call("perturb", vectors / CHECKPOINT, "--perturb", "lesion", *options) == 0
    assert "| perturbation | task | R2 |" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["problem"] == "regression" and "classes" not in found
    subject = read_trained_network(vectors / CHECKPOINT, 20)
    network, _ = load_checkpoint(vectors / CHECKPOINT)
    with torch.no_grad():
        outputs = network.double()(torch.from_numpy(subject.images.images).double()).numpy()
    assert found["baseline"]["r2"] == pytest.approx(regression.r_squared(outputs, subject.images.targets))
    lesioned = found["perturbations"]["lesion"]["strengths"]["0.5"]
    assert all(cell["r2"] < found["baseline"]["r2"] for cell in lesioned.values())
    head, *_ = (tmp_path / "out" / "table.csv").read_text().splitlines()
    assert "r2,greatest_strength,r2_there" in head and "answers" not in head and "accuracy" not in head
    assert (tmp_path / "out" / "figures" / "lesion.png").is_file()


def test_a_lesion_by_selectivity_needs_classes(
    vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["perturb", vectors / CHECKPOINT, "--perturb", "selective-lesion", "--strengths", 0.5]
    assert call(*command, "--backend", "numpy", "--images", 20, "--out", tmp_path / "out") == 2
    assert "neurons are selective for classes, and 'digits-" in capsys.readouterr().err


def test_membranes_are_traced(vectors: Path, tmp_path: Path) -> None:
    assert call("trace", vectors / CHECKPOINT, "--layer", "all", "--images", 3, "--out", tmp_path / "out") == 0


def test_its_network_is_verified_like_ones_own(
    fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load = "from alade_brian.learning.checkpoint import load_checkpoint"
    (tmp_path / "own.py").write_text(f"{load}\nnetwork, _ = load_checkpoint({str(fields / CHECKPOINT)!r})\n")
    np.save(tmp_path / "images.npy", load_dataset("digits-denoise").test_images[:4])
    assert call("verify", f"{tmp_path / 'own.py'}:network", tmp_path / "images.npy", "--backend", "numpy") == 0
    assert "0 mismatched; prediction agreement 1.0000" in capsys.readouterr().out


def test_spikes_and_network_are_exported(fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("export", fields, "--images", 5, "--to", tmp_path / "s.npz") == 0
    record = SpikeRecord.of(load_record(fields / "spikes" / "task-01.npz"), images=np.arange(5))
    again = load_spikes(tmp_path / "s.npz")
    assert len(again) == len(record) > 0 and (again.labels == NO_CLASS).all()
    assert call("export", fields, "--images", 5, "--to", tmp_path / "s.csv") == 0
    assert call("export", fields, "--classes", 0, "--to", tmp_path / "t.csv") == 2
    assert "have no classes: values were learnt; leave out the classes" in capsys.readouterr().err
    assert call("export", fields, "--class-names", "zebra", "--to", tmp_path / "t.csv") == 2
    assert "no classes, since values were learnt" in capsys.readouterr().err
    for name in ("model.nir", "model.npz", "model.py"):
        target = tmp_path / name.split(".")[1]
        target.mkdir()
        assert call("convert", fields / CHECKPOINT, "--to", target / name) == 0
    # Images without classes are normalised all the same.
    model = runpy.run_path(str(tmp_path / "py" / "model.py"))
    data, raw = load_dataset("digits-denoise"), 0.5
    assert model["CLASS_NAMES"] == []
    np.testing.assert_allclose(
        model["normalise"](np.full((1, *data.image_shape), raw))[0, :, 0, 0], (raw / data.scale - data.mean) / data.std,
        rtol=1e-6,
    )  # fmt: skip


def test_traced_images_go_by_their_numbers(fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("--layer", "all", "--neurons", 0, "--images", 1, 3)
    assert call("trace", fields / CHECKPOINT, *chosen, "--out", tmp_path / "trace") == 0
    assert "images: 1, 3\n" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_and_resumed_equals_never_interrupted(vectors: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    kill_training(configuration(tmp_path, "digits-position"), killed)
    assert call("train", "--resume", "--out", killed) == 0
    found = [read(out) for out in (killed, vectors)]
    for metrics in found:
        del metrics["tasks"][0]["seconds"]
    assert found[0] == found[1]
    assert (killed / CHECKPOINT).read_bytes() == (vectors / CHECKPOINT).read_bytes()


# Metrics, records and data sets


def test_r_squared_is_scikit_learns_and_knows_its_ends() -> None:
    generator = np.random.default_rng(0)
    targets, outputs = generator.normal(size=(20, 1, 2, 3)), generator.normal(size=(20, 6))
    flat = targets.reshape(20, 6)
    assert regression.r_squared(outputs, targets) == pytest.approx(
        r2_score(flat, outputs, multioutput="variance_weighted")
    )
    assert regression.mean_squared_error(outputs, targets) == pytest.approx(np.mean((flat - outputs) ** 2))
    assert regression.r_squared(flat, targets) == 1
    assert regression.r_squared(np.tile(flat.mean(0), (20, 1)), targets) == pytest.approx(0)
    assert regression.r_squared(outputs, np.full((20, 6), 0.1)) is None
    with pytest.raises(UserError, match=r"not \(20, 6\) and \(20, 5\)"):
        regression.r_squared(outputs, targets.reshape(20, 6)[:, :5])
    outputs[3, 2] = np.nan
    with pytest.raises(UserError, match="not finite; lower the learning rate"):
        regression.mean_squared_error(outputs, targets)


def test_a_record_of_values_keeps_targets_and_no_classes(fields: Path, tmp_path: Path) -> None:
    record = load_record(fields / "spikes" / "task-01.npz")
    save_record(tmp_path / "again.npz", record)
    with np.load(tmp_path / "again.npz") as file:
        assert "targets" in file and not {"labels", "predictions_torch", "predictions_brian2"} & set(file.files)
    again = load_record(tmp_path / "again.npz")
    np.testing.assert_array_equal(again.targets, record.targets)
    assert again.labels.tolist() == again.predictions_brian2.tolist() == [NO_CLASS] * 30


def test_a_digit_lies_where_its_target_says() -> None:
    digits, found = load_dataset("digits"), load_dataset("digits-position")
    assert found.image_shape == (1, 14, 14) and found.target_shape == (2,) and found.problem == "regression"

    def middles(dataset, images: np.ndarray) -> np.ndarray:
        """Row and column of the centre of the ink, in pixels from the middle of the image."""
        ink = images[:, 0] * dataset.std + dataset.mean
        places = np.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
        return np.stack([(ink.sum(2) * places).sum(1), (ink.sum(1) * places).sum(1)], 1) / ink.sum((1, 2))[:, None]

    moved = middles(found, found.test_images) - middles(digits, digits.test_images)
    # Three empty pixels on each side: at 1 the digit touches the border.
    np.testing.assert_allclose(moved, 3 * found.test_targets, atol=1e-4)


def test_noise_is_on_the_digits_and_not_on_their_targets() -> None:
    digits, found = load_dataset("digits"), load_dataset("digits-denoise")
    assert found.image_shape == (1, 8, 8) and found.target_shape == (1, 8, 8)
    np.testing.assert_allclose(found.test_targets, digits.test_images * digits.std + digits.mean, atol=1e-6)
    noise = found.test_images * found.std + found.mean - found.test_targets
    assert noise.std() == pytest.approx(0.3, rel=0.02) and abs(noise.mean()) < 0.01


def test_a_comparison_of_accuracies_refuses_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = tmp_path / "grid.yaml"
    rows = {"values": {"dataset": "digits-position", **QUICK}}
    grid.write_text(yaml.safe_dump({"seeds": [1], "threads": 1, "rows": rows}))
    assert call("compare", grid, "--out", tmp_path / "out") == 2
    assert "row 'values': a comparison, which is of accuracies, needs classes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("digits-position", 0.95), ("digits-denoise", 0.6)])
def test_the_shipped_configurations_learn_and_agree(name: str, least: float, tmp_path: Path) -> None:
    assert name in train.shipped()
    assert call("train", name, "--out", tmp_path / "run") == 0
    (task,) = read(tmp_path / "run")["tasks"]
    assert task["images"] == 355 and task["mismatched_spikes"] == 0 and task["output_max_abs_difference"] < 1e-12
    assert task["r2_torch"] == pytest.approx(task["r2_brian2"], abs=1e-9) and task["r2_brian2"] > least
