"""The networks that `benchmark.py training` compares are the same one; what it measures has no time asserted here."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alade_brian.benchmarks.network import SIZE, random_images
from alade_brian.benchmarks.training import Worker, _growth
from alade_brian.benchmarks.training_rivals import RIVALS, Folded

# torch.compile takes a minute and compiles `folded`.
NAMES = [name for name in RIVALS if name != "compiled"]
IMAGES = torch.from_numpy(random_images(6, seed=3))
assert IMAGES.shape[-1] == SIZE


def with_numbers_of(source: nn.Module, name: str) -> nn.Module:
    """A rival in float64 with another's parameters and statistics, layer by layer in the order of the network."""
    if name in ("snntorch", "spikingjelly"):
        pytest.importorskip("snntorch" if name == "snntorch" else "spikingjelly")
    network = RIVALS[name]().double()

    def numbers(module: nn.Module) -> list[Tensor]:
        layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
        return [t for layer in layers for t in layer.state_dict().values()]

    with torch.no_grad():
        for mine, other in zip(numbers(network), numbers(source), strict=True):
            mine.copy_(other)
    return network


@pytest.fixture(scope="module")
def source() -> nn.Module:
    torch.manual_seed(1)
    network = Folded().double().train()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    # Statistics of these images alone, or hardly a neuron would fire.
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network(IMAGES)
    for norm in norms:
        norm.momentum = 0.1
    return network


@pytest.mark.parametrize("name", NAMES)
def test_all_answer_the_same(source: nn.Module, name: str) -> None:
    with torch.no_grad():
        expected = source.eval()(IMAGES)
        network = with_numbers_of(source, name).eval()
        if name == "snntorch":
            # Its spikes are float32 whatever it is given; a spike that differs changes an image's logits.
            apart = (network.float()(IMAGES.float()) - expected).abs().amax(1)
            assert apart.median() < 1e-5
            return
        found = network(IMAGES)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["ours", "spikingjelly"])
def test_those_that_fold_time_train_the_same(source: nn.Module, name: str) -> None:
    """Batch norm over time and images together: the same gradients too."""
    labels, gradients = torch.arange(6), []
    other = with_numbers_of(source, name).train()
    for network in (source.train(), other):
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(IMAGES), labels).backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-8, atol=1e-10)


def options(**changes: int) -> Namespace:
    return Namespace(**{"batch": 8, "threads": 1, "seed": 1, "tasks": 3, "images": 24, **changes})


def test_a_worker_says_speed_and_memory() -> None:
    worker = Worker("ours", "channels_last", options())
    try:
        assert worker.run(0.01) > 0 and worker.memory > 0
    finally:
        worker.end()


def test_a_worker_that_cannot_begin_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker("nobody", "contiguous", options())
    with pytest.raises(RuntimeError, match="ended with exit code 1"):
        worker.run(0.01)
    assert "nobody" in capfd.readouterr().err


@pytest.mark.parametrize("shown_anew", [False, True])
def test_growth_has_a_time_for_every_task(shown_anew: bool) -> None:
    found = _growth(options(), shown_anew)
    assert len(found["seconds_per_image"]) == 3 and np.isfinite(found["slope"])
