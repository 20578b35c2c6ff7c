"""Writing NIR: nothing is lost on the way there and back, and what a reader without our metadata sees is right."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from networks import NUMPY, conv_net, convert, dyadic_images
from nir_interpreter import NirInterpreter
from nir_specs import assert_specs_equal, specs
from test_random_networks import networks

from alade_brian.conversion.nir_graphs.read import open_nir, read_nir
from alade_brian.conversion.nir_graphs.write import (
    NotInNIR,
    reader_warnings,
    same_graph,
    to_nir,
    write_nir,
    written_spec,
)
from alade_brian.models import LIF
from alade_brian.simulation import simulate
from alade_brian.spec import (
    Dense,
    Identity,
    NetworkSpec,
    NeuronEquations,
    Population,
    Projection,
    Readout,
    Stimulus,
    constant,
)
from alade_brian.verification.torch_reference import record

# ALADE_BRIAN_EXAMPLES=3000 python -m pytest tests/test_nir_write.py for the long run.
EXAMPLES = int(os.environ.get("ALADE_BRIAN_EXAMPLES", "100"))


def drawn(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


def assert_comes_back(spec: NetworkSpec, file: Path) -> None:
    write_nir(spec, file)
    assert_specs_equal(spec, read_nir(file))
    # nir's own type check passes, and adds nothing.
    graph = nir.read(file)
    assert_specs_equal(spec, read_nir(graph))
    # So does a file of an earlier version, which did not say what a cycle delays.
    said = json.loads(graph.metadata["alade_brian"])
    assert said.pop("cycle_delay") == "spikes"
    graph.metadata["alade_brian"] = json.dumps(said)
    assert_specs_equal(spec, read_nir(graph))


def test_a_specification_comes_back_from_nir_as_it_was(tmp_path: Path) -> None:
    @drawn(EXAMPLES)
    @given(specs())
    def check(spec: NetworkSpec) -> None:
        assert_comes_back(spec, tmp_path / "net.nir")
        reader_warnings(spec)

    check()


def test_random_torch_networks_come_back_from_nir(tmp_path: Path) -> None:
    seen = {"written": 0, "refused": 0}

    @drawn(max(1, EXAMPLES // 5))
    @given(networks())
    def check(net_and_image: tuple) -> None:
        spec = convert(*net_and_image[:2])
        try:
            assert_comes_back(spec, tmp_path / "net.nir")
            seen["written"] += 1
        except NotInNIR:
            seen["refused"] += 1

    check()
    assert seen["written"] > seen["refused"], seen


def test_a_reader_without_our_metadata_sees_the_same_network() -> None:
    """What NIR can say is run by the interpreter, which knows nothing of us, and by the plain reader."""
    seen = {"networks": 0, "spikes": 0}

    @drawn(max(1, EXAMPLES // 6))
    @given(specs(plain=True))
    def check(spec: NetworkSpec) -> None:
        methods = {p.neuron.method for p in spec.populations if "/dt" in p.neuron.model}
        assume(len(methods) < 2 and not any("late" in w for w in reader_warnings(spec)))
        seen["networks"] += 1
        seen["spikes"] += assert_nir_says_it(spec, next(iter(methods), "exact"))

    check()
    assert seen["spikes"] > seen["networks"] > 0, seen


def assert_nir_says_it(spec: NetworkSpec, method: str) -> int:
    graph = to_nir(spec)
    nodes = json.loads(graph.metadata.pop("alade_brian"))["nodes"]
    draw = np.random.default_rng(1)
    shown = {s.name: draw.normal(0.5, 1, (spec.steps, *s.shape)) for s in spec.stimuli}
    inputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    found = simulate(spec, {k: v[None] for k, v in shown.items()}, NUMPY, [p.name for p in spec.populations])
    ran = NirInterpreter(graph, spec.dt, method).run(dict(zip(inputs, shown.values(), strict=True)))
    for population in spec.populations:
        node = nodes[population.name]
        wanted = np.stack(ran.membranes.get(node, ran.sent[node])).reshape(spec.steps, -1)
        np.testing.assert_allclose(found.traces[population.name][0], wanted, rtol=1e-8, atol=1e-9)
        if population.neuron.spiking:
            fired = np.stack(ran.spikes[node]).reshape(spec.steps, -1)
            np.testing.assert_array_equal(found.spikes[population.name][0], fired)
    plain = open_nir(graph, spec.steps, spec.dt, method)  # type: ignore[arg-type]
    images = {new: shown[old][None] for new, old in zip(inputs, shown, strict=True)}
    again = simulate(plain.spec, images, NUMPY)
    np.testing.assert_allclose(again.logits, found.logits, rtol=1e-8, atol=1e-9)
    return sum(int(z.sum()) for z in found.spikes.values())


def test_a_written_graph_gives_torchs_spikes(tmp_path: Path) -> None:
    spec, image = convert(conv_net(), (2, 7, 6)), dyadic_images(1, 2, 7, 6)
    write_nir(spec, tmp_path / "net.nir")
    expected = record(conv_net(), image, spec)
    graph = nir.read(tmp_path / "net.nir")
    ran = NirInterpreter(graph, spec.dt, "exact").run({"input": np.repeat(image, spec.steps, 0)})
    for name in ("3", "6"):
        assert expected.spikes[name].any()
        np.testing.assert_array_equal(np.stack(ran.spikes[name]).reshape(spec.steps, -1), expected.spikes[name][0])
    # The readout's integrator holds the sum of the logits.
    np.testing.assert_allclose(ran.sent["output"][-1] / spec.steps, expected.logits[0])


def test_weights_stand_in_the_nodes_only_and_may_be_changed_there(tmp_path: Path) -> None:
    spec, file = convert(conv_net(), (2, 7, 6)), tmp_path / "net.nir"
    write_nir(spec, file)
    graph = nir.read(file)
    assert "zlib" not in graph.metadata["alade_brian"] and "-0." not in graph.metadata["alade_brian"]
    graph.nodes["6.in0.0"].weight[2, 1, 0, 0] = 7.25
    graph.nodes["3"].v_threshold[:] = 0.75
    nir.write(file, graph)
    changed = read_nir(file)
    (projection,) = changed.inputs("6")
    weight = np.array(spec.inputs("6")[0].operator.weight)  # type: ignore[union-attr]
    weight[2, 1, 0, 0] = 7.25
    operator = dataclasses.replace(projection.operator, weight=weight)  # type: ignore[call-overload]
    parameters = {**spec.population("3").neuron.parameters, "v_threshold": constant(0.75)}
    wanted = spec.replace_neuron("3", parameters=parameters)
    projections = [dataclasses.replace(p, operator=operator) if p.target == "6" else p for p in wanted.projections]
    assert_specs_equal(changed, dataclasses.replace(wanted, projections=tuple(projections)))


def test_a_change_that_the_structure_does_not_allow_is_read_as_nir_says_it() -> None:
    """A resistance that no longer fits the time constant, and weights outside of a list of connections."""
    spec = convert(conv_net(LIF(4, reset="subtract", v_reset=0.5, comparison=">=")), (2, 7, 6))
    graph = to_nir(spec)
    graph.nodes["3"].r = graph.nodes["3"].r / 2
    assert written_spec(graph) is None
    changed = read_nir(graph)
    halved, image = changed.population("3").neuron, dyadic_images(1, 2, 7, 6)
    assert halved.comparison == ">=" and halved.reset == "subtract" and halved.parameters["v_reset"].value == 0.5
    assert changed.readout.decoding == "mean_input" and changed.stimulus.coding == "direct"
    scaled = tuple(
        dataclasses.replace(p, operator=dataclasses.replace(p.operator, weight=p.operator.weight / 2))
        if p.target == "3"
        else p  # type: ignore[union-attr, call-overload]
        for p in spec.projections
    )
    bias = spec.population("3").bias
    assert bias is not None
    wanted = dataclasses.replace(spec, projections=scaled).replace_population("3", bias=bias / 2)
    found, expected = (simulate(s, image, NUMPY) for s in (changed, wanted))
    np.testing.assert_array_equal(found.spikes["3"], expected.spikes["3"])
    np.testing.assert_allclose(found.logits, expected.logits)


def test_metadata_that_are_damaged_do_no_harm() -> None:
    graph = to_nir(convert(conv_net(), (2, 7, 6)))
    for said in (
        "",
        "{}",
        '{"format": 2, "network": 3}',
        '{"format": 1}',
        "null",
        '{"format": 2, "network": {"class": "os"}}',
    ):
        graph.metadata["alade_brian"] = said
        assert written_spec(graph) is None
        assert [p.name for p in read_nir(graph, 4).populations] == ["3", "6", "10"]


def test_another_step_or_method_reads_the_graph_anew() -> None:
    graph = to_nir(convert(conv_net(), (2, 7, 6)))
    assert_specs_equal(read_nir(graph, dt=1e-3, discretisation="exact"), read_nir(graph))
    half = read_nir(graph, dt=5e-4)
    assert half.steps == 4 and half.readout.decoding == "mean_input"
    tau = half.population("3").neuron.parameters["tau"].value
    np.testing.assert_allclose(tau, 2 / np.log(2))
    assert read_nir(graph, discretisation="euler").population("3").neuron.method == "euler"
    assert read_nir(graph, 9).steps == 9
    assert read_nir(graph, reset="subtract").population("3").neuron.reset == "subtract"


def small(neuron: NeuronEquations, **changes: object) -> NetworkSpec:
    fields: dict[str, object] = {
        "stimuli": (Stimulus((3,)),),
        "populations": (Population("cells", (2,), neuron),),
        "projections": (Projection("image", "cells", Dense(np.ones((2, 3)))),),
        "readout": Readout("cells", "spike_count"),
        "steps": 4,
    }
    return NetworkSpec(**{**fields, **changes})  # type: ignore[arg-type]


SPIKE = {"v_threshold": constant(1.0), "v_reset": constant(0.0)}
NOT_IN_NIR = {
    "adaptive threshold": (NeuronEquations("v : 1\na : 1", SPIKE, threshold="v_threshold + a"), "v_threshold \\+ a"),
    "adaptation": (NeuronEquations("v : 1\na : 1", SPIKE, on_spike="a += 1"), "a \\+= 1"),
    "other equations": (NeuronEquations("dv/dt = -v**3/tau : 1", {**SPIKE, "tau": constant(3.0, "step")}), "v\\*\\*3"),
    "other update": (NeuronEquations("v : 1\nx : 1", SPIKE, input="x", update="v += x**2\nx = 0"), "x\\*\\*2"),
    "number as time": (NeuronEquations("dv/dt = -v/tau : 1", {**SPIKE, "tau": constant(3.0)}), "of the unit 'step'"),
}


@pytest.mark.parametrize("case", NOT_IN_NIR)
def test_what_nir_has_no_words_for_is_refused_and_no_file_is_left(case: str, tmp_path: Path) -> None:
    neuron, what = NOT_IN_NIR[case]
    with pytest.raises(NotInNIR, match=f"'cells': NIR has no neuron with .*{what}"):
        write_nir(small(neuron), tmp_path / "net.nir")
    assert list(tmp_path.iterdir()) == []


def test_a_matrix_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alade_brian.conversion.nir_graphs.chain.LARGEST_MATRIX", 5)
    with pytest.raises(NotInNIR, match="image -> cells.*matrix of 6 numbers"):
        to_nir(small(NeuronEquations("v : 1", SPIKE)))


def test_a_cycle_without_a_neuron_is_refused() -> None:
    relay = NeuronEquations("v : 1\nx : 1", spiking=False, reset="none", input="x", update="v = x\nx = 0")
    loop = (Projection("image", "cells", Dense(np.ones((2, 3)))), Projection("cells", "cells", Identity(), delay=1))
    with pytest.raises(NotInNIR, match="cycle without a neuron"):
        to_nir(small(relay, projections=loop, readout=Readout("cells", "last_membrane")))


WARNED = {
    ">=": (dataclasses.replace(NeuronEquations("v : 1", SPIKE), comparison=">="), "v >= v_threshold"),
    "subtraction": (dataclasses.replace(NeuronEquations("v : 1", SPIKE), reset="subtract"), "subtracts v_reset"),
    "no reset": (dataclasses.replace(NeuronEquations("v : 1", SPIKE), reset="none"), "no reset"),
    "late": (dataclasses.replace(NeuronEquations("v : 1", SPIKE), leak="before_reset"), "one step late"),
    "beginning": (NeuronEquations("v : 1", {**SPIKE, "v_initial": constant(0.5)}), "begins at v_initial"),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_a_reader_will_get_wrong_is_said(case: str) -> None:
    neuron, sentence = WARNED[case]
    plain = reader_warnings(small(NeuronEquations("v : 1", SPIKE)))
    (more,) = [w for w in reader_warnings(small(neuron)) if w not in plain]
    assert sentence in more and "'cells'" in more
    assert any("spike_count" in w for w in plain) and any("held for 4 steps" in w for w in plain)


def test_same_graph_sees_every_bit() -> None:
    left, right = (to_nir(small(NeuronEquations("v : 1", SPIKE))) for _ in range(2))
    assert same_graph(left, right)
    right.nodes["cells"].v_reset[1] = -0.0
    assert not same_graph(left, right)


def two_layers(dt: float, gain: bool) -> NetworkSpec:
    """Euler steps; with `gain` the resistance is 1, which Norse takes for granted."""

    def lif(tau: float) -> NeuronEquations:
        parameters = {**SPIKE, "tau": constant(tau, "step"), "gain": constant(1 / tau if gain else 1.0)}
        return NeuronEquations(
            "dv/dt = -v/tau : 1\nx : 1", parameters, method="euler", input="x", update="v += gain*x\nx = 0"
        )

    draw = np.random.default_rng(0)
    return NetworkSpec(
        (Stimulus((6,), "image", "sequence"),),
        (Population("hidden", (8,), lif(4.0)), Population("last", (3,), lif(3.0))),
        (
            Projection("image", "hidden", Dense(draw.normal(0, 0.7, (8, 6)))),
            Projection("hidden", "last", Dense(draw.normal(0.3, 0.7, (3, 8)))),
        ),
        Readout("last", "every_step"), steps=20, dt=dt,
    )  # fmt: skip


def peer_spikes(net, shown: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    import torch

    answers, state = [], None
    for x in shown[0]:
        answer, state = net(torch.from_numpy(x[None]).float(), state)
        answers.append(answer.detach().numpy())
    return np.stack(answers, 1)


@pytest.mark.parametrize("peer", ["snntorch", "norse"])
def test_other_programs_read_what_is_written(peer: str, tmp_path: Path) -> None:
    """snnTorch 1.0.0 steps by Euler with dt = 1e-4 s whatever the file says; Norse 1.1.0 steps by Euler with a dt that it
    is told, and leaves out resistance (other than 1) and v_reset (other than 0). Within that, both give our spikes."""
    dt, gain = (1e-4, False) if peer == "snntorch" else (1e-3, True)
    module = pytest.importorskip("snntorch.import_nir" if peer == "snntorch" else "norse.torch")
    spec = two_layers(dt, gain)
    write_nir(spec, tmp_path / "net.nir")
    graph = nir.read(tmp_path / "net.nir")
    net = module.import_from_nir(graph) if peer == "snntorch" else module.from_nir(graph, dt=dt)
    shown = np.random.default_rng(1).random((1, 20, 6)) * (4 if gain else 1)
    ours = simulate(spec, shown, NUMPY)
    assert ours.logits.sum() > 0
    np.testing.assert_array_equal(peer_spikes(net, shown), ours.logits)
