"""Simulation: schedule, batches, backends, builds that are kept, and everything a machine may lack."""

from __future__ import annotations

import dataclasses
import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest
from networks import CPP, NUMPY, assert_same, conv_net, convert, dyadic_, dyadic_images
from torch import nn

from alade_brian.conversion.to_brian2.text import group_names, schedule
from alade_brian.errors import UserError
from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
from alade_brian.simulation import SimulationSettings, open_simulator, simulate, synaptic_events
from alade_brian.spec import Dense, NetworkSpec
from alade_brian.spikes.responses import Responses
from alade_brian.verification.torch_reference import record

IMAGES = dyadic_images(9, 2, 7, 6)


def same(left: Responses, right: Responses) -> bool:
    spikes = all(np.array_equal(left.spikes[name], right.spikes[name]) for name in right.spikes)
    return spikes and np.array_equal(left.logits, right.logits)


def with_delay(spec: NetworkSpec, target: str, delay: int) -> NetworkSpec:
    changed = tuple(dataclasses.replace(p, delay=delay) if p.target == target else p for p in spec.projections)
    return dataclasses.replace(spec, projections=changed)


def test_schedule_puts_all_updates_before_the_layers_and_keeps_brians_names() -> None:
    order = schedule(convert(conv_net(), (2, 7, 6)))
    assert order[:4] == ["start", "groups", "inputs", "delayed"] and order[-1] == "end"
    layers = [f"{what}_{k}" for k in range(3) for what in ("update", "threshold", "synapses", "reset")]
    assert order[4:16] == layers
    assert {"thresholds", "synapses", "resets"} <= set(order)


def test_layers_see_spikes_of_the_same_step() -> None:
    # One neuron per layer, each weight 2: a chain without delay fires in one and the same step.
    net = nn.Sequential(
        HoldCurrent(3),
        LIF(3),
        nn.Linear(1, 1, False),
        LIF(3),
        nn.Linear(1, 1, False),
        LIF(3),
        nn.Linear(1, 1),
        MeanOverSteps(3),
    )
    for layer in (2, 4):
        net[layer].weight.data.fill_(2.0)  # type: ignore[union-attr]
    spikes = simulate(convert(net, (1,)), np.full((1, 1), 0.75), NUMPY).spikes
    assert [s[0, :, 0].tolist() for s in spikes.values()] == [[False, True, False]] * 3


@pytest.mark.parametrize("settings", [NUMPY, CPP], ids=["numpy", "cpp"])
def test_a_delay_shifts_a_layer_and_nothing_reaches_the_next_presentation(settings: SimulationSettings) -> None:
    net = conv_net(steps=5)
    spec = convert(net, (2, 7, 6))
    # The second layer's own bias is removed, so that a delay of its input is a delay of its spikes.
    spec = spec.replace_population("6", bias=None)
    settings = dataclasses.replace(settings, batch=2)
    plain, late = simulate(spec, IMAGES, settings), simulate(with_delay(spec, "6", 2), IMAGES, settings)
    assert plain.spikes["6"].any()
    assert np.array_equal(late.spikes["3"], plain.spikes["3"])
    assert np.array_equal(late.spikes["6"][:, 2:], plain.spikes["6"][:, :-2])
    assert not late.spikes["6"][:, :2].any()
    # The readout adds up its input and its bias for 5 steps, not for the silent gap behind them.
    readout = spec.inputs("10")[0].operator
    bias = spec.population("10").bias
    assert isinstance(readout, Dense) and bias is not None
    expected = late.spikes["6"].sum(1) @ readout.weight.T / 5 + bias
    np.testing.assert_allclose(late.logits, expected, atol=1e-12)


@pytest.mark.parametrize("settings", [NUMPY, CPP], ids=["numpy", "cpp"])
@pytest.mark.parametrize("batch", [1, 4])
def test_an_image_does_not_depend_on_its_neighbours(settings: SimulationSettings, batch: int) -> None:
    spec = convert(conv_net(), (2, 7, 6))
    alone = simulate(spec, IMAGES[4:5], NUMPY)
    order = np.random.default_rng(2).permutation(len(IMAGES))
    among = simulate(spec, IMAGES[order], dataclasses.replace(settings, batch=batch))
    place = int(np.flatnonzero(order == 4)[0])
    assert same(among.select(slice(place, place + 1)), alone)


def test_numpy_and_cpp_give_identical_spikes_and_logits() -> None:
    net = conv_net()
    spec = convert(net, (2, 7, 6))
    assert same(simulate(spec, IMAGES, CPP), simulate(spec, IMAGES, NUMPY))
    assert same(simulate(spec, IMAGES, CPP), record(net, IMAGES, spec))


