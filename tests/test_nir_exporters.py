"""Graphs as other programs write them: axes of 1, batch axes, open ends, constants given once, early versions of NIR."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from command_line import call
from networks import NUMPY
from nir_graphs import DT, Shape
from test_nir_read import assert_same_run, chain, lif, ports, sequences

from alade_brian.conversion.nir_graphs.read import RefusedNodes, open_nir, read_nir
from alade_brian.simulation import simulate
from alade_brian.spec import Population

DRAW = np.random.default_rng(5)
DENSE = DRAW.integers(-4, 13, (3, 6)) / 16
KERNEL = DRAW.integers(-4, 13, (3, 2, 3, 3)) / 16


def conv(**changes: object) -> nir.Conv2d:
    node = nir.Conv2d((6, 5), KERNEL, 1, 1, 1, 1, np.zeros(3))
    for name, value in changes.items():
        setattr(node, name, value)
    return node


def flat(shape: tuple[int, ...] | None, start: int, end: int = -1) -> nir.NIRGraph:
    """A Flatten in front of a dense layer on an image (2, 3, 1)."""
    node = nir.Flatten(None, start, end)
    node.input_type = {"input": None if shape is None else np.array(shape)}
    return chain((2, 3, 1), (3,), f=node, w=nir.Linear(DENSE), n=lif(3))


PLAIN = {
    "dense": lambda: chain((6,), (3,), w=nir.Affine(DENSE, np.ones(3) / 8), n=lif(3)),
    "image": lambda: chain((2, 6, 5), (3, 6, 5), w=conv(), n=lif(3, 6, 5)),
    "flat": lambda: flat(None, 0),
}
# Graphs that exporters write, and the plain one with the same meaning.
SAME: dict[str, tuple[Callable[[], nir.NIRGraph], str]] = {
    "a batch of one": (lambda: chain((1, 6), (1, 3), w=nir.Affine(DENSE, np.ones(3) / 8), n=lif(3)), "dense"),
    "an output with batch and time": (lambda: chain((6,), (1, 1, 3), w=nir.Affine(DENSE, np.ones(3) / 8), n=lif(3)), "dense"),
    "batch and time everywhere": (lambda: chain((1, 1, 6), (1, 1, 3), w=nir.Affine(DENSE, np.ones((1, 3)) / 8), n=lif(1, 1, 3)), "dense"),
    "a matrix with an axis of 1": (lambda: chain((6,), (3,), w=nir.Affine(DENSE[None], np.ones((1, 3)) / 8), n=lif(3)), "dense"),
    "an axis of 1 in neurons": (lambda: chain((6,), (1, 3), w=nir.Affine(DENSE, np.ones(1) / 8), n=lif(1, 3)), "dense"),
    "images with a batch axis": (lambda: chain((1, 2, 6, 5), (1, 3, 6, 5), w=conv(), n=lif(1, 3, 6, 5)), "image"),
    "a kernel that says its batch": (lambda: chain((1, 2, 6, 5), (1, 3, 6, 5), w=conv(input_shape=(1, 2, 6, 5)), n=lif(3, 6, 5)), "image"),
    "a bias with axes": (lambda: chain((2, 6, 5), (3, 6, 5), w=conv(bias=np.zeros((3, 1, 1))), n=lif(3, 1, 1)), "image"),
    "a kernel that says channels": (lambda: chain((2, 6, 5), (3, 6, 5), w=conv(input_shape=(2, 6, 5), bias=np.zeros(())), n=lif(3, 6, 5)), "image"),
    "flattened behind a batch axis": (lambda: flat((1, 2, 3, 1), 1), "flat"),
    "flattened, of unknown size": (lambda: flat((0, 0, 0, 0), 1), "flat"),
    "flattened by PyTorch's count": (lambda: flat((2, 3, 1), 1), "flat"),
    "flattened to an axis of the batch's count": (lambda: flat((1, 2, 3, 1), 1, 3), "flat"),
    "a flatten of a single axis": (lambda: chain((6,), (3,), w=nir.Affine(DENSE, np.ones(3) / 8), f=nir.Flatten(None, 1, -1), n=lif(3)), "dense"),
}  # fmt: skip


def assert_same_fields(found: Any, wanted: Any, *besides: str) -> None:
    """Two parts of a specification are of one class and equal in every field, but for those that are named."""
    assert type(found) is type(wanted)
    for name in {field.name for field in dataclasses.fields(wanted)} - {*besides}:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


def assert_same_neuron(found: Population, wanted: Population) -> None:
    """Two populations have the same neuron, whether its constants are given once or for every neuron."""
    assert found.shape == wanted.shape and found.neuron.parameters.keys() == wanted.neuron.parameters.keys()
    assert_same_fields(found.neuron, wanted.neuron, "parameters")
    for key, parameter in wanted.neuron.parameters.items():
        one = found.neuron.parameters[key]
        values = (np.broadcast_to(p.value, wanted.shape) for p in (one, parameter))
        np.testing.assert_array_equal(*values, err_msg=key)
        assert one.unit == parameter.unit


@pytest.mark.parametrize("case", SAME)
def test_what_an_exporter_writes_means_the_plain_graph(case: str) -> None:
    found, wanted = (open_nir(make(), 4, DT, "euler").spec for make in (SAME[case][0], PLAIN[SAME[case][1]]))
    assert_same_fields(found, wanted, "stimuli", "populations", "projections", "readout")
    assert_same_fields(found.readout, wanted.readout)
    for stimuli in zip(found.stimuli, wanted.stimuli, strict=True):
        assert_same_fields(*stimuli)
    for populations in zip(found.populations, wanted.populations, strict=True):
        assert_same_fields(*populations, "neuron")
        assert_same_neuron(*populations)
    for one, other in zip(found.projections, wanted.projections, strict=True):
        assert_same_fields(one, other, "operator")
        assert_same_fields(one.operator, other.operator)


@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_graph_runs_as_the_interpreter_says(name: str) -> None:
    graph = PLAIN[name]()
    shape = tuple(graph.nodes["input"].input_type["input"].tolist())
    assert assert_same_run(graph, sequences({"input": shape}), "euler") > 0


@pytest.mark.parametrize("shape", [(1, 2, 6, 5), (2, 6, 5)])
@pytest.mark.parametrize("leading", [(4,), (2, 4)])
def test_an_input_may_have_the_axes_of_1_or_not(shape: Shape, leading: Shape, tmp_path: Path) -> None:
    nir.write(tmp_path / "net.nir", chain((1, 2, 6, 5), (1, 3, 6, 5), w=conv(), n=lif(3, 6, 5)))
    np.savez(tmp_path / "in.npz", input=np.ones((*leading, *shape)))
    files = [tmp_path / "net.nir", "--input", tmp_path / "in.npz", "--out", tmp_path / "out.npz"]
    assert call("run-nir", *files, "--backend", "numpy") == 0
    with np.load(tmp_path / "out.npz") as found:
        assert found["n"].shape == found["output"].shape == (*leading, 3, 6, 5) and found["n"].any()


def test_an_input_as_the_graph_declares_it_comes_first(tmp_path: Path) -> None:
    """(5, 1, 6) of an Input (1, 6) are five steps, not five presentations of one step."""
    nir.write(tmp_path / "net.nir", SAME["a batch of one"][0]())
    np.savez(tmp_path / "in.npz", input=np.ones((5, 1, 6)))
    files = [tmp_path / "net.nir", "--input", tmp_path / "in.npz", "--out", tmp_path / "out.npz"]
    assert call("run-nir", *files, "--backend", "numpy") == 0
    with np.load(tmp_path / "out.npz") as found:
        assert found["n"].shape == (5, 3)


def test_an_axis_of_more_than_1_is_never_left_out() -> None:
    with pytest.raises(
        RefusedNodes, match="its input has the shape .2, 6.; leave the first axis out of the Input's shape"
    ):
        read_nir(chain((2, 6), (3,), w=nir.Linear(DENSE), n=lif(3)), 4)
    with pytest.raises(RefusedNodes, match="node 'output': shape"):
        read_nir(chain((6,), (2, 3), w=nir.Linear(DENSE), n=lif(3)), 4)
    with pytest.raises(RefusedNodes, match="node 'f': input_type"):
        read_nir(flat((2, 2, 3, 1), 1), 4)


def test_a_flatten_by_pytorchs_count_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Only where nothing else fits: what NIR says comes first."""
    read_nir(flat((2, 3, 1), 1), 4, DT)
    assert "node 'f': start_dim = 1 counts a batch axis" in caplog.text
    caplog.clear()
    stack = DRAW.integers(-4, 13, (2, 4, 3)) / 16
    graph = chain((2, 3, 1), (2, 4), f=nir.Flatten(None, 1, -1), w=nir.Linear(stack), n=lif(2, 4))
    assert read_nir(graph, 4, DT).populations[0].shape == (2, 4) and not caplog.records


