"""What all tests share: a build cache of their own, and networks whose sums are free of rounding."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import brian2  # noqa: F401
import pytest
import torch

# What every process starts with.
THREADS = torch.get_num_threads()

# Brian2 collects garbage before every run and would walk through all of torch each time.
gc.collect()
gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def build_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled networks of one test session, shared among its tests and nobody else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALADE_BRIAN_CACHE", str(tmp_path_factory.mktemp("builds")))
        yield


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The number of threads decides the last digits of what torch learns: no test leaves another one behind."""
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(THREADS)
