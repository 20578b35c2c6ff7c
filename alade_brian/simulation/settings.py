"""How a specification is to be simulated: what the user asks for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from alade_brian.errors import UserError
from alade_brian.files import user_cache

CONNECTIVITIES = ("auto", "shared", "explicit")
PASSES = ("auto", "fused", "separate")
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class SimulationSettings:
    """What is decided from these for a network is a `SimulationPlan`. UserError if a value is none that exists.

    backend       numpy, cython, cpp, cuda, or auto: cpp if there is a C++ compiler, else numpy
    connectivity  shared (one kernel for all positions and images), explicit (one weight per synapse), or auto: shared
                  where the backend has it
    passes        fused (a layer's update, input, threshold and reset in one pass), separate (a pass each), or auto:
                  fused where the network allows it; both with shared connectivity only
    dtype         float64 (exact, for verification) or float32 (fast)
    batch         images side by side in one group; None: as many as suit cache and memory, 8 at most
    workers       processes among which the images are shared; None: one for each core where passes are fused, else one
    cluster       address of a Dask (tcp://host:port) or Ray (ray://host:port) cluster to share them among instead
    python        the Python that simulates; None: this one, or, for 'cuda' with explicit connectivity, which needs
                  brian2cuda, one that has it
    reuse         simulate extractors by themselves, one program for all of an architecture: for a network that grows
    keep_answers  with `reuse`: keep on disk what they answered, for networks that have some of them in common
    cache         folder of compiled networks; None: $ALADE_BRIAN_CACHE, else the user's cache folder
    """

    backend: str = "cpp"
    connectivity: str = "auto"
    dtype: str = "float64"
    batch: int | None = None
    cache: Path | None = None
    passes: str = "auto"
    workers: int | None = 1
    cluster: str | None = None
    python: Path | None = None
    reuse: bool = False
    keep_answers: bool = True

    def __post_init__(self) -> None:
        _one_of("connectivity", self.connectivity, CONNECTIVITIES)
        _one_of("passes", self.passes, PASSES)
        _one_of("dtype", self.dtype, DTYPES)
        if self.batch is not None and self.batch < 1:
            raise UserError(f"simulation.batch is {self.batch}; use at least 1, or leave it out")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"workers is {self.workers}; use at least 1, or leave it out")

    @property
    def cache_folder(self) -> Path:
        """The folder of compiled networks."""
        if self.cache is not None:
            return self.cache
        named = os.environ.get("ALADE_BRIAN_CACHE")
        return Path(named).absolute() if named else user_cache() / "builds"


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"unknown {what} '{value}'; use one of {', '.join(allowed)}")