def test_the_refusal_is_not_of_the_axes_that_can_be_left_out() -> None:
    with pytest.raises(RefusedNodes, match="node 'w': weight") as refused:
        read_nir(chain((1, 2, 6, 5), (3,), c=conv(), w=nir.Linear(DENSE), n=lif(3)), 4)
    assert "node 'input'" not in str(refused.value)


def test_open_ends_become_inputs_and_outputs() -> None:
    """As `nir` itself adds them: sub-graphs included, under its names."""
    nodes = {"0": nir.Linear(DENSE), "1": lif(3), "2": lif(3)}
    bare = nir.NIRGraph(nodes, [("0", "1"), ("1", "2")], type_check=False)
    network = open_nir(bare, 4, DT)
    assert list(network.inputs) == ["input_0"] and list(network.outputs) == ["output_2"]
    complete = nir.NIRGraph({**nodes, **ports((6,), (3,))}, [*pairwise(["input", "0", "1", "2", "output"])])
    same = open_nir(complete, 4, DT)
    assert [(p.name, p.shape) for p in network.spec.populations] == [(p.name, p.shape) for p in same.spec.populations]
    inner = nir.NIRGraph({**ports((3,)), "cell": lif(3)}, [("input", "cell"), ("cell", "output")], type_check=False)
    ring = nir.NIRGraph({"sub": inner, "w": nir.Linear(DENSE)}, [("w", "sub")], type_check=False)
    network = open_nir(ring, 4, DT)
    assert list(network.inputs) == ["input_w"] and list(network.outputs) == ["sub.output"]


