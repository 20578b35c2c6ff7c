"""Whether a job fits into a GPU: asked with the network that it will have in the end, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import fakes
import pytest
import yaml
from test_job import QUICK, run

from alade_brian.config.run import config_from
from alade_brian.runs.gpu_memory import final_network, training_bytes
from alade_brian.runs.setup import load_images, make_scenario


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    path = tmp_path / "quick.yaml"
    path.write_text(yaml.safe_dump(QUICK))
    return path


def test_the_network_is_that_of_the_last_task() -> None:
    for method, extractors in (("alade", 3), ("finetune", 1)):
        config = config_from(QUICK | {"method": method}, "test")
        dataset = load_images(config)
        network, spec = final_network(config, dataset, make_scenario(config, dataset))
        # Two layers an extractor, of 4 and of 6 channels (images 8x8, strides 2 and 1), and the readout of 10 classes.
        neurons = [p.size for p in spec.spiking]
        assert neurons == [4 * 16, 6 * 16] * extractors
        weights = sum(parameter.numel() for parameter in network.parameters())
        batch = config.learning.batch_size
        expected = (sum(neurons) + 10) * 3 * batch * 4 * 4 + weights * 3 * 4
        assert training_bytes(network, spec, config) == expected


def test_half_the_precision_takes_half_of_what_neurons_take() -> None:
    config = config_from(QUICK, "test")
    half = config_from(QUICK | {"training": {"precision": "bfloat16"}}, "test")
    dataset = load_images(config)
    network, spec = final_network(config, dataset, make_scenario(config, dataset))
    weights = sum(parameter.numel() for parameter in network.parameters()) * 3 * 4
    assert training_bytes(network, spec, half) - weights == (training_bytes(network, spec, config) - weights) // 2


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
