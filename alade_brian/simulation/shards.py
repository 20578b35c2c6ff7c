"""Images in shards: over the cores of one machine, or over a Dask or Ray cluster.

Every image is answered by itself, so the numbers do not depend on who answers it. joblib hands out the blocks and
brings the answers back in order; on one machine fused programs are processes already and are fed by threads.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import joblib
import numpy as np
from joblib.externals.loky.process_executor import BrokenProcessPool

from alade_brian.conversion.packed import PackedResponses
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.errors import UserError
from alade_brian.simulation.builds import generator_digest
from alade_brian.simulation.cluster import Cluster
from alade_brian.simulation.engine import Engine, make_engine
from alade_brian.simulation.program import ProgramEnded
from alade_brian.simulation.settings import SimulationSettings

# Blocks that are under way, for each worker: one is simulated while another waits.
BLOCKS_PER_WORKER = 2
# How often a block is tried whose program ended in the middle.
TRIES = 2
# Brian2 has one network at a time in a process.
_brian2 = threading.RLock()


@dataclass(frozen=True, eq=False)
class Work:
    """What a worker must know to answer; `token` names it among all that a worker ever served."""

    token: str
    spec: NetworkSpec
    settings: SimulationSettings
    traces: tuple[str, ...]
    generator: str

    def engine(self) -> Engine:
        return make_engine(self.spec, self.settings, self.traces)[0]


@dataclass(frozen=True, eq=False)
class Block:
    """Images ``(n, rows, pixels)`` as part of a task. joblib would put a bare array into the memory of one of Dask's
    workers, where it is lost when that worker dies."""

    pixels: np.ndarray


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
            with _brian2:
                engine = self._make()
        yield engine
        self._idle.append(engine)

    def answer(self, block: Block, record: bool) -> PackedResponses:
        """The answers to a block; tried again where the program that should give them ended."""
        for left in reversed(range(TRIES)):
            try:
                with self.one() as engine, _alone(engine):
                    (answer,) = engine.stream([block.pixels], record)
                return answer
            except ProgramEnded:
                if not left:
                    raise
        raise AssertionError("a block is tried at least once")


def _alone(engine: Engine) -> AbstractContextManager[object]:
    return nullcontext() if engine.own_process else _brian2


# Engines that this process opened as somebody's worker, the newest network last.
_serving: dict[str, Engines] = {}
NETWORKS_AT_ONCE = 2


def serve(work: Work, block: Block, record: bool) -> PackedResponses:
    """What a worker process does with a block."""
    with _brian2:
        if work.generator != generator_digest():
            raise UserError("the cluster's workers have another version of alade_brian; install the same on all")
        if work.token not in _serving:
            while len(_serving) >= NETWORKS_AT_ONCE:
                _serving.pop(next(iter(_serving)))
            _serving[work.token] = Engines(work.engine)
        engines = _serving[work.token]
    return engines.answer(block, record)


class ShardedEngine:
    """An engine that hands its blocks to many. It is built here first, so that no two workers build the same."""

    own_process = True

    def __init__(self, work: Work, workers: int, cluster: str | None) -> None:
        self.work, self.workers, self.cluster = work, workers, Cluster(cluster) if cluster else None
        engine, self.images_per_block = make_engine(work.spec, work.settings, work.traces)
        self.compiled, self._threads = engine.compiled, engine.own_process
        self._here = Engines(work.engine, engine)
        if self.cluster is not None:
            self.workers = self.cluster.cores()

    def stream(self, blocks: Iterable[np.ndarray], record: bool = True) -> Iterator[PackedResponses]:
        """See `Engine`."""
        if self.cluster is not None:
            with self.cluster.serving(self.work):
                yield from self._handed_out(serve, blocks, record, None)
        elif self._threads:
            yield from self._handed_out(
                lambda _, block, how: self._here.answer(block, how), blocks, record, "threading"
            )
        else:
            yield from self._handed_out(serve, blocks, record, "loky")

    def _handed_out(
        self,
        answer: Callable[[Work, Block, bool], PackedResponses],
        blocks: Iterable[np.ndarray],
        record: bool,
        backend: str | None,
    ) -> Iterator[PackedResponses]:
        parallel = joblib.Parallel(
            n_jobs=self.workers, backend=backend, return_as="generator", batch_size=1,
            pre_dispatch=BLOCKS_PER_WORKER * self.workers, max_nbytes=None,
        )  # fmt: skip
        try:
            yield from parallel(joblib.delayed(answer)(self.work, Block(block), record) for block in blocks)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process ended in the middle of its work (out of memory?); use fewer --workers or a smaller "
                "simulation.batch"
            ) from error


def shard(spec: NetworkSpec, settings: SimulationSettings, traces: tuple[str, ...]) -> ShardedEngine | None:
    """What spreads the images as the settings say; None where one engine does everything."""
    workers = settings.workers_for(spec)
    if workers == 1 and settings.cluster is None:
        return None
    alone = replace(settings, workers=1, cluster=None)
    return ShardedEngine(Work(uuid.uuid4().hex, spec, alone, traces, generator_digest()), workers, settings.cluster)
