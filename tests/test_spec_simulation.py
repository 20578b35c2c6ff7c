"""Everything a specification can say, simulated by Brian2 and by a second, plain numpy program: the same spikes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import CPP, NUMPY
from reference import reference

from alade_brian.conversion.to_brian2.script import write_script
from alade_brian.simulation import SimulationSettings, simulate
from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
    MaxPooling,
    NetworkSpec,
    NeuronEquations,
    Pooling,
    Population,
    Projection,
    Readout,
    Sparse,
    Stimulus,
    TransposedConvolution,
    constant,
)
from alade_brian.spec.file import load_spec, save_spec

DRAW = np.random.default_rng(7)
LEAK = "dv/dt = (v_leak - v)/tau : 1"
SPIKES = {"v_threshold": constant(1.0), "v_reset": constant(0.0)}


def lif(**changes: object) -> NeuronEquations:
    parameters = {**SPIKES, "tau": constant(1.7, "step"), "v_leak": constant(0.1)}
    fields: dict[str, object] = {"model": LEAK, "parameters": parameters | changes.pop("parameters", {})}  # type: ignore[operator]
    return NeuronEquations(**{**fields, **changes})  # type: ignore[arg-type]


PROBE = NeuronEquations("v : 1\nx : 1", spiking=False, reset="none", input="x", update="v = x\nx = 0")
INTEGRATOR = NeuronEquations("v : 1", spiking=False, reset="none")
LI = NeuronEquations(LEAK, {"tau": constant(2.3, "step"), "v_leak": constant(-0.2)}, spiking=False, reset="none")
NEURONS = {
    "lif": lif(),
    "euler": lif(method="euler", comparison=">="),
    "per neuron": lif(parameters={"tau": constant(DRAW.uniform(1.2, 4, (4, 3, 3)), "step"), "v_threshold": constant(DRAW.uniform(0.5, 1.5, (4, 1, 1)))}),
    "subtract": lif(reset="subtract", parameters={"v_reset": constant(0.7)}),
    "late": lif(reset="subtract", leak="before_reset", parameters={"v_reset": constant(0.9)}),
    "late to a value": lif(leak="before_reset", parameters={"v_reset": constant(-0.3)}),
    "no reset": lif(reset="none"),
    "begins elsewhere": lif(parameters={"v_initial": constant(0.8)}),
    "graded": lif(parameters={"amplitude": constant(DRAW.uniform(0.5, 2, (4, 3, 3)))}),
    "scaled input": lif(model=f"{LEAK}\ndrive : 1", input="drive", update="v += gain*drive\ndrive = 0", parameters={"gain": constant(0.6)}),
    "synaptic current": lif(
        model=f"{LEAK}\ndsyn/dt = -syn/tau_syn : 1", input="syn", update="v += gain*syn",
        parameters={"tau_syn": constant(3.0, "step"), "gain": constant(0.4)},
    ),
    "adaptive threshold": lif(
        model=f"{LEAK}\nda/dt = -a/tau_a : 1", threshold="v_threshold + a", on_spike="a += jump",
        parameters={"tau_a": constant(4.0, "step"), "jump": constant(0.3)},
    ),
    "no memory": NeuronEquations("v : 1\nx : 1", {"v_threshold": constant(0.4)}, reset="none", input="x", update="v = x\nx = 0"),
}  # fmt: skip


def network(neuron: NeuronEquations, coding: str = "direct", steps: int = 9) -> NetworkSpec:
    """Two stimuli into a layer with recurrence of two kinds, a current and its maxima on their way, and one layer behind
    it."""
    draw = np.random.default_rng(3)
    uniform = draw.uniform
    populations = (
        Population("hidden", (4, 3, 3), neuron, uniform(-0.2, 0.3, (4, 3, 3))),
        Population("li", (4, 3, 3), LI),
        Population("behind", (2, 4, 4), lif()),
        Population("largest", (4, 2, 2), PROBE, np.linspace(-0.3, 0.3, 16).reshape(4, 2, 2)),
        Population("answer", (3,), INTEGRATOR, uniform(-0.1, 0.1, 3)),
    )
    projections = (
        Projection("left", "hidden", Convolution(uniform(-0.7, 1, (4, 2, 2, 2)), padding=(0, 0))),
        Projection("right", "hidden", Dense(uniform(-0.5, 0.7, (36, 5)))),
        Projection("hidden", "hidden", Convolution(uniform(-0.3, 0.3, (4, 1, 3, 3)), (1, 1), (1, 1), 4), delay=1),
        Projection("hidden", "hidden", Identity(uniform(-0.5, 0.1, (4, 3, 3))), delay=3),
        Projection("li", "hidden", Identity(np.array([-0.2, 0.1, 0.3, -0.1])), delay=1),
        Projection("hidden", "li", Pooling((3, 3), (1, 1), padding=(1, 1), average=False)),
        Projection("hidden", "behind", TransposedConvolution(uniform(-0.3, 0.5, (4, 2, 2, 2)))),
        Projection("li", "behind", Sparse([0, 5, 31], [35, 2, 0], [0.5, 0.7, -0.3], (2, 4, 4))),
        Projection("behind", "answer", Dense(uniform(-1, 1, (3, 32)))),
        Projection("behind", "li", Sparse([], [], [], (4, 3, 3)), delay=1),
        Projection("behind", "hidden", Dense(uniform(-0.1, 0.1, (36, 32))), delay=2),
        Projection("li", "answer", Dense(uniform(-0.1, 0.1, (3, 36)))),
        Projection("li", "largest", MaxPooling((2, 2), (2, 2), (1, 1))),
        Projection("largest", "answer", Dense(uniform(-0.1, 0.1, (3, 16)))),
    )
    stimuli = (Stimulus((2, 4, 4), "left", coding), Stimulus((5,), "right", coding))  # type: ignore[arg-type]
    return NetworkSpec(stimuli, populations, projections, Readout("answer"), steps, dt=2e-3)


def shown(spec: NetworkSpec, count: int = 3) -> dict[str, np.ndarray]:
    draw, direct = np.random.default_rng(5), spec.stimulus.coding == "direct"
    return {s.name: draw.uniform(-0.5, 1, (count, *(() if direct else (spec.steps,)), *s.shape)) for s in spec.stimuli}


def assert_as_reference(spec: NetworkSpec, settings: SimulationSettings) -> None:
    images = shown(spec)
    names = [p.name for p in spec.populations]
    found = simulate(spec, images, settings, traces=names)
    spikes, membranes = reference(spec, images)
    for population in spec.populations:
        name = population.name
        if population.neuron.spiking:
            assert spikes[name].any() and not spikes[name].all(), name
            assert np.array_equal(found.spikes[name], spikes[name]), name
        assert np.allclose(found.traces[name], membranes[name], rtol=1e-9, atol=1e-12), name
    assert np.allclose(found.logits, membranes["answer"][:, -1] / spec.steps, rtol=1e-9)


@pytest.mark.parametrize("coding", ["direct", "sequence"])
@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_in_a_network_of_everything(name: str, coding: str) -> None:
    assert_as_reference(network(NEURONS[name], coding), dataclasses.replace(NUMPY, batch=2))


@pytest.mark.parametrize("coding", ["direct", "sequence"])
def test_compiled_code_does_the_same(coding: str) -> None:
    assert_as_reference(network(NEURONS["synaptic current"], coding), dataclasses.replace(CPP, batch=2))


def test_a_wrong_convention_would_be_seen() -> None:
    spec = network(NEURONS["subtract"])
    spikes, _ = reference(spec, shown(spec))
    other = simulate(network(NEURONS["late"]), shown(spec), NUMPY)
    assert not np.array_equal(other.spikes["hidden"], spikes["hidden"])


READOUTS = {
    "mean_membrane": lambda spikes, v: v["li"].mean(1),
    "last_membrane": lambda spikes, v: v["li"][:, -1],
    "max_membrane": lambda spikes, v: v["li"].max(1),
    "every_step": lambda spikes, v: v["li"],
    "spike_count": lambda spikes, v: spikes["hidden"].sum(1),
    "spike_rate": lambda spikes, v: spikes["hidden"].mean(1),
}


@pytest.mark.parametrize("decoding", READOUTS)
def test_readouts(decoding: str) -> None:
    spec = network(NEURONS["late"])
    population = "hidden" if decoding.startswith("spike") else "li"
    spec = dataclasses.replace(spec, readout=Readout(population, decoding))  # type: ignore[arg-type]
    images = shown(spec)
    assert np.allclose(simulate(spec, images, NUMPY).logits, READOUTS[decoding](*reference(spec, images)))


def test_first_spike_and_population_code() -> None:
    spec = network(NEURONS["late"])
    images = shown(spec)
    spikes = reference(spec, images)[0]["hidden"]
    first = dataclasses.replace(spec, readout=Readout("hidden", "first_spike"))
    expected = [[-min(np.flatnonzero(s), default=spec.steps) for s in image.T] for image in spikes]
    assert np.array_equal(simulate(first, images, NUMPY).logits, expected)
    for decoding, together in (("spike_count", np.sum), ("spike_rate", np.mean)):
        coded = dataclasses.replace(spec, readout=Readout("hidden", decoding, neurons_per_output=12))  # type: ignore[arg-type]
        answers = (spikes.sum(1) if decoding == "spike_count" else spikes.mean(1)).reshape(3, 3, 12)
        assert np.allclose(simulate(coded, images, NUMPY).logits, together(answers, -1))


def test_a_membrane_is_read_before_or_after_its_reset() -> None:
    spec = network(NEURONS["lif"])
    images = shown(spec)
    spikes, _ = reference(spec, images)
    after, before = (
        simulate(dataclasses.replace(spec, readout=Readout("hidden", "every_step")), images, NUMPY, ["hidden"]),
        simulate(dataclasses.replace(spec, readout=Readout("hidden", "max_membrane")), images, NUMPY),
    )
    assert np.array_equal(after.logits, spikes["hidden"])
    assert np.all(after.traces["hidden"][spikes["hidden"]] == 0)
    assert np.all((before.logits > 1) == spikes["hidden"].any(1))


@pytest.mark.parametrize("coding", ["direct", "sequence"])
def test_a_file_keeps_everything(coding: str, tmp_path: Path) -> None:
    spec = network(NEURONS["synaptic current"], coding)
    save_spec(spec, tmp_path / "net.npz")
    again, images = load_spec(tmp_path / "net.npz"), shown(spec)
    assert np.array_equal(
        simulate(again, images, NUMPY).spikes["behind"], simulate(spec, images, NUMPY).spikes["behind"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("coding", "neuron", "readout"),
    [
        ("direct", "adaptive threshold", Readout("answer")),
        ("sequence", "late", Readout("hidden", "spike_count", neurons_per_output=12)),
        ("direct", "graded", Readout("hidden", "every_step")),
    ],
)
def test_the_exported_script_does_the_same(coding: str, neuron: str, readout: Readout, tmp_path: Path) -> None:
    spec = dataclasses.replace(network(NEURONS[neuron], coding), readout=readout)
    images = shown(spec)
    write_script(spec, tmp_path / "model.py")
    np.savez(tmp_path / "images.npz", **images)  # type: ignore[arg-type]
    command = [sys.executable, "model.py", "images.npz", "answers.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers, expected = np.load(tmp_path / "answers.npz"), simulate(spec, images, NUMPY)
    assert np.allclose(answers["logits"], expected.logits, rtol=1e-12)
    for name in ("hidden", "behind"):
        raster = np.zeros_like(expected.spikes[name])
        raster[answers[f"{name}_image"], answers[f"{name}_step"], answers[f"{name}_neuron"]] = True
        assert np.array_equal(raster, expected.spikes[name])
