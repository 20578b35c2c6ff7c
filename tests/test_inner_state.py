"""A look inside: the same variables of both networks are the same numbers, and the command that writes them."""

from __future__ import annotations

import dataclasses
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import call
from networks import CPP, NUMPY, conv_net, convert, dyadic_, dyadic_images
from tiny_grid import GRID, learnt
from torch import nn

from alade_brian import cluster_task
from alade_brian.data import class_order
from alade_brian.errors import UserError
from alade_brian.models import LIF, NEURONS, AdaptiveLIF, Frames, HoldCurrent, MeanOverSteps, Recurrent
from alade_brian.outputs import LOCK
from alade_brian.simulation import SimulationPlan, SimulationSettings, plan_simulation, simulate
from alade_brian.simulation.cache.builds import generator_digest
from alade_brian.simulation.engines.cpp import CppBackend
from alade_brian.simulation.engines.runtime import NumpyBackend
from alade_brian.simulation.simulator import pixels
from alade_brian.simulation.states import PLAIN, record_states, serve, threshold_needs, variables
from alade_brian.simulation.workers.shards import BRIAN2, Work
from alade_brian.spikes.states import InnerState
from alade_brian.spikes.task_record import load_record
from alade_brian.verification.inner_states import TOLERANCE, inner_states

PROGRAMS = Path(__file__).resolve().parent.parent / "experiments"
STATES = ("v", "a", "syn", "clock", "slope", "spent")
IMAGES = dyadic_images(5, 2, 7, 6)


@pytest.mark.parametrize("cls", [cls for cls in NEURONS.values() if cls.spiking], ids=lambda cls: cls.__name__)
def test_every_state_of_every_neuron_is_the_same_in_both_networks(cls: type) -> None:
    model = conv_net(cls(4))
    spec = convert(model, (2, 7, 6))
    names = [name for name in variables(spec, "3") if name in STATES]
    assert len(names) == len(cls.state.__dataclass_fields__)
    found = inner_states(model, spec, IMAGES, {"3": names, "6": ["v"]})
    assert [(state.layer, state.variable) for state in found] == [*(("3", name) for name in names), ("6", "v")]
    for state in found:
        assert state.brian2.shape == state.torch.shape == (5, 4, spec.population(state.layer).size)
        assert state.largest_difference < TOLERANCE
        assert np.ptp(state.brian2) > 0 and np.any(state.brian2[:, 1:] != state.brian2[:, :-1])
        assert (state.threshold is None) == (state.variable != "v")
        if state.threshold is not None:
            # What fired is what had passed the threshold.
            assert np.array_equal(state.spikes, state.brian2 > state.threshold) and state.spikes.any()


def test_a_membrane_follows_its_closed_form() -> None:
    model = nn.Sequential(nn.Flatten(), HoldCurrent(6), LIF(6, 0.5, threshold=100.0), nn.Linear(3, 2), MeanOverSteps(6))
    images = np.array([[[[0.5, 1.0, -2.0]]]])
    (state,) = inner_states(model, convert(model, (1, 1, 3)), images, {"2": ["v"]})
    expected = (1 - 0.5 ** np.arange(1, 7))[:, None] / 0.5 * images.reshape(1, 3)
    np.testing.assert_allclose(state.brian2[0], expected, rtol=1e-13)
    np.testing.assert_allclose(state.torch[0], expected, rtol=1e-13)
    assert not state.spikes.any() and np.all(state.threshold == 100.0)


def test_an_adaptive_threshold_moves() -> None:
    model = conv_net(AdaptiveLIF(4))
    spec = convert(model, (2, 7, 6))
    assert threshold_needs(spec, "3") == ("a",) and threshold_needs(spec, "6") == ()
    membrane, adaptation = inner_states(model, spec, IMAGES, {"3": ["v", "a"]})
    np.testing.assert_array_equal(membrane.threshold, 1.0 + adaptation.brian2)
    assert adaptation.brian2.max() > 0


def test_recurrent_layers_and_sequences() -> None:
    draw = np.random.default_rng(4)
    model = nn.Sequential(
        Frames(), nn.Flatten(), nn.Linear(4, 6), Recurrent(LIF(5), nn.Linear(6, 6)), nn.Linear(6, 2), MeanOverSteps(5)
    )
    dyadic_(model)
    images = draw.integers(-16, 17, (3, 5, 1, 2, 2)) / 8
    spec = convert(model, (1, 2, 2), steps=5, sequence=True)
    (state,) = inner_states(model, spec, images, {"3": ["v"]})
    assert state.largest_difference < TOLERANCE and state.spikes.any() and not state.spikes.all()


