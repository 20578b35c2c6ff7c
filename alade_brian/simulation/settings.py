"""How a specification is simulated, and which of the ways exist on this machine."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import joblib

from alade_brian.errors import UserError
from alade_brian.files import user_cache
from alade_brian.machine import compiler
from alade_brian.simulation.cuda.compiler import this_machine
from alade_brian.simulation.cuda.explicit_network import explicit_target
from alade_brian.simulation.cuda.fused_limits import images_on_gpu, refusal
from alade_brian.simulation.gather import can_gather
from alade_brian.simulation.other_python.find import check_python, simulating_python
from alade_brian.simulation.workers.cluster import check_address
from alade_brian.spec.cost_table import lowering_table
from alade_brian.spec.network import NetworkSpec

log = logging.getLogger(__name__)

BACKENDS = ("auto", "numpy", "cython", "cpp", "cuda")
CONNECTIVITIES = ("auto", "shared", "explicit")
PASSES = ("auto", "fused", "separate")
DTYPES = ("float64", "float32")

# Images per run of a program that takes its images as a file: enough to make loading the synapses a small part of it.
IMAGES_PER_RUN = 128
# What a running program is given at a time: so many images, or fewer where their answers take more bytes. Fewer cost
# more than they are worth in handing over; with more, one of several programs waits longer for the others at the end.
IMAGES_PER_BLOCK = 128
BYTES_PER_BLOCK = 2**23
# Explicit synapses held at once, over all copies: about 50 bytes each while they are created.
SYNAPSES_AT_ONCE = 8_000_000
# A GPU is busier with more images side by side; a program with explicit synapses sets all of them up for every run.
GPU_BATCH = 256
GPU_SYNAPSES_AT_ONCE = 32_000_000
GPU_IMAGES_PER_RUN = 1024
# Beyond this a single image's synapses do not fit into a common machine's memory.
SYNAPSES_AT_MOST = 200_000_000
# Neurons at once in fused passes: their state stays in a core's cache, and small networks still fill a step.
NEURONS_AT_ONCE = 8_192


@dataclass(frozen=True)
class SimulationSettings:
    """backend       numpy, cython, cpp, cuda, or auto, which at once becomes cpp where there is a compiler, else numpy
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
        if self.backend == "auto":
            found = compiler()
            object.__setattr__(self, "backend", "numpy" if found is None else "cpp")
            reason = "no C++ compiler was found" if found is None else f"the C++ compiler is {found}"
            log.info("backend auto: %s, as %s", self.backend, reason)

    def check(self) -> None:
        """Raise UserError, with what to do, where this machine cannot simulate in this way."""
        if self.cluster is not None:
            check_address(self.cluster)
        _one_of("backend", self.backend, BACKENDS)
        _one_of("connectivity", self.connectivity, CONNECTIVITIES)
        _one_of("passes", self.passes, PASSES)
        _one_of("dtype", self.dtype, DTYPES)
        if self.batch is not None and self.batch < 1:
            raise UserError(f"simulation.batch is {self.batch}; use at least 1, or leave it out")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"workers is {self.workers}; use at least 1, or leave it out")
        if self.backend == "cython" and self.connectivity == "shared":
            raise UserError("backend 'cython' has no shared connectivity; use --connectivity explicit")
        if self.passes == "fused" and (self.backend not in ("cpp", "cuda") or self.connectivity == "explicit"):
            raise UserError(
                "fused passes need the backend 'cpp' or 'cuda' and shared connectivity; leave simulation.passes out"
            )
        if self.backend == "cuda":
            self._check_cuda()
        other = self.other_python()
        if other is not None:
            check_python(other, self.backend, self.connectivity)
        elif self.backend == "cuda":
            this_machine() if self.shares else explicit_target()
        elif self.backend in ("cpp", "cython") and compiler() is None:
            raise UserError(
                f"backend '{self.backend}' needs a C++ compiler and none was found (looked for $CXX and g++ on the "
                "PATH); "
                "install one (Debian: apt-get install g++), or use --backend numpy"
            )

    def _check_cuda(self) -> None:
        if self.shares and self.passes == "separate":
            raise UserError(
                "backend 'cuda' runs shared connectivity in fused passes; leave simulation.passes out, or use "
                "--connectivity explicit"
            )
        if self.workers is not None and self.workers > 1:
            raise UserError(f"workers is {self.workers}, but one process keeps a GPU busy; leave --workers out")

    @property
    def shares(self) -> bool:
        """Whether kernels are shared, where a projection can be."""
        return self.connectivity == "shared" or (self.connectivity == "auto" and self.backend != "cython")

    def other_python(self) -> Path | None:
        """The Python that simulates, None for this one (UserError where none can)."""
        return simulating_python(self.backend == "cuda" and not self.shares, self.python)

    def fuses(self, spec: NetworkSpec) -> bool:
        """Whether this network runs in fused passes (UserError where that was asked for and is impossible)."""
        if self.backend not in ("cpp", "cuda") or not self.shares or self.passes == "separate":
            return False
        refused = refusal(spec) if self.backend == "cuda" else None
        if refused is not None:
            raise UserError(refused)
        possible = can_gather(spec)
        if self.passes == "fused" and not possible:
            raise UserError(
                "the network has a list of connections that is too long for fused passes, or synapses that fail by "
                "chance; leave simulation.passes out"
            )
        return possible

    def workers_for(self, spec: NetworkSpec) -> int:
        """How many processes share the images on this machine."""
        if self.workers is None and self.backend == "cuda":
            return 1
        return self.workers or (joblib.cpu_count() if self.fuses(spec) else 1)

    @property
    def cache_folder(self) -> Path:
        if self.cache is not None:
            return self.cache
        named = os.environ.get("ALADE_BRIAN_CACHE")
        return Path(named) if named else user_cache() / "builds"

    def batch_for(self, spec: NetworkSpec) -> int:
        """Images side by side for this network (UserError where not even one fits)."""
        if self.fuses(spec) and self.backend == "cuda":
            return self.batch or images_on_gpu(spec)
        if self.fuses(spec):
            return self.batch or max(1, min(8, NEURONS_AT_ONCE // sum(p.size for p in spec.populations)))
        synapses = sum(row.synapses for row in lowering_table(spec))
        if synapses > SYNAPSES_AT_MOST and not self.shares:
            raise UserError(
                f"the network has {synapses:,} explicit synapses per image, more than the {SYNAPSES_AT_MOST:,} that "
                "are "
                "simulated at most; use --connectivity shared, smaller images, fewer channels or fewer tasks"
            )
        most, at_once = (GPU_BATCH, GPU_SYNAPSES_AT_ONCE) if self.backend == "cuda" else (8, SYNAPSES_AT_ONCE)
        return self.batch or max(1, min(most, at_once // max(1, synapses)))


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"unknown {what} '{value}'; use one of {', '.join(allowed)}")
