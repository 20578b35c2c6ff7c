"""Maxima of currents: what the specification allows, every engine against a plain reference, exports, and networks of
snnTorch's users that pool before their neurons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brian2 as b2
import numpy as np
import pytest
import torch
from emulated_cuda import emulate
from networks import CPP, NUMPY
from reference import reference
from test_export import assert_rasters, run_alone
from test_spec_simulation import LI, PROBE, lif
from torch import Tensor, nn
from torch.nn import functional as F

from alade_brian.analysis.metrics.energy import current_operations
from alade_brian.conversion.nir_graphs.write import NotInNIR, to_nir
from alade_brian.conversion.to_brian2.script import write_script
from alade_brian.conversion.to_nest.plan import nest_plan
from alade_brian.errors import UserError
from alade_brian.simulation import SimulationSettings, simulate, synaptic_events
from alade_brian.simulation.live_network import to_brian2
from alade_brian.simulation.simulator import open_simulator
from alade_brian.spec import (
    Convolution,
    Dense,
    Identity,
    MaxPooling,
    NetworkSpec,
    Pooling,
    Population,
    Projection,
    Readout,
    SpecError,
    Stimulus,
    constant,
)
from alade_brian.spec.cost_table import synapses_per_projection
from alade_brian.spec.file import load_spec, save_spec
from alade_brian.spec.parts import split
from alade_brian.spikes.responses import Responses
from alade_brian.verification.diagnosis.diagnose import diagnose
from alade_brian.verification.diagnosis.isolated_layer import held_values, isolate
from alade_brian.verification.diagnosis.known_faults import hypotheses
from alade_brian.verification.verify import verify

SEPARATE = dataclasses.replace(CPP, passes="separate")
EXPLICIT = dataclasses.replace(NUMPY, connectivity="explicit")


def two_axes() -> NetworkSpec:
    """Convolved spikes through maxima of three kinds: padded and cut, of a maximum, straight into neurons."""
    draw = np.random.default_rng(0).normal
    first, second = MaxPooling((3, 2), (2, 1), (1, 1), ceil_mode=True), MaxPooling((2, 2), (1, 1), dilation=(1, 2))
    third = MaxPooling((1, 3), (2, 2))
    values = (35, 6, 5)
    pooled = first.output_shape(values)
    twice, thrice = second.output_shape(pooled), third.output_shape(values)
    populations = (
        Population("stem", (3, 6, 5), lif(), draw(size=(3, 6, 5)) * 0.1 + 0.2),
        Population("values", values, PROBE, draw(size=values) * 0.3),
        Population("pooled", pooled, PROBE),
        Population("twice", twice, PROBE, draw(size=twice) * 0.1),
        Population("neurons", thrice, lif(), draw(size=thrice) * 0.1),
        Population("behind", (2, *twice[1:]), lif()),
        Population("answer", (4,), PROBE),
    )
    projections = (
        Projection("image", "stem", Convolution(draw(size=(3, 2, 3, 3)) * 0.4, padding=(1, 1))),
        Projection("stem", "values", Convolution(draw(size=(35, 3, 3, 3)) * 0.4, padding=(1, 1))),
        Projection("stem", "values", Convolution(draw(size=(35, 3, 1, 1)) * 0.2), delay=2),
        Projection("values", "pooled", first),
        Projection("pooled", "twice", second),
        Projection("values", "neurons", third),
        Projection("stem", "neurons", Dense(draw(size=(int(np.prod(thrice)), 90)) * 0.1), delay=1),
        Projection("twice", "behind", Convolution(draw(size=(2, 35, 1, 1)) * 0.4)),
        Projection("neurons", "answer", Dense(draw(size=(4, int(np.prod(thrice)))))),
        Projection("behind", "answer", Dense(draw(size=(4, int(np.prod(twice[1:]) * 2))))),
    )
    return NetworkSpec((Stimulus((2, 6, 5)),), populations, projections, Readout("answer", "every_step"), 5)


def one_axis() -> NetworkSpec:
    """A sequence, whose numbers themselves are pooled."""
    draw = np.random.default_rng(1).normal
    window = MaxPooling((1, 3), (1, 2), (0, 1))
    populations = (
        Population("shown", (3, 8), PROBE),
        Population("largest", window.output_shape((3, 8)), PROBE),
        Population("neurons", (3, 2), lif()),
    )
    projections = (
        Projection("image", "shown", Identity(np.array([1.0, -1.0, 2.0]))),
        Projection("shown", "largest", window),
        Projection("largest", "neurons", Pooling((1, 2), (1, 2), draw(size=3) + 1.5)),
    )
    stimulus = Stimulus((3, 8), coding="sequence")
    return NetworkSpec((stimulus,), populations, projections, Readout("neurons", "spike_count"), 6)


NETWORKS = {"two axes": two_axes, "one axis": one_axis}


def images(spec: NetworkSpec, count: int = 3) -> np.ndarray:
    rows = () if spec.stimulus.coding == "direct" else (spec.steps,)
    return np.random.default_rng(5).normal(size=(count, *rows, *spec.stimulus.shape))


def assert_as_reference(spec: NetworkSpec, answer: Responses) -> None:
    """Every spike, and all membranes."""
    spikes, membranes = reference(spec, {"image": images(spec)})
    for population in spec.spiking:
        assert spikes[population.name].any() and not spikes[population.name].all()
        assert np.array_equal(answer.spikes[population.name], spikes[population.name]), population.name
    for population in spec.populations:
        found, expected = answer.traces[population.name], membranes[population.name]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def simulated(spec: NetworkSpec, settings: SimulationSettings) -> Responses:
    return simulate(spec, images(spec), settings, [p.name for p in spec.populations])


@pytest.mark.parametrize("name", NETWORKS)
def test_shared_and_listed_synapses_take_the_same_maxima(name: str) -> None:
    spec = NETWORKS[name]()
    for settings in (NUMPY, EXPLICIT):
        assert_as_reference(spec, simulated(spec, settings))


def test_generated_code_takes_the_same_maxima_and_counts_the_same_events() -> None:
    spec = two_axes()
    [(_, streamed)] = open_simulator(spec, CPP, [p.name for p in spec.populations]).packed_chunks(images(spec))
    assert_as_reference(spec, found := streamed.unpacked())
    assert streamed.events is not None and streamed.events.sum() == synaptic_events(spec, found) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_other_engine_takes_the_same_maxima(name: str) -> None:
    """Fused passes, separate passes, lists of synapses, all in C++, and the GPU's kernels on a stand-in."""
    spec = NETWORKS[name]()
    for settings in (CPP, SEPARATE, dataclasses.replace(CPP, connectivity="explicit")):
        assert_as_reference(spec, simulated(spec, settings))
    emulated = emulate(spec, images(spec), CPP.cache_folder, 2, traces=[p.name for p in spec.populations])
    assert_as_reference(spec, emulated)