def test_names_may_be_numbers_or_bytes() -> None:
    """As Lava's converter makes them in memory."""
    nodes = {0: nir.Linear(DENSE), 1: lif(3), b"input": ports((6,))["input"], "output": ports((3,))["output"]}
    graph = nir.NIRGraph(nodes, [(b"input", 0), (0, 1), (1, "output")], type_check=False)
    network = open_nir(graph, 4, DT)
    assert list(network.inputs) == ["input"] and list(network.neurons) == ["1"]


def test_an_edge_to_a_node_of_another_name_is_refused_once() -> None:
    """As the sub-graphs of some public files: the node is 'lif1', four edges say 'lif'."""
    nodes = {**ports((3,)), "lif1": lif(3), "back": nir.Linear(np.eye(3))}
    edges = [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")]
    layer = nir.NIRGraph(nodes, edges, type_check=False)
    graph = nir.NIRGraph({**ports((3,)), "hidden": layer}, [*pairwise(["input", "hidden", "output"])], type_check=False)
    with pytest.raises(RefusedNodes) as refused:
        read_nir(graph, 4)
    assert "edge of sub-graph 'hidden': end = 'lif' is no node of the graph; add the node, or write 'lif1'" in str(
        refused.value
    )
    assert len(refused.value.refusals) == 1


def rewritten(path: Path, graph: nir.NIRGraph, change: Callable[[h5py.Group], None]) -> Path:
    nir.write(path, graph)
    with h5py.File(path, "r+") as file:
        change(file["node/nodes"])
    return path


def put(group: h5py.Group, **values: object) -> None:
    for name, value in values.items():
        if name in group:
            del group[name]
        if value is not None:
            group[name] = value


def cuba() -> nir.NIRGraph:
    ones = np.ones(3)
    return chain((3,), n=nir.CubaLIF(4 * DT * ones, 4 * DT * ones, ones, 0 * ones, ones / 4, w_in=ones))


FILES: dict[str, tuple[Callable[[], nir.NIRGraph], Callable[[h5py.Group], None]]] = {
    "no input_shape": (PLAIN["image"], lambda n: put(n["w"], input_shape=None)),
    "no bias of a kernel": (PLAIN["image"], lambda n: put(n["w"], bias=None)),
    "an empty bias": (PLAIN["image"], lambda n: put(n["w"], bias=h5py.Empty("f"))),
    "no bias of a matrix": (lambda: chain((6,), (3,), w=nir.Affine(DENSE, np.zeros(3)), n=lif(3)), lambda n: put(n["w"], bias=None)),
    "constants given once": (PLAIN["dense"], lambda n: put(n["n"], r=2.0, v_leak=np.zeros(1), v_reset=None)),
    "no w_in": (cuba, lambda n: put(n["n"], w_in=None)),
    "w_in given once": (cuba, lambda n: put(n["n"], w_in=np.ones(()), v_threshold=0.25)),
    "a flatten's input_shape": (lambda: flat((2, 3, 1), 0), lambda n: put(n["f"], input_type=None, input_shape=[2, 3, 1])),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_leaves_something_out_is_read_as_the_whole_one(case: str, tmp_path: Path) -> None:
    graph, change = FILES[case]
    found = read_nir(rewritten(tmp_path / "net.nir", graph(), change), 4, DT)
    whole = read_nir(graph(), 4, DT)
    for one, other in zip(found.populations, whole.populations, strict=True):
        assert_same_neuron(one, other)
        np.testing.assert_array_equal(*(np.zeros(one.shape) if p.bias is None else p.bias for p in (one, other)))


@pytest.mark.parametrize("shape", [(3, 5), (3, 3)])
def test_an_input_weight_that_is_a_matrix_is_named(shape: Shape, tmp_path: Path) -> None:
    sentence = r"node 'n': w_in = of shape \(3, \d\) is a matrix; put a Linear node with it in front"
    with pytest.raises(RefusedNodes, match=sentence):
        read_nir(rewritten(tmp_path / "net.nir", cuba(), lambda n: put(n["n"], w_in=np.ones(shape))), 4)
    if shape == (3, 3):
        graph = cuba()
        graph.nodes["n"].w_in = np.ones(shape)
        with pytest.raises(RefusedNodes, match=sentence):
            read_nir(graph, 4)


def test_an_input_weight_may_be_the_only_number_with_axes(tmp_path: Path) -> None:
    weights = np.array([1.0, 2.0, 4.0])
    once = {"tau_syn": 4 * DT, "tau_mem": 4 * DT, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.25, "v_reset": 0.0}
    path = rewritten(tmp_path / "net.nir", cuba(), lambda n: put(n["n"], w_in=weights, **once))
    (population,) = read_nir(path, 4, DT).populations
    gain = population.neuron.parameters["gain_syn"].value
    assert population.shape == (3,) and np.array_equal(gain / gain[0], weights)


@pytest.mark.parametrize(
    ("r", "dt", "warned"),
    [
        (1e4, 1e-4, "0.1 ms, the exporter's own"),
        (1.0, 1.0, "1000 ms, the exporter's own"),
        (50.0, 1e-3, ""),
        (1e3, 1e-3, ""),
    ],
)
def test_the_step_of_integrators(r: float, dt: float, warned: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert read_nir(chain((3,), n=nir.IF(np.full(3, r), np.ones(3))), 4).dt == dt
    assert (warned in caplog.text) if warned else not caplog.records
    caplog.clear()
    # A delay in seconds, or a time constant, is a time of its own.
    read_nir(chain((3,), n=nir.IF(np.full(3, r), np.ones(3)), d=nir.Delay(np.full(3, 2e-3)), m=lif(3)), 4)
    assert not caplog.records


def test_integrators_that_count_time_in_steps_take_their_whole_input() -> None:
    """As Sinabs, Norse and snnTorch run them: worked out by hand."""
    spec = read_nir(chain((1,), n=nir.IF(np.ones(1), np.ones(1))), 5)
    assert simulate(spec, np.full((1, 5, 1), 0.625), NUMPY).logits[0, :, 0].tolist() == [0, 1, 0, 1, 0]


def test_time_constants_of_seconds_are_not_taken_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    counted = chain((3,), n=lif(3, tau=10.0))
    assert read_nir(counted, 4).dt == 1e-3 and "no time constant below 10000 ms" in caplog.text
    caplog.clear()
    read_nir(counted, 4, dt=1.0)
    assert not caplog.records
