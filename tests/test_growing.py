"""A network that grows, in parts: the same answers as in one piece, one build for all extractors, nothing done twice."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from networks import CPP
from test_spec_simulation import NEURONS

from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, open_simulator, plan_simulation, simulate
from alade_brian.simulation.cache import kept_answers
from alade_brian.simulation.cache.kept_answers import KeptAnswers
from alade_brian.simulation.engines.cpp import CppBackend
from alade_brian.simulation.engines.growing import GrowingProgram
from alade_brian.simulation.fused.program import FusedProgram
from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
    NetworkSpec,
    Parameter,
    Population,
    Projection,
    Readout,
    Stimulus,
)
from alade_brian.spec.parts import split
from alade_brian.spikes.packed import PackedResponses

PLAIN, READER = NEURONS["lif"], NEURONS["no memory"]


def grown(tasks: int) -> NetworkSpec:
    """A readout that sums the spikes of so many extractors, two classes each."""
    populations, projections = [], []
    for task in range(tasks):
        numbers, a, b = np.random.default_rng(task), f"{task}.a", f"{task}.b"
        populations += [Population(a, (3, 6, 5), PLAIN), Population(b, (9, 3, 3), PLAIN)]
        projections += [
            Projection("image", a, Convolution(numbers.normal(size=(3, 1, 3, 3)), (1, 1), (1, 1))),
            Projection(a, b, Convolution(numbers.normal(size=(9, 3, 3, 3)), (2, 2), (1, 1))),
            Projection(b, "head", Dense(numbers.normal(size=(2 * tasks, 81)))),
        ]
    head = Population("head", (2 * tasks,), READER)
    readout = Readout("head", "spike_count")
    return NetworkSpec((Stimulus((1, 6, 5)),), (*populations, head), tuple(projections), readout, 4)


def growing(tmp_path: Path) -> SimulationSettings:
    return dataclasses.replace(CPP, reuse=True, cache=tmp_path)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, 1, 6, 5))


def answered(
    spec: NetworkSpec, settings: SimulationSettings, shown: np.ndarray, record: bool = True
) -> PackedResponses:
    [(_, found)] = open_simulator(spec, settings).packed_chunks(shown, record)
    return found


def assert_alike(found: PackedResponses, wanted: PackedResponses) -> None:
    assert found.spikes.keys() == wanted.spikes.keys()
    assert all(np.array_equal(found.spikes[name], wanted.spikes[name]) for name in wanted.spikes)
    assert np.array_equal(found.logits, wanted.logits)
    assert found.events is not None and np.array_equal(found.events, wanted.events)


@pytest.mark.slow
def test_in_parts_as_in_one_piece_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task brings images and an extractor; what is known is answered from disk."""
    simulated: list[int] = []

    stream = FusedProgram.stream

    def counting(program: FusedProgram, blocks, record: bool = True):  # type: ignore[no-untyped-def]
        blocks = list(blocks)
        if program.spec.stimulus.coding == "direct":
            simulated.append(sum(len(b) for b in blocks))
        return stream(program, blocks, record)

    for task, (shown, expected) in enumerate([(5, [5]), (8, [3, 8]), (8, [8])], start=1):
        spec, monkey = grown(task), pytest.MonkeyPatch()
        wanted = answered(spec, CPP, images(shown))
        assert all(bits.any() for bits in wanted.spikes.values())
        simulated.clear()
        with monkey.context() as patch:
            patch.setattr(FusedProgram, "stream", counting)
            assert_alike(answered(spec, growing(tmp_path), images(shown)), wanted)
        assert simulated == expected
    quiet = answered(grown(3), growing(tmp_path), images(8), record=False)
    assert np.array_equal(quiet.logits, wanted.logits)