@pytest.mark.slow
def test_cython_gives_identical_spikes_and_logits() -> None:
    net = dyadic_(nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4)))
    spec, images = convert(net, (6,)), dyadic_images(5, 6)
    assert same(simulate(spec, images, SimulationSettings(backend="cython")), simulate(spec, images, NUMPY))


def test_more_images_than_one_run_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alade_brian.simulation.engine.IMAGES_PER_BLOCK", 4)
    net = conv_net()
    parts = [
        part for part, _ in open_simulator(convert(net, (2, 7, 6)), dataclasses.replace(CPP, batch=2)).chunks(IMAGES)
    ]
    assert [(p.start, p.stop) for p in parts] == [(0, 4), (4, 8), (8, 9)]
    assert_same(net, IMAGES, dataclasses.replace(CPP, batch=2))


def test_float32_is_available_and_close() -> None:
    net = conv_net()
    spec = convert(net, (2, 7, 6))
    for settings in (CPP, NUMPY):
        single = simulate(spec, IMAGES, dataclasses.replace(settings, dtype="float32"))
        np.testing.assert_allclose(single.logits, record(net, IMAGES, spec).logits, atol=1e-5)


def test_a_build_is_kept_and_takes_other_numbers_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(CPP, cache=tmp_path / "cache", batch=3)
    assert open_simulator(convert(conv_net(seed=0), (2, 7, 6)), settings).compiled
    # From here on a compiler would fail.
    monkeypatch.setattr(
        "alade_brian.simulation.cache.builds.compile_program", lambda folder: pytest.fail("a compiler ran")
    )
    other = conv_net(LIF(4, decay=0.25, threshold=1.25), seed=5)
    simulator = open_simulator(convert(other, (2, 7, 6)), settings)
    assert not simulator.compiled
    images = dyadic_images(7, 2, 7, 6, seed=9)
    ((_, responses),) = simulator.chunks(images)
    assert same(responses, record(other, images, convert(other, (2, 7, 6))))


def test_another_structure_is_another_build(tmp_path: Path) -> None:
    settings = dataclasses.replace(CPP, cache=tmp_path, batch=1)
    spec = convert(dyadic_(nn.Sequential(HoldCurrent(2), LIF(2), nn.Linear(4, 2), MeanOverSteps(2))), (4,))
    assert open_simulator(spec, settings).compiled
    assert not open_simulator(spec, settings).compiled
    assert open_simulator(spec.replace_neuron("1", comparison=">="), settings).compiled
    assert len(list(tmp_path.iterdir())) == 2


def test_generated_code_that_does_not_fit_into_one_file_is_compiled_as_brian2_meant_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alade_brian.simulation.cache.builds.one_file", lambda folder: "#error not today")
    net = dyadic_(nn.Sequential(HoldCurrent(2), LIF(2), nn.Linear(4, 2), MeanOverSteps(2)))
    assert_same(net, dyadic_images(3, 4), dataclasses.replace(CPP, cache=tmp_path, batch=1))
    assert list(tmp_path.glob("*/code_objects/*.o"))