@pytest.mark.slow
def test_single_precision_takes_the_same_maxima() -> None:
    spec = two_axes()
    shown, settings = images(spec), dataclasses.replace(CPP, dtype="float32")
    names = ["values", "pooled"]
    found = simulate(spec, shown, settings, names)
    values = torch.from_numpy(found.traces["values"]).reshape(-1, 35, 6, 5)
    largest = F.max_pool2d(values, (3, 2), (2, 1), (1, 1), ceil_mode=True)
    assert np.array_equal(found.traces["pooled"].ravel(), largest.numpy().ravel())
    plain = dataclasses.replace(EXPLICIT, dtype="float32")
    assert np.allclose(simulate(spec, shown, plain, names).traces["pooled"], found.traces["pooled"], atol=1e-5)


@pytest.mark.parametrize("name", ["two axes", pytest.param("one axis", marks=pytest.mark.slow)])
def test_the_script_and_the_live_network_take_the_same_maxima(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = NETWORKS[name]()
    shown, expected = images(spec), simulate(spec, images(spec), NUMPY)
    write_script(spec, tmp_path / "model.py")
    assert_rasters(run_alone(tmp_path / "model.py", shown), expected)
    monkeypatch.setitem(b2.prefs, "codegen.target", "numpy")
    live = to_brian2(spec, shown)
    live.network.run(live.duration)
    assert np.array_equal(live.responses().logits, expected.logits)


def test_a_file_keeps_maxima_and_other_programs_are_told_that_there_are_some(tmp_path: Path) -> None:
    spec = two_axes()
    save_spec(spec, tmp_path / "net.npz")
    again = load_spec(tmp_path / "net.npz")
    assert dataclasses.astuple(again.projections[3].operator) == dataclasses.astuple(spec.projections[3].operator)
    with pytest.raises(NotInNIR, match="values -> pooled takes the maximum of every window, for which NIR has no node"):
        to_nir(spec)
    with pytest.raises(UserError, match="NEST cannot simulate the projection values -> pooled exactly"):
        nest_plan(spec)


def test_comparisons_are_counted_as_accumulates() -> None:
    spec = two_axes()
    counts = synapses_per_projection(spec)
    found = current_operations(spec, counts)["pooled"]
    image = np.ones((1, 1, 6, 5))
    padded = F.unfold(torch.from_numpy(np.pad(image, ((0, 0), (0, 0), (1, 2), (1, 1)))), (3, 2), stride=(2, 1))
    assert (found.macs, found.accumulates) == (0, 5 * 35 * int(padded.sum()))


def grown() -> NetworkSpec:
    """A readout that sums the spikes of two extractors, which pool the currents of their second layer."""
    window, populations, projections = MaxPooling((2, 2), (2, 2)), [], []
    for task in range(2):
        draw, first, values, largest, last = np.random.default_rng(task).normal, *(f"{task}.{k}" for k in "abcd")
        populations += [Population(first, (3, 6, 4), lif()), Population(values, (5, 6, 4), PROBE)]
        populations += [Population(largest, (5, 3, 2), PROBE), Population(last, (5, 3, 2), lif())]
        projections += [
            Projection("image", first, Convolution(draw(size=(3, 1, 3, 3)), padding=(1, 1))),
            Projection(first, values, Convolution(draw(size=(5, 3, 3, 3)), padding=(1, 1))),
            Projection(values, largest, window),
            Projection(largest, last, Identity(np.array([1.0, 0.5, -1.0, 2.0, 1.0]))),
            Projection(last, "head", Dense(draw(size=(3, 30)))),
        ]
    head = Population("head", (3,), PROBE)
    return NetworkSpec((Stimulus((1, 6, 4)),), (*populations, head), tuple(projections), Readout("head"), 4)


def test_maxima_stay_within_the_extractors_of_a_growing_network() -> None:
    spec = grown()
    parts = split(spec)
    assert parts is not None and len(parts.extractors) == 2
    whole = simulate(spec, images(spec), NUMPY)
    for extractor in parts.extractors:
        found = simulate(extractor, images(spec), NUMPY)
        assert all(np.array_equal(raster, whole.spikes[name]) and raster.any() for name, raster in found.spikes.items())


@pytest.mark.slow
def test_a_growing_network_is_simulated_in_parts_with_its_maxima(tmp_path: Path) -> None:
    spec, settings = grown(), dataclasses.replace(CPP, reuse=True, cache=tmp_path)
    wanted = simulate(spec, images(spec), NUMPY)
    for _ in range(2):  # the second time the extractors' answers are read
        found = simulate(spec, images(spec), settings)
        assert all(np.array_equal(found.spikes[name], raster) for name, raster in wanted.spikes.items())
        np.testing.assert_allclose(found.logits, wanted.logits, rtol=1e-12)


def test_a_fault_behind_a_maximum_is_named() -> None:
    """A layer that reads maxima is judged by what it is given; and what is wrong before them is found there."""
    spec, shown = two_axes(), images(two_axes(), 6)
    ours = simulate(spec, shown, NUMPY)
    other = spec.replace_neuron("behind", reset="none")
    found = diagnose(spec, simulate(other, shown, NUMPY), ours, shown, "behind")
    assert found.explained and found.hypothesis == "reset", str(found)
    quiet = spec.population("stem").neuron.parameters | {"v_threshold": constant(1.4)}
    elsewhere = simulate(spec.replace_neuron("stem", parameters=quiet), shown, NUMPY)
    found = diagnose(spec, elsewhere, ours, shown, "behind")
    assert found.elsewhere and "fed with the recorded spikes of stem" in str(found), str(found)
    again = spec.replace_neuron(
        "neurons",
        comparison=">=",
        parameters=spec.population("neurons").neuron.parameters | {"v_threshold": constant(0.6)},
    )
    assert diagnose(spec, simulate(again, shown, NUMPY), ours, shown, "neurons").explained


@pytest.mark.parametrize(("network", "layer", "expected"), [(two_axes, "neurons", 0), (two_axes, "behind", 0), (two_axes, "stem", 2), (one_axis, "neurons", 2)])  # fmt: skip
def test_only_what_comes_from_images_alone_may_be_their_scale(
    network: Callable[[], NetworkSpec], layer: str, expected: int
) -> None:
    """A maximum of currents from spikes is no image; one of an image is."""
    spec = network()
    sent = {"image": np.zeros((1, spec.steps, spec.stimulus.size))}
    sent |= {p.name: np.zeros((1, spec.steps, p.size)) for p in spec.spiking}
    found = hypotheses(isolate(spec, sent | held_values(spec, sent), layer, None))
    assert sum("an input image" in hypothesis.text for hypothesis in found) == expected


def test_nothing_is_diagnosed_behind_a_maximum_of_membranes_with_memory() -> None:
    spec = two_axes()
    leaking = spec.replace_population("values", neuron=LI)
    shown = images(spec)
    found = diagnose(leaking, simulate(spec, shown, NUMPY), simulate(leaking, shown, NUMPY), shown, "neurons")
    assert "reads the maximum of membranes that have a memory" in str(found) and not found.explained


def changed(number: int, **fields: Any) -> Callable[[], object]:
    def change() -> object:
        spec = two_axes()
        projections = list(spec.projections)
        projections[number] = dataclasses.replace(projections[number], **fields)
        return dataclasses.replace(spec, projections=tuple(projections))

    return change


REFUSED = {
    "of spikes": (changed(3, source="stem"), "never spikes"),
    "of a stimulus": (changed(3, source="image"), "never spikes"),
    "of what comes later": (changed(5, source="behind", delay=1), "never spikes"),
    "of the step before": (changed(3, delay=1), "without delay"),
    "into another variable": (changed(3, target_variable="v"), "is a current"),
    "into another shape": (changed(3, target="twice"), "the shape of the maximum"),
    "without a pixel": (changed(3, operator=MaxPooling((1, 1), (5, 5), (3, 3))), "holds no pixel"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_maximum_that_means_nothing_is_refused(case: str) -> None:
    change, words = REFUSED[case]
    with pytest.raises(SpecError, match=words):
        change()


# Networks of users --------------------------------------------------------------------------------------------------


class Tutorial(nn.Module):
    """The convolutional network of snnTorch's tutorial 6, as a class whose forward is one step or all of them."""

    def __init__(self, steps: int | None) -> None:
        snn = pytest.importorskip("snntorch")
        super().__init__()
        self.steps = steps
        self.conv1, self.lif1 = nn.Conv2d(1, 12, 5), snn.Leaky(beta=0.5)
        self.conv2, self.lif2 = nn.Conv2d(12, 64, 5), snn.Leaky(beta=0.5)
        self.fc1, self.lif3 = nn.Linear(64 * 4 * 4, 10), snn.Leaky(beta=0.5)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Any:
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spikes = []
        for _ in range(self.steps or 1):
            spk1, mem1 = self.lif1(F.max_pool2d(self.conv1(x), 2), mem1)
            spk2, mem2 = self.lif2(self.pool(self.conv2(F.dropout(spk1, 0.5, self.training))), mem2)
            spk3, mem3 = self.lif3(self.fc1(torch.flatten(spk2, 1)), mem3)
            spikes.append(spk3)
        return torch.stack(spikes)


def sequential() -> nn.Module:
    snn = pytest.importorskip("snntorch")

    def leaky(**more: bool) -> nn.Module:
        return snn.Leaky(beta=0.5, init_hidden=True, **more)

    return nn.Sequential(
        nn.Conv2d(1, 12, 5), nn.MaxPool2d(2), leaky(), nn.Conv2d(12, 64, 5), nn.MaxPool2d(2), leaky(),
        nn.Flatten(), nn.Linear(64 * 4 * 4, 10), leaky(output=True),
    )  # fmt: skip


@pytest.mark.parametrize("form", ["sequential", "class"])
def test_the_network_of_snntorchs_tutorial_spikes_alike(form: str) -> None:
    """As a user has it: an image is held, the sequential form is called in a loop outside."""
    torch.manual_seed(0)
    net = sequential() if form == "sequential" else Tutorial(steps=6)
    (last,) = (module for module in net.modules() if isinstance(module, nn.Linear))
    last.weight.data *= 10  # an untrained network would be silent there
    shown = np.random.default_rng(0).random((4, 1, 28, 28)) * 10
    found = verify(net, shown, settings=NUMPY, steps=6)
    assert found.mismatched_spikes == 0 and len(found.layers) == 3
    assert all(layer.spikes_reference > 0 for layer in found.layers), str(found)
