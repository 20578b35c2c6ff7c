"""Images in shards: over the cores of one machine, or over a Dask or Ray cluster.

Every image is answered by itself, so the numbers do not depend on who answers it. joblib hands out the blocks and
brings the answers back in order; on one machine fused programs are processes already, and threads feed them.
"""

from __future__ import annotations

import pickle
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice

import joblib
import numpy as np
from joblib.externals.loky.process_executor import BrokenProcessPool

from alade_brian import cluster_task as remote
from alade_brian.cluster_task import Block
from alade_brian.errors import UserError
from alade_brian.safe_path import safe_path
from alade_brian.simulation.cache.builds import generator_digest
from alade_brian.simulation.engine import Engine
from alade_brian.simulation.engines.make import make_engine
from alade_brian.simulation.fused.process import ProgramEnded
from alade_brian.simulation.plan import SimulationPlan
from alade_brian.simulation.planning import plan_elsewhere
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.simulation.workers import threads as crew
from alade_brian.simulation.workers.cluster import Cluster
from alade_brian.simulation.workers.threads import TRIES
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.packed import PackedResponses

# Blocks that are under way, for each worker: one is simulated while another waits.
BLOCKS_PER_WORKER = 2
# Brian2 has one network at a time in a process.
BRIAN2 = threading.RLock()
TOKEN_BYTES = 16


@contextmanager
def starting_workers() -> Iterator[None]:
    """Within it joblib starts worker processes, and waits for them. UserError if one ends in the middle of its work."""
    try:
        with safe_path():
            yield
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process ended in the middle of its work (out of memory?); use fewer --workers or a smaller "
            "simulation.batch"
        ) from error


@dataclass(frozen=True, eq=False)
class Work:
    """What a worker must know to answer. It plans anew: its machine has a GPU, a Python and folders of its own."""

    spec: NetworkSpec
    settings: SimulationSettings
    traces: tuple[str, ...]
    generator: str

    def engine(self) -> Engine:
        return make_engine(plan_elsewhere(self.spec, self.settings), self.traces)[0]

    def pack(self) -> bytes:
        """This behind a token that names it among all that a worker ever serves."""
        return uuid.uuid4().bytes + pickle.dumps(self)


def unpacked(packed: bytes) -> Work:
    """What `Work.pack` packed. UserError where another version of this package did."""
    work: Work = pickle.loads(packed[TOKEN_BYTES:])
    if work.generator != generator_digest():
        raise UserError("the cluster's workers have another version of alade_brian; install the same on all")
    return work


class Engines:
    """Engines of one network in one process, opened as they are needed, each used by one thread at a time."""

    def __init__(self, make: Callable[[], Engine], *ready: Engine) -> None:
        self._make, self._idle = make, list(ready)

    @contextmanager
    def one(self) -> Iterator[Engine]:
        """An engine that nobody else uses meanwhile; one that failed is not used again."""
        try:
            engine = self._idle.pop()
        except IndexError:
            with BRIAN2:
                engine = self._make()
        yield engine
        self._idle.append(engine)

    def answer(self, block: np.ndarray, record: bool) -> PackedResponses:
        """The answers to a block; tried again where the program that should give them ended."""
        for left in reversed(range(TRIES)):
            try:
                with self.one() as engine, _serialised(engine):
                    (answer,) = engine.stream([block], record)
                return answer
            except ProgramEnded:
                if not left:
                    raise
        raise AssertionError("a block is tried at least once")


def _serialised(engine: Engine) -> AbstractContextManager[object]:
    return nullcontext() if engine.own_process else BRIAN2


# Engines that this process opened as somebody's worker, the newest network last.
_serving: dict[bytes, Engines] = {}
NETWORKS_AT_ONCE = 2


def serve(packed: bytes, block: np.ndarray, record: bool) -> PackedResponses:
    """What a worker process does with a block for a network that was `packed` by `Work.pack`."""
    token = packed[:TOKEN_BYTES]
    with BRIAN2:
        if token not in _serving:
            work = unpacked(packed)
            while len(_serving) >= NETWORKS_AT_ONCE:
                _serving.pop(next(iter(_serving)))
            _serving[token] = Engines(work.engine)
        engines = _serving[token]
    return engines.answer(block, record)


class ShardedEngine:
    """An engine that hands its blocks to as many as the plan says. It is built here first, so that no two workers build
    the same."""

    own_process = True

    def __init__(self, plan: SimulationPlan, traces: Sequence[str]) -> None:
        self.workers, self.cluster = plan.workers, Cluster(plan.cluster) if plan.cluster else None
        alone = plan.alone()
        engine, self.images_per_block = make_engine(alone, traces)
        self.compiled, self._threads = engine.compiled, engine.own_process
        self._here = Engines(lambda: make_engine(alone, traces)[0], engine)
        self._packed = Work(plan.spec, alone.settings, tuple(traces), generator_digest()).pack()
        if self.cluster is not None:
            self.workers = self.cluster.cores()

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        """See `Engine`."""
        if self.cluster is not None:
            with self.cluster.serving(self._packed):
                yield from self._handed_out(blocks, record, None)
        elif self._threads:
            yield from crew.stream(self._here.one, self.workers, blocks, record)
        else:
            yield from self._handed_out(blocks, record, "loky")

    def _handed_out(self, blocks: Iterable[np.ndarray], record: bool, backend: str | None) -> Iterator[PackedResponses]:
        under_way = BLOCKS_PER_WORKER * self.workers
        in_order = self.cluster is None or self.cluster.in_order
        parallel = joblib.Parallel(
            n_jobs=self.workers, backend=backend, return_as="generator" if in_order else "list", batch_size=1,
            pre_dispatch=under_way, max_nbytes=None,
        )  # fmt: skip
        tasks = (joblib.delayed(remote.serve)(self._packed, Block(block), record) for block in blocks)
        with starting_workers():
            if in_order:
                yield from parallel(tasks)
            else:
                while window := list(islice(tasks, under_way)):
                    yield from parallel(window)