def test_what_only_brian2_has_is_recorded_there() -> None:
    model = conv_net()
    spec = convert(model, (2, 7, 6))
    readout = spec.readout.population
    current, answer = inner_states(model, spec, IMAGES, {"3": [variables(spec, "3")[-1]], readout: ["v"]})
    assert current.variable.startswith("current_") and current.torch is None and current.largest_difference is None
    # The current of an image is held.
    assert np.all(current.brian2 == current.brian2[:, :1]) and np.ptp(current.brian2) > 0
    assert answer.spikes is None and answer.threshold is None and answer.torch is None
    logits = simulate(spec, IMAGES, NUMPY).logits
    np.testing.assert_allclose(answer.brian2[:, -1] / spec.steps, logits, rtol=1e-12)


def test_looking_changes_no_spike() -> None:
    spec = convert(conv_net(), (2, 7, 6))
    plain = simulate(spec, IMAGES, NUMPY)
    watched, _ = record_states(spec, IMAGES, {"3": ["v"], "6": ["v"]})
    assert all(np.array_equal(plain.spikes[name], watched.spikes[name]) for name in plain.spikes)
    np.testing.assert_array_equal(plain.logits, watched.logits)


@pytest.mark.parametrize(
    "settings",
    [
        CPP,
        dataclasses.replace(CPP, connectivity="explicit"),
        dataclasses.replace(NUMPY, connectivity="shared", batch=2),
        dataclasses.replace(NUMPY, workers=2),
    ],
    ids=["compiled", "compiled, explicit", "in batches", "two processes"],
)
def test_every_way_to_simulate_shows_the_same_states(settings: SimulationSettings) -> None:
    spec, wanted = convert(conv_net(AdaptiveLIF(4)), (2, 7, 6)), {"3": ["v", "a"], "6": ["v"]}
    responses, states = record_states(spec, IMAGES, wanted)
    there, found = record_states(spec, IMAGES, wanted, settings)
    assert {name: [*each] for name, each in found.items()} == wanted
    for name, names in wanted.items():
        for variable in names:
            np.testing.assert_allclose(found[name][variable], states[name][variable], rtol=0, atol=1e-12)
    assert all(np.array_equal(there.spikes[name], responses.spikes[name]) for name in responses.spikes)
    np.testing.assert_allclose(there.logits, responses.logits, rtol=1e-12)


def test_a_worker_process_that_ends_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(cluster_task, "record_states", ends)
    spec = convert(conv_net(), (2, 7, 6))
    with pytest.raises(UserError, match="a worker process ended in the middle of its work.*use fewer --workers"):
        record_states(spec, IMAGES, {"3": ["v"]}, dataclasses.replace(NUMPY, workers=2))


def test_a_workers_threads_record_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brian2 has one network at a time in a process."""
    spec, free = convert(conv_net(), (2, 7, 6)), list[bool]()
    record = NumpyBackend.record_states

    def could_record() -> bool:
        found = BRIAN2.acquire(blocking=False)
        if found:
            BRIAN2.release()
        return found

    def recorded(*arguments: Any) -> Any:
        with ThreadPoolExecutor(1) as another:
            free.append(another.submit(could_record).result())
        return record(*arguments)

    monkeypatch.setattr(NumpyBackend, "record_states", recorded)
    packed = Work(spec, plan_simulation(spec, PLAIN).settings, (), generator_digest()).pack()
    _, states = serve(packed, pixels(spec, {"image": IMAGES}), {"3": ["v"]})
    assert free == [False] and states["3"]["v"].any()


def test_a_backend_without_monitors_is_refused() -> None:
    spec = convert(conv_net(), (2, 7, 6))
    words = "backend 'cuda' records no variables of neurons; use --backend numpy, cython or cpp"
    with pytest.raises(UserError, match=words):
        record_states(spec, IMAGES, {"3": ["v"]}, SimulationSettings(backend="cuda"))


def test_what_is_not_there_is_named() -> None:
    spec = convert(conv_net(), (2, 7, 6))
    with pytest.raises(UserError, match="no layer 'x'; the network has 3, 6"):
        record_states(spec, IMAGES, {"x": ["v"]})
    with pytest.raises(UserError, match="no variable 'w'; its neurons have v"):
        record_states(spec, IMAGES, {"3": ["v", "w"]})
    with pytest.raises(UserError, match="no variable chosen"):
        record_states(spec, IMAGES, {"3": []})
    with pytest.raises(UserError, match="shape"):
        record_states(spec, IMAGES[:, :1], {"3": ["v"]})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of the digits, learnt in an epoch."""
    network = {**GRID["set"]["network"], "channels": [4, 6], "strides": [1, 2]}
    folder = tmp_path_factory.mktemp("runs") / "run"
    return learnt(folder, "der", network=network, simulation={"backend": "numpy"})


def trace(*arguments: object) -> int:
    return call("trace", *arguments)