@pytest.mark.slow
def test_answers_are_not_kept_where_that_is_not_wanted(tmp_path: Path) -> None:
    settings = dataclasses.replace(growing(tmp_path), keep_answers=False)
    wanted, shown = answered(grown(2), growing(tmp_path / "kept"), images(6)), images(6)[[0, 1, 2, 3, 4, 5, 0]]
    assert (tmp_path / "kept" / "answers").is_dir()
    for _ in range(2):
        found = answered(grown(2), settings, shown)
        assert np.array_equal(found.logits[:6], wanted.logits) and np.array_equal(found.logits[6], wanted.logits[0])
    assert not (tmp_path / "answers").exists()


def with_noise(spec: NetworkSpec, name: str) -> NetworkSpec:
    return spec.replace_neuron(name, update="v += 2*randn()")


@pytest.mark.parametrize("name", ["0.a", "1.b", "head"])
def test_a_network_that_draws_random_numbers_is_left_whole(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[NetworkSpec] = []
    monkeypatch.setattr(CppBackend, "program", lambda backend, plan, traces: built.append(plan.spec))
    plan = plan_simulation(spec := with_noise(grown(2), name), growing(tmp_path))
    CppBackend()._fused_engine(plan, ())
    assert built == [spec] and split(spec) is not None


@pytest.mark.slow
def test_noise_is_drawn_anew(tmp_path: Path) -> None:
    """By every run, and for an image that is shown twice."""
    spec, shown = with_noise(grown(1), "0.a"), images(3)[[0, 1, 2, 0]]
    first, second = (answered(spec, growing(tmp_path), shown).spikes["0.a"] for _ in range(2))
    assert not np.array_equal(first, second) and not np.array_equal(first[0], first[3])


@pytest.mark.slow
def test_all_extractors_share_one_build(tmp_path: Path) -> None:
    first = open_simulator(grown(1), growing(tmp_path)).engine
    later = open_simulator(grown(3), growing(tmp_path)).engine
    assert isinstance(first, GrowingProgram) and isinstance(later, GrowingProgram)
    folders = {e.program.folder for engine in (first, later) for e in engine.extractors}
    assert len(folders) == 1 and not any(e.program.compiled for e in later.extractors)


def test_what_cannot_be_parted_is_left_whole() -> None:
    spec = grown(2)
    assert split(spec) is not None
    loud = dataclasses.replace(PLAIN, parameters={**PLAIN.parameters, "amplitude": Parameter(np.array(0.5), "1")})
    populations = tuple(dataclasses.replace(p, neuron=loud) if p.name == "0.b" else p for p in spec.populations)
    assert split(dataclasses.replace(spec, populations=populations)) is None
    late = tuple(dataclasses.replace(p, delay=int(p.target == "head")) for p in spec.projections)
    assert split(dataclasses.replace(spec, projections=late)) is None


def test_extractors_that_know_each_other_stay_together() -> None:
    spec = grown(2)
    joined = dataclasses.replace(spec, projections=(*spec.projections, Projection("0.a", "1.a", Identity(), 1)))
    parts = split(joined)
    assert parts is not None and [len(e.populations) for e in parts.extractors] == [4]


def test_spikes_as_stimulus_are_the_same_on_every_path() -> None:
    """A head by itself: two stimuli of spikes that reach the same neurons through different operators."""
    stimuli = Stimulus((2, 3, 4), "left", "spikes"), Stimulus((9,), "right", "spikes")
    numbers = np.random.default_rng(1)
    projections = (
        Projection("left", "head", Convolution(numbers.normal(size=(3, 2, 2, 2)))),
        Projection("right", "head", Dense(numbers.normal(size=(18, 9)))),
    )
    spec = NetworkSpec(stimuli, (Population("head", (3, 2, 3), PLAIN),), projections, Readout("head", "spike_count"), 5)
    shown = {s.name: numbers.random((7, 5, *s.shape)) < 0.4 for s in stimuli}
    wanted = simulate(spec, shown, dataclasses.replace(CPP, backend="numpy"))
    assert wanted.spikes["head"].any() and not wanted.spikes["head"].all()
    for passes in ("fused", "separate"):
        found = simulate(spec, shown, dataclasses.replace(CPP, passes=passes))
        assert np.array_equal(found.spikes["head"], wanted.spikes["head"])
    with pytest.raises(UserError, match="numbers other than 0 and 1"):
        simulate(spec, shown | {"right": shown["right"] * 2.0}, CPP)


def records(keys: list[bytes]) -> dict[bytes, np.ndarray]:
    return {key: np.full(3, key[0], np.uint8) for key in keys}


KEYS = [bytes([k]) * 16 for k in range(6)]


def test_answers_are_found_again_whoever_kept_them(tmp_path: Path) -> None:
    one, other = KeptAnswers(tmp_path / "e", 3), KeptAnswers(tmp_path / "e", 3)
    one.keep(records(KEYS[:2]))
    other.keep(records(KEYS[2:4]))
    one.keep(records(KEYS[4:5]))
    found = KeptAnswers(tmp_path / "e", 3).load(KEYS)
    assert found.keys() == set(KEYS[:5]) and all((found[key] == key[0]).all() for key in found)


def test_an_answer_that_was_cut_off_is_unknown(tmp_path: Path) -> None:
    KeptAnswers(tmp_path / "e", 3).keep(records(KEYS[:3]))
    (answers,) = (tmp_path / "e").glob("*.answers")
    answers.write_bytes(answers.read_bytes()[:7])
    assert KeptAnswers(tmp_path / "e", 3).load(KEYS).keys() == set(KEYS[:2])


def damaged(folder: Path, suffix: str, change) -> None:  # type: ignore[no-untyped-def]
    """Change the bytes of the only file with that suffix."""
    (file,) = folder.glob(f"*{suffix}")
    raw = bytearray(file.read_bytes())
    change(raw)
    file.write_bytes(raw)


def one_byte(raw: bytearray) -> None:
    raw[1] ^= 1


def zeroed(raw: bytearray) -> None:
    raw[:] = bytes(len(raw))


def exchanged(raw: bytearray) -> None:
    raw[:3], raw[3:6] = raw[3:6], raw[:3]


def digest_changed(raw: bytearray) -> None:
    raw[kept_answers.KEY_BYTES] ^= 1


@pytest.mark.parametrize(
    ("suffix", "change", "left"),
    [
        (".answers", one_byte, KEYS[1:3]),
        (".answers", zeroed, KEYS[:1]),  # whose record is zeros
        (".answers", exchanged, KEYS[2:3]),
        (".keys", digest_changed, KEYS[1:3]),
    ],
)
def test_a_damaged_answer_is_unknown_and_replaced(
    suffix: str, change, left: list[bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:  # type: ignore[no-untyped-def]
    """It is never returned, the log says so once, and the next process finds what was kept instead."""
    folder = tmp_path / "e"
    KeptAnswers(folder, 3).keep(records(KEYS[:3]))
    damaged(folder, suffix, change)
    kept = KeptAnswers(folder, 3)
    assert list(kept.load(KEYS)) == left
    assert len(caplog.messages) == 1 and "are damaged; what they held is computed anew" in caplog.text
    kept.keep(records([key for key in KEYS[:3] if key not in left]))
    later = KeptAnswers(folder, 3).load(KEYS)
    assert {key: found.tolist() for key, found in later.items()} == {key: [key[0]] * 3 for key in KEYS[:3]}
    assert len(caplog.messages) == 1


def test_entries_that_a_power_loss_zeroed_name_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    KeptAnswers(tmp_path / "e", 3).keep(records(KEYS[:3]))
    damaged(tmp_path / "e", ".keys", zeroed)
    assert KeptAnswers(tmp_path / "e", 3).load([*KEYS, bytes(16)]) == {} and not caplog.messages


def test_another_process_that_began_anew_is_not_taken_for_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Room was made, and the same file then holds other records: their entries stay."""
    writer = KeptAnswers(tmp_path / "e", 3)
    writer.keep(records(KEYS[:3]))
    reader = KeptAnswers(tmp_path / "e", 3)
    shutil.rmtree(tmp_path / "e")
    writer.keep(records(KEYS[3:]))
    assert reader.load(KEYS[:3]) == {} and not caplog.messages
    assert KeptAnswers(tmp_path / "e", 3).load(KEYS).keys() == set(KEYS[3:])


def test_a_record_is_on_the_disk_before_its_entry_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def fsync(descriptor: int) -> None:
        (keys,) = (tmp_path / "e").glob("*.keys")
        seen.append((os.fstat(descriptor).st_size, keys.stat().st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    KeptAnswers(tmp_path / "e", 3).keep(records(KEYS[:2]))
    assert seen == [(6, 0)]


def test_a_write_that_was_stopped_shifts_no_later_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptAnswers(tmp_path / "e", 3)
    kept.keep(records(KEYS[:1]))
    with monkeypatch.context() as patch:

        def stop(descriptor: int) -> None:
            raise KeyboardInterrupt

        patch.setattr(os, "fsync", stop)
        with pytest.raises(KeyboardInterrupt):
            kept.keep(records(KEYS[1:3]))
    kept.keep(records(KEYS[3:]))
    for each in (kept, KeptAnswers(tmp_path / "e", 3)):
        found = each.load(KEYS)
        assert found.keys() == {KEYS[0], *KEYS[3:]} and all((found[key] == key[0]).all() for key in found)


def _write_and_read(folder: Path) -> None:
    for turn in range(30):
        kept = KeptAnswers(folder / str(turn % 3), 3)
        kept.keep(records(KEYS))
        assert all((found == key[0]).all() for key, found in kept.load(KEYS).items())
        kept_answers.prune(folder, folder / str(turn % 3))


def test_processes_that_write_read_and_make_room_at_once_see_whole_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_answers, "ANSWER_BYTES", 300)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_and_read, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_answers_that_vanish_are_unknown(tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path / "e", 3)
    kept.keep(records(KEYS))
    next((tmp_path / "e").glob("*.answers")).unlink()
    assert kept.load(KEYS) == {}


def test_room_made_by_another_process_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It deletes the folder just before something is written to it."""
    times: list[int] = []

    def take(folder: Path, kept: Path) -> None:
        times.append(1)
        if len(times) == 1:
            shutil.rmtree(kept)

    monkeypatch.setattr(kept_answers, "prune", take)
    KeptAnswers(tmp_path / "e", 3).keep(records(KEYS))
    assert len(times) == 2 and not caplog.messages
    assert KeptAnswers(tmp_path / "e", 3).load(KEYS).keys() == set(KEYS)


def test_room_is_made_while_another_process_makes_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("there", "taken"):
        KeptAnswers(tmp_path / name, 3).keep(records(KEYS))
    found = list(tmp_path.iterdir())
    shutil.rmtree(tmp_path / "taken")
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter(found))
    kept_answers.prune(tmp_path, tmp_path / "taken too")
    assert KeptAnswers(tmp_path / "there", 3).load(KEYS).keys() == set(KEYS)


def test_a_full_disk_costs_only_the_keeping(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "e").write_text("a file where the folder should be")
    kept = KeptAnswers(tmp_path / "e", 3)
    kept.keep(records(KEYS))
    kept.keep(records(KEYS))
    assert kept.load(KEYS) == {} and len(caplog.messages) == 1 and "is not kept" in caplog.text


def test_the_oldest_answers_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    for age, name in enumerate(["new", "older", "oldest"]):
        KeptAnswers(tmp_path / name, 3).keep(records(KEYS))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(kept_answers, "ANSWER_BYTES", 500)
    KeptAnswers(tmp_path / "now", 3).keep(records(KEYS))
    assert {f.name for f in tmp_path.iterdir()} == {"now", "new", "older"}
