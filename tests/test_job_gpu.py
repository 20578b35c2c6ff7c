"""Whether a job fits into a GPU: asked with the network that it will have in the end, before anything is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import fakes
import pytest
import yaml
from networks import CPP, NUMPY
from test_job import QUICK, run

from alade_brian.config.run import config_from
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.runs.gpu_memory import final_network, training_bytes
from alade_brian.runs.setup import load_images, make_learner, make_scenario
from alade_brian.simulation.planning import draft_plan


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    path = tmp_path / "quick.yaml"
    path.write_text(yaml.safe_dump(QUICK))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "alade"},
        {"method": "finetune"},
        {"method": "der", "network": {"backbone": "resnet18", "width": 0.05, "steps": 2}},
    ],
    ids=["growing", "fixed", "residual"],
)
def test_the_network_that_is_counted_is_that_of_the_last_task(changes: dict[str, Any]) -> None:
    config = config_from(QUICK | changes, "test")
    dataset = load_images(config)
    scenario = make_scenario(config, dataset)
    weights, spec = final_network(config, dataset, scenario)
    learner = make_learner(config, dataset)
    for _ in range(3 if learner.method.grows else 1):
        learner.network.add_extractor(inherit=False)
    learner.network.set_classifier(10)
    built = convert(learner.network.eval(), dataset.image_shape)
    assert weights == sum(parameter.numel() for parameter in learner.network.parameters())
    assert (len(scenario), spec.steps) == (3, built.steps)
    for ours, theirs in zip(spec.populations, built.populations, strict=True):
        assert (ours.shape, ours.bias is None) == (theirs.shape, theirs.bias is None)
    found = [(type(p.operator), p.operator.values().shape, spec.synapse_count(p)) for p in spec.projections]
    wanted = [(type(p.operator), p.operator.values().shape, built.synapse_count(p)) for p in built.projections]
    assert found == wanted
    for settings in (CPP, dataclasses.replace(NUMPY, connectivity="explicit")):
        assert draft_plan(spec, settings).cost == draft_plan(built, settings).cost
    neurons = sum(p.size for p in built.populations)
    batch = config.learning.batch_size
    assert training_bytes(weights, spec, config) == neurons * built.steps * batch * 4 * 4 + weights * 3 * 4


def test_half_the_precision_takes_half_of_what_neurons_take() -> None:
    config = config_from(QUICK, "test")
    half = config_from(QUICK | {"training": {"precision": "bfloat16"}}, "test")
    dataset = load_images(config)
    weights, spec = final_network(config, dataset, make_scenario(config, dataset))
    kept = weights * 3 * 4
    assert training_bytes(weights, spec, half) - kept == (training_bytes(weights, spec, config) - kept) // 2


def test_a_gpu_that_is_too_small_is_refused_before_anything_is_trained(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = fakes.only(tmp_path, monkeypatch)
    fakes.nvcc(tools)
    fakes.gpu(tools, free="100")
    assert run("--config", quick, "--backend", "cuda", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "of the GPU's memory, and 100 MiB of 79.6 GiB are free" in error and error.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_training_on_a_gpu_that_is_not_there(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run("--config", quick, "--device", "cuda", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "PyTorch finds no GPU here" in error and "--device cpu" in error and error.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_training_that_does_not_fit(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (2**18, 2**30))
    assert run("--config", quick, "--device", "cuda", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "training takes about" in error and "1.0 GiB are free; use a smaller learning.batch_size" in error
