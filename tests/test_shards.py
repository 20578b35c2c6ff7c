"""Images in shards: the numbers do not depend on who answers them, and a worker that dies costs nothing but time."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest
from networks import CPP, NUMPY, conv_net, dyadic_images

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, open_simulator, plan_simulation
from alade_brian.simulation import simulator as simulators
from alade_brian.simulation.fused.process import Process
from alade_brian.simulation.fused.program import FusedProgram
from alade_brian.simulation.simulator import pixels
from alade_brian.simulation.workers.cluster import Cluster
from alade_brian.simulation.workers.shards import ShardedEngine
from alade_brian.spikes.packed import PackedResponses

SPEC = convert(conv_net(), (2, 7, 6))
IMAGES = dyadic_images(61, 2, 7, 6)


def answered(settings: SimulationSettings, images: np.ndarray = IMAGES) -> tuple[list[slice], PackedResponses]:
    """The parts that were handed out, and all answers joined."""
    found = list(open_simulator(SPEC, settings).packed_chunks(images))
    return [part for part, _ in found], joined([answer for _, answer in found])


def joined(answers: list[PackedResponses]) -> PackedResponses:
    spikes = {name: np.concatenate([a.spikes[name] for a in answers]) for name in answers[0].spikes}
    events = np.concatenate([a.events for a in answers]) if answers[0].events is not None else None
    return PackedResponses(spikes, answers[0].shapes, np.concatenate([a.logits for a in answers]), {}, events)


def assert_alike(found: PackedResponses, wanted: PackedResponses) -> None:
    assert all(wanted.spikes[name].any() for name in wanted.spikes)
    assert all(np.array_equal(found.spikes[name], wanted.spikes[name]) for name in wanted.spikes)
    assert np.array_equal(found.logits, wanted.logits)
    assert (found.events is None) == (wanted.events is None)
    assert found.events is None or np.array_equal(found.events, wanted.events)


def shared(settings: SimulationSettings, workers: int | None) -> SimulationSettings:
    return dataclasses.replace(settings, workers=workers)


@pytest.mark.parametrize("workers", [2, 3, None])
def test_threads_that_feed_programs_answer_as_one(workers: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators, "WHOLE", 1)
    parts, found = answered(shared(CPP, workers))
    assert workers is None or len(parts) == workers
    assert_alike(found, answered(CPP)[1])


@pytest.mark.slow
def test_processes_answer_as_one() -> None:
    parts, found = answered(shared(NUMPY, 2))
    assert len(parts) == 2
    assert_alike(found, answered(NUMPY)[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_program_that_dies_is_started_again(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first program is killed when its first answer is waited for; what it was asked is done by another."""
    read, killed = Process.read, []

    def deadly(process: Process, size: int) -> np.ndarray:
        if not killed:
            killed.append(process._child.pid)
            process._child.kill()
            process._child.wait()
        return read(process, size)

    wanted = answered(CPP)[1]
    monkeypatch.setattr(Process, "read", deadly)
    found = ShardedEngine(plan_simulation(SPEC, dataclasses.replace(CPP, workers=workers)), ())
    blocks = [pixels(SPEC, {"image": IMAGES[k : k + 8]}) for k in range(0, len(IMAGES), 8)]
    assert_alike(joined(list(found.stream(blocks))), wanted)
    assert len(killed) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_program_serves_one_call_after_the_other(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators, "WHOLE", 1)
    started: list[int] = []
    begin = Process.__init__

    def counting(process: Process, *arguments: object) -> None:
        begin(process, *arguments)  # type: ignore[arg-type]
        started.append(process._child.pid)

    monkeypatch.setattr(Process, "__init__", counting)
    simulator = open_simulator(SPEC, shared(CPP, workers))
    first = simulator.answers(IMAGES)
    assert all(np.array_equal(simulator.answers(IMAGES), first) for _ in range(3))
    assert len(started) <= workers


def test_a_program_that_always_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    read = FusedProgram._started

    def dead(program: FusedProgram, record: bool):  # type: ignore[no-untyped-def]
        process = read(program, record)
        process._child.kill()
        return process

    monkeypatch.setattr(FusedProgram, "_started", dead)
    with pytest.raises(UserError, match="ended with code -9"):
        answered(shared(CPP, 2))


@pytest.fixture(scope="module")
def dask() -> Iterator[object]:
    distributed = pytest.importorskip("distributed", reason="needs the extra [dask]")
    # Dask leaves OMP_NUM_THREADS and others in the environment of whoever starts its workers.
    with patch.dict(os.environ), distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("settings", [CPP, NUMPY], ids=["cpp", "numpy"])
def test_a_cluster_answers_as_one_and_loses_nothing_with_a_worker(dask, settings: SimulationSettings) -> None:  # type: ignore[no-untyped-def]
    """A worker process is killed after the first answers; its blocks are answered by the other, each once."""
    images = np.tile(IMAGES, (20, 1, 1, 1))
    _, wanted = answered(settings, images)
    simulator = open_simulator(SPEC, dataclasses.replace(settings, cluster=dask.scheduler_address))
    simulator.images_per_run = 40
    pids, found = [], []
    for part, answer in simulator.packed_chunks(images):
        found.append((part, answer))
        if len(found) == 3:
            pids = [worker.pid for worker in dask.workers.values() if worker.status.name == "running"]
            os.kill(pids[0], signal.SIGKILL)
    assert len(pids) == 2
    assert [part.start for part, _ in found] == list(range(0, len(images), 40))
    assert_alike(joined([answer for _, answer in found]), wanted)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("127.0.0.1:8786", "is no address of a cluster"), ("tcp://127.0.0.1:9", "no cluster with a worker answers")],
)
def test_a_cluster_that_is_not_there(address: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "//" in address:
        pytest.importorskip("distributed", reason="needs the extra [dask]")
    monkeypatch.setattr("alade_brian.simulation.workers.cluster.PATIENCE", 1)
    with pytest.raises(UserError, match=sentence):
        Cluster(address)


def test_a_cluster_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install 'alade-brian\[dask\]'"):
        Cluster("tcp://127.0.0.1:8786")


def test_workers_are_counted_from_one() -> None:
    with pytest.raises(UserError, match="workers is 0; use at least 1"):
        open_simulator(SPEC, shared(CPP, 0))