def test_the_membranes_of_the_digits_network_are_the_same(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trace"
    assert trace(checkpoint, "--layer", "all", "--neurons", "all", "--images", 7, 2, 39, "--out", out) == 0
    record = load_record(checkpoint.parent.parent / "spikes" / "task-02.npz")
    with np.load(out / "states.npz") as file:
        assert file["images"].tolist() == [2, 7, 39] and file["labels"].tolist() == record.labels[[2, 7, 39]].tolist()
        for name, layer in record.layers.items():
            assert file[f"torch:{name}:v"].shape == (3, *layer.shape[1:])
            assert np.abs(file[f"torch:{name}:v"] - file[f"brian2:{name}:v"]).max() < 1e-12
            # The same images as in the run, with the same spikes.
            assert np.array_equal(file[f"spikes:{name}"], layer.brian2()[[2, 7, 39]])
        assert len(record.layers) == 4
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + len(record.layers) and lines[0].split()[0] == "layer"
    # The digits' classes are called as they look; the run learnt them in another order.
    shown = [(k, class_order(1993, 10)[record.labels[k]]) for k in (2, 7, 39)]
    assert lines[-2] == f"images: {', '.join(f'{number} (class {name})' for number, name in shown)}"
    assert [k for k, name in shown if record.labels[k] != name] and "class_names" in np.load(out / "states.npz").files


def test_the_backend_asked_for_records(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    record = CppBackend.record_states

    def recorded(backend: CppBackend, plan: SimulationPlan, *rest: Any) -> Any:
        seen.append((plan.backend, plan.connectivity))
        return record(backend, plan, *rest)

    monkeypatch.setattr(CppBackend, "record_states", recorded)
    options = ("--backend", "cpp", "--connectivity", "shared", "--images", 1)
    assert trace(checkpoint, "--layer", "all", *options, "--out", tmp_path / "trace") == 0
    assert seen == [("cpp", "shared")] and "extractors.1" in capsys.readouterr().out


def test_some_neurons_are_kept_and_drawn(checkpoint: Path, tmp_path: Path) -> None:
    layer, out = "extractors.1.stages.0.lif", tmp_path / "trace"
    assert trace(checkpoint, "--layer", layer, "--neurons", 9, 0, 5, "--images", 1, "--out", out) == 0
    with np.load(out / "states.npz") as file:
        assert file[f"neurons:{layer}"].tolist() == [0, 5, 9] and file[f"brian2:{layer}:v"].shape[2] == 3
    assert sorted(f.name for f in out.iterdir() if f.name != LOCK) == [
        f"{layer}-v-image-1.png",
        f"{layer}-v-image-1.svg",
        "states.npz",
    ]


@pytest.mark.parametrize(("difference", "code"), [(0.0, 0), (1e-3, 1), (np.nan, 1), (None, 1)])
def test_only_what_was_compared_and_is_the_same_is_a_success(
    difference: float | None, code: int, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(InnerState, "largest_difference", property(lambda state: difference))
    assert trace(checkpoint, "--layer", "all", "--neurons", 0, "--images", 1, "--out", tmp_path / "trace") == code
    assert ("nothing was compared" in capsys.readouterr().out) == (difference is None)


def test_of_no_neuron_no_difference_is_known() -> None:
    values = np.zeros((1, 2, 3))
    state = InnerState("a", "v", np.arange(3), values, values, None, None)
    assert state.largest_difference == 0.0 and state.of([]).largest_difference is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--layer", "x"], "no layer 'x'"),
        (["--layer", "all", "--variable", "w"], "no variable 'w'"),
        (["--layer", "all", "--neurons", "99999"], "no number 99999"),
        (["--layer", "all", "--neurons", "-1"], "--neurons"),
        (["--layer", "all", "--images", "99999"], "no number 99999"),
    ],
)
def test_bad_input_is_one_sentence(
    checkpoint: Path, tmp_path: Path, arguments: list[object], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trace(checkpoint, *arguments, "--out", tmp_path / "trace") == 2
    error = capsys.readouterr().err
    assert says in error and not (tmp_path / "trace").exists()


def test_nothing_is_overwritten(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace(checkpoint, "--layer", "all", "--out", checkpoint.parent) == 2
    assert "already holds files" in capsys.readouterr().err


@pytest.mark.slow
def test_the_compiled_network_leaves_the_membranes_that_pytorch_leaves(checkpoint: Path) -> None:
    from alade_brian.learning.checkpoint import load_checkpoint
    from alade_brian.runs.subject import read_trained_network

    subject = read_trained_network(checkpoint, 6)
    network, _ = load_checkpoint(checkpoint)
    names = [p.name for p in subject.spec.spiking]
    compiled = simulate(subject.spec, subject.images.images, CPP, traces=names)
    for state in inner_states(network, subject.spec, subject.images.images, {name: ["v"] for name in names}):
        # The engine records the end of a step: these neurons have then been reset to zero.
        left = np.where(state.spikes, 0.0, state.torch)
        assert np.abs(compiled.traces[state.layer] - left).max() < TOLERANCE
