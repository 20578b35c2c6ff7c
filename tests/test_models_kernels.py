"""Compiled kernels are a help and never a need."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from alade_brian.models import ExpandableNetwork, make_backbone
from alade_brian.models.kernels import kernels


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty cache, and nothing remembered of kernels."""
    monkeypatch.setenv("ALADE_BRIAN_CACHE", str(tmp_path / "cache"))
    kernels.kernel.cache_clear()
    yield
    kernels.kernel.cache_clear()


def test_compiled_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels.kernel("neurons") is None:
        pytest.skip("needs a C++ compiler")
    (library,) = (tmp_path / "cache" / "kernels").iterdir()
    kernels.kernel.cache_clear()
    monkeypatch.setattr(kernels, "_compile", lambda *_: pytest.fail("compiled again"))
    assert kernels.kernel("neurons") is not None
    assert [library] == list((tmp_path / "cache" / "kernels").iterdir())


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level(logging.INFO, "alade_brian"):
        assert kernels.kernel("neurons") is None and kernels.kernel("neurons") is None
    assert caplog.text.count("no C++ compiler was found") == 1


def test_a_compiler_that_fails_is_said_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "failing"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "x.cpp:1: error: out of order" >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert kernels.kernel("neurons") is None
    assert "x.cpp:1: error: out of order" in caplog.text
    assert not list((tmp_path / "cache" / "kernels").iterdir())


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALADE_BRIAN_CACHE", str(tmp_path / "file"))
    assert kernels.kernel("neurons") is None
    assert "neurons was not compiled" in caplog.text


def trained(backbone: str, steps: int = 3) -> list[torch.Tensor]:
    """A few training steps in float64; all numbers of the network."""
    torch.manual_seed(4)
    network = ExpandableNetwork(
        lambda: (
            make_backbone("small", (1, 12, 12), channels=(8, 16), strides=(1, 2), steps=3)
            if backbone == "small"
            else make_backbone(backbone, (3, 12, 12), width=0.25, steps=3, decay=0.5, threshold=1.0)
        ),
        3,
    )
    network.double()
    network.add_extractor()
    network.double().set_classifier(4)
    network.double().train()
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    images = np.random.default_rng(1).random((10, 1 if backbone == "small" else 3, 12, 12))
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(network(torch.from_numpy(images)), torch.arange(10) % 4)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return [tensor.clone() for tensor in network.state_dict().values()]


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_training_learns_the_same_with_and_without(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels.kernel("neurons", "-ffp-contract=off") is None:
        pytest.skip("needs a C++ compiler")
    with_kernels, again = trained(backbone), trained(backbone)
    assert all(torch.equal(a, b) for a, b in zip(with_kernels, again, strict=True))
    monkeypatch.setattr(kernels, "usable", lambda *_: False)
    for a, b in zip(with_kernels, trained(backbone), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)