def test_what_stopped_builds_left_behind_goes_after_a_day(tmp_path: Path) -> None:
    from alade_brian.simulation.cache.builds import _prune

    for name, age in (("building-now", 0), ("building-before", 2 * 24 * 3600)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    _prune(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["building-now"]


def test_the_oldest_builds_go_when_the_cache_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alade_brian.simulation.cache.builds import _prune

    for age, name in enumerate(("new", "middle", "old")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "build.json").write_text("x" * 100)
        os.utime(folder, (1e9 - age, 1e9 - age))
    monkeypatch.setattr("alade_brian.simulation.cache.builds.CACHE_BYTES", 250)
    _prune(tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["middle", "new"]


def test_synaptic_events_count_each_spike_times_its_synapses() -> None:
    net = dyadic_(
        nn.Sequential(
            HoldCurrent(2),
            LIF(2),
            nn.Conv2d(1, 2, 3, padding=1),
            LIF(2),
            nn.Flatten(),
            nn.Linear(18, 4),
            MeanOverSteps(2),
        )
    )
    spec = convert(net, (1, 3, 3))
    spikes = {"1": np.zeros((1, 2, 9), bool), "3": np.zeros((1, 2, 18), bool)}
    spikes["1"][0, 0, 0] = True  # a corner: 4 positions x 2 channels
    spikes["1"][0, 1, 4] = True  # the centre: 9 positions x 2 channels
    spikes["3"][0, 1, 7] = True  # 4 readout neurons
    assert synaptic_events(spec, Responses(spikes, np.zeros((1, 4)))) == 8 + 18 + 4


def test_names_become_identifiers_of_their_own() -> None:
    spec = convert(conv_net(), (2, 7, 6))
    renamed = dataclasses.replace(
        spec,
        populations=tuple(
            dataclasses.replace(p, name=n) for p, n in zip(spec.populations, ("a.b", "a_b", "é 1"), strict=True)
        ),
        projections=tuple(
            dataclasses.replace(
                p,
                source={"3": "a.b", "6": "a_b"}.get(p.source, p.source),
                target={"3": "a.b", "6": "a_b", "10": "é 1"}[p.target],
            )
            for p in spec.projections
        ),
        readout=dataclasses.replace(spec.readout, population="é 1"),
    )
    names = group_names(renamed)
    assert len(set(names.values())) == 3 and all(n.isidentifier() and n.isascii() for n in names.values())
    assert np.array_equal(simulate(renamed, IMAGES, NUMPY).logits, simulate(spec, IMAGES, NUMPY).logits)


REFUSED = {
    "backend": ({"backend": "gpu"}, "unknown backend 'gpu'.*numpy, cython, cpp, cuda"),
    "cuda": ({"backend": "cuda", "passes": "separate"}, "in fused passes.*--connectivity explicit"),
    "cuda workers": ({"backend": "cuda", "workers": 2}, "one process keeps a GPU busy"),
    "connectivity": ({"connectivity": "sparse"}, "unknown connectivity"),
    "shared": ({"backend": "cython", "connectivity": "shared"}, "has no shared connectivity.*explicit"),
    "passes": ({"passes": "none"}, "unknown passes"),
    "fused": ({"backend": "numpy", "passes": "fused"}, "need the backend 'cpp' or 'cuda'"),
    "dtype": ({"dtype": "float16"}, "unknown dtype"),
    "batch": ({"batch": 0}, "at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_cannot_be_met(case: str) -> None:
    changes, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        simulate(convert(conv_net(), (2, 7, 6)), IMAGES, SimulationSettings(**changes))


def test_no_compiler_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler.*--backend numpy"):
        open_simulator(convert(conv_net(), (2, 7, 6)), CPP)


def test_a_failing_compiler_is_a_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "fake-compiler"
    fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo fake 1.0 && exit 0\necho 'error: no' >&2\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(fake))
    with pytest.raises(UserError, match="failed on Brian2's generated code"):
        open_simulator(convert(conv_net(), (2, 7, 6)), dataclasses.replace(CPP, cache=tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="ALADE_BRIAN_CACHE"):
        open_simulator(convert(conv_net(), (2, 7, 6)), dataclasses.replace(CPP, cache=tmp_path / "file"))


@pytest.mark.parametrize("file", ["build.json", "main"])
def test_a_damaged_build_is_built_anew(tmp_path: Path, file: str) -> None:
    settings = dataclasses.replace(CPP, cache=tmp_path, batch=1)
    net = dyadic_(nn.Sequential(HoldCurrent(2), LIF(2), nn.Linear(4, 2), MeanOverSteps(2)))
    spec, images = convert(net, (4,)), dyadic_images(3, 4)
    open_simulator(spec, settings)
    (damaged,) = tmp_path.glob(f"*/{file}")
    damaged.write_bytes(damaged.read_bytes()[:20])
    simulator = open_simulator(spec, settings)
    assert simulator.compiled
    ((_, responses),) = simulator.chunks(images)
    assert same(responses, record(net, images, spec))


def test_images_that_do_not_fit_are_a_sentence() -> None:
    spec = convert(conv_net(), (2, 7, 6))
    with pytest.raises(UserError, match=r"takes \(n, 2, 7, 6\)"):
        simulate(spec, np.zeros((3, 2, 6, 7)), NUMPY)
    with pytest.raises(UserError, match="not finite"):
        simulate(spec, np.full((1, 2, 7, 6), np.nan), NUMPY)


def test_brians_state_is_as_before_a_simulation() -> None:
    import brian2 as b2
    from brian2.devices.device import get_device

    before = (b2.prefs.codegen.target, b2.prefs.core.default_float_dtype, get_device())
    simulate(convert(conv_net(), (2, 7, 6)), IMAGES[:1], dataclasses.replace(CPP, dtype="float32"))
    assert (b2.prefs.codegen.target, b2.prefs.core.default_float_dtype, get_device()) == before
