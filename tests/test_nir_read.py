"""Reading NIR: the meaning of every node against an independent interpreter, and a sentence for everything damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import NUMPY
from nir_graphs import DT, Shape, graphs
from nir_interpreter import NirInterpreter

from alade_brian.conversion.nir_graphs.read import NirNetwork, RefusedNodes, as_sequences, open_nir, read_nir
from alade_brian.errors import UserError
from alade_brian.simulation import simulate
from alade_brian.spikes.responses import Responses

# ALADE_BRIAN_EXAMPLES=3000 python -m pytest tests/test_nir_read.py for the long run.
EXAMPLES = max(1, int(os.environ.get("ALADE_BRIAN_EXAMPLES", "100")) // 5)
STEPS = 6


def run(network: NirNetwork, shown: dict[str, np.ndarray]) -> Responses:
    traces = tuple({*network.neurons.values(), *network.outputs.values()})
    return simulate(network.spec, {k: v[None] for k, v in shown.items()}, NUMPY, traces)


def assert_same_run(graph: nir.NIRGraph, shown: dict[str, np.ndarray], method: str) -> int:
    """Every spike, membrane and output as the interpreter's; the number of spikes."""
    steps = len(next(iter(shown.values())))
    network = open_nir(graph, steps, DT, method)  # type: ignore[arg-type]
    expected, found = NirInterpreter(graph, DT, method).run(shown), run(network, shown)
    assert set(expected.membranes) == set(network.neurons)

    def flat(arrays: list[np.ndarray], population: str) -> np.ndarray:
        return np.stack([np.broadcast_to(a, network.spec.shape(population)) for a in arrays]).reshape(steps, -1)

    def compare(name: str, values: np.ndarray, wanted: np.ndarray) -> None:
        # Dyadic numbers make Euler's steps exact.
        if method == "euler":
            np.testing.assert_array_equal(values, wanted, err_msg=name)
        else:
            np.testing.assert_allclose(values, wanted, rtol=1e-12, atol=1e-12, err_msg=name)

    for node, population in network.neurons.items():
        compare(f"v of {node}", found.traces[population][0], flat(expected.membranes[node], population))
        if node in expected.spikes:
            np.testing.assert_array_equal(found.spikes[population][0], flat(expected.spikes[node], population), node)
    for node, population in network.outputs.items():
        spiking = network.spec.population(population).neuron.spiking
        values = found.spikes[population][0] if spiking else found.traces[population][0]
        compare(f"output {node}", values, flat(expected.sent[node], population))
    return sum(int(np.sum(z)) for z in expected.spikes.values())


def sequences(inputs: dict[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {name: draw.integers(-8, 17, (STEPS, *shape)) / 8 for name, shape in inputs.items()}


def test_random_graphs_run_as_the_interpreter_says() -> None:
    seen = {"graphs": 0, "spikes": 0}

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(graphs(), st.sampled_from(["euler", "exact"]), st.integers(0, 100))
    def check(drawn: tuple[nir.NIRGraph, dict[str, Shape]], method: str, seed: int) -> None:
        graph, inputs = drawn
        seen["spikes"] += assert_same_run(graph, sequences(inputs, seed), method)
        seen["graphs"] += 1

    check()
    # Equality of silence would prove nothing.
    assert seen["spikes"] > 5 * seen["graphs"], seen


def ports(shape: Shape, out: Shape | None = None) -> dict[str, nir.NIRNode]:
    return {"input": nir.Input({"input": np.array(shape)}), "output": nir.Output({"output": np.array(out or shape)})}


def chain(shape: Shape, out: Shape | None = None, **nodes: nir.NIRNode) -> nir.NIRGraph:
    """input -> nodes -> output."""
    names = ["input", *nodes, "output"]
    return nir.NIRGraph({**ports(shape, out), **nodes}, list(pairwise(names)), type_check=False)


def lif(*shape: int, **changes: object) -> nir.LIF:
    values = {"tau": 4 * DT, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.0} | changes
    return nir.LIF(**{k: v if isinstance(v, np.ndarray) else np.full(shape, v) for k, v in values.items()})


# Cases that the random graphs meet rarely or never: (graph, shapes of the inputs).
CASES: dict[str, Callable[[], nir.NIRGraph]] = {
    "conv1d same, even kernel": lambda: chain(
        (2, 6), (3, 6), conv=nir.Conv1d(None, np.arange(24.0).reshape(3, 2, 4) / 16, 1, "same", 1, 1, np.ones(3) / 4), n=lif(3, 6)
    ),
    "conv2d same, dilated, one axis even": lambda: chain(
        (2, 5, 6), (2, 5, 6), conv=nir.Conv2d((5, 6), np.arange(24.0).reshape(2, 2, 2, 3) / 16 - 0.5, 1, "same", (3, 2), 1, np.zeros(2)), n=lif(2, 5, 6)
    ),
    "depthwise": lambda: chain(
        (2, 4, 4), (4, 2, 2), conv=nir.Conv2d((4, 4), np.arange(16.0).reshape(4, 1, 2, 2) / 16, 2, 0, 1, 2, np.ones(4) / 8), n=lif(4, 2, 2)
    ),
    "stacked matrices": lambda: chain((2, 3), (2, 2), w=nir.Linear(np.arange(12.0).reshape(2, 2, 3) / 16), n=lif(2, 2)),
    "a delay for every neuron": lambda: chain((3,), n=lif(3), d=nir.Delay(np.arange(3) * DT), w=nir.Affine(np.eye(3) / 2, np.ones(3) / 4), m=lif(3)),
    "a delayed input": lambda: chain((3,), d=nir.Delay(np.array([0, 2 * DT, 2 * DT])), w=nir.Affine(np.eye(3), np.ones(3)), d2=nir.Delay(np.full(3, DT)), m=lif(3)),
    "only linear": lambda: chain((3,), w=nir.Affine(np.eye(3) / 2, np.ones(3))),
    "numbers without axes": lambda: chain((2, 3), n=lif(), m=nir.LI(np.array(2 * DT), np.array(1.0), np.array(0.25))),
    "flattened in part": lambda: chain((2, 3, 2), (2, 6), f=nir.Flatten({"input": np.array([2, 3, 2])}, -2, 2), n=lif(2, 6)),
    "membranes as currents": lambda: chain((3,), i=nir.I(np.full(3, 0.5 / DT)), c=nir.CubaLI(*(np.full(3, x) for x in (2 * DT, 4 * DT, 1.0, 0.0))), n=lif(3)),
}  # fmt: skip


@pytest.mark.parametrize("method", ["euler", "exact"])
@pytest.mark.parametrize("case", CASES)
def test_what_a_node_means(case: str, method: str) -> None:
    graph = CASES[case]()
    shape = tuple(graph.nodes["input"].input_type["input"].tolist())
    assert_same_run(graph, sequences({"input": shape}), method)


def test_in_a_cycle_spikes_come_one_step_later_and_a_bias_at_once() -> None:
    """Worked out by hand: threshold 0.5, the way back gives 1 for a spike and has a bias of 1."""
    back = nir.Affine(np.eye(1), np.ones(1))
    cell = nir.IF(np.full(1, 1 / DT), np.full(1, 0.5))
    nodes = {**ports((1,)), "cell": cell, "back": back}
    graph = nir.NIRGraph(nodes, [("input", "cell"), ("cell", "back"), ("back", "cell"), ("cell", "output")])
    shown = np.array([[[0.0], [-1.5], [-1.5]], [[-1.0], [-1.5], [0.5]], [[-1.0], [-0.25], [-1.75]]])
    found = simulate(read_nir(graph, 3, DT), shown, NUMPY)
    assert found.logits[:, :, 0].tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def test_only_what_a_cycles_neurons_send_waits_at_the_edge_that_closes_it() -> None:
    """An input, and a neuron outside, that reach the cycle through its affine node act in the same step, whatever the
    order of the edges; so does what the affine node gives to others."""
    nodes = {**ports((2,)), "more": nir.Input({"input": np.array([2])}), "before": lif(2), "cell": lif(2)}
    nodes |= {"back": nir.Affine(np.array([[0.5, -1.0], [0.25, 0.5]]), np.array([0.25, 0.5])), "other": nir.LI(*(np.full(2, x) for x in (2 * DT, 1.0, 0.0))), "seen": nir.Output({"output": np.array([2])})}  # fmt: skip
    edges = [("input", "cell"), ("cell", "back"), ("more", "before"), ("before", "back"), ("more", "back")]
    edges += [("back", "cell"), ("back", "other"), ("cell", "output"), ("other", "seen")]
    shown = sequences({"input": (2,), "more": (2,)})
    graphs = [nir.NIRGraph(nodes, [edges[k] for k in order], type_check=False) for order in ORDERS]
    for graph in graphs:
        assert assert_same_run(graph, shown, "euler") > 0
    late = [(p.source, p.target) for p in read_nir(graphs[0], STEPS, DT).projections if p.delay]
    assert late == [("cell", "cell")]


# Orders of the nine edges of the test above: as they stand, and from the second input on.
ORDERS = ([0, 1, 2, 3, 4, 5, 6, 7, 8], [4, 2, 3, 6, 5, 8, 0, 7, 1])


def test_two_populations_that_excite_each_other() -> None:
    """input -> a -> b and b -> a: the way from b to a is the late one, whatever the order of the edges."""
    draw = np.random.default_rng(3)
    weights = {k: nir.Linear(draw.integers(-8, 17, (3, 3)) / 16) for k in ("ab", "ba")}
    nodes = {**ports((3,)), "a": lif(3), "b": nir.LI(np.full(3, 2 * DT), np.ones(3), np.zeros(3)), **weights}
    edges = [("b", "ba"), ("ba", "a"), ("input", "a"), ("a", "ab"), ("ab", "b"), ("b", "output")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    assert assert_same_run(graph, sequences({"input": (3,)}), "euler") > 0
    delays = {(p.source, p.target): p.delay for p in read_nir(graph, STEPS, DT).projections}
    assert delays["a", "b"] == 0 and delays["b", "a"] == 1


def test_several_inputs_and_outputs_and_nested_subgraphs() -> None:
    inner = nir.NIRGraph({**ports((3,)), "cell": lif(3)}, [("input", "cell"), ("cell", "output")], type_check=False)
    outer = nir.NIRGraph({**ports((3,)), "deep": inner}, [("input", "deep"), ("deep", "output")], type_check=False)
    nodes = {
        "left": nir.Input({"input": np.array([3])}), "right": nir.Input({"input": np.array([3])}), "sub": outer,
        "spikes": nir.Output({"output": np.array([3])}), "sum": nir.Output({"output": np.array([3])}),
    }  # fmt: skip
    edges = [("right", "sub"), ("left", "sub"), ("sub", "spikes"), ("sub", "sum"), ("left", "sum")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    assert assert_same_run(graph, sequences({"left": (3,), "right": (3,)}), "euler") > 0
    network = open_nir(graph, STEPS, DT)
    assert list(network.neurons) == ["sub.deep.cell"] and list(network.outputs) == ["spikes", "sum"]


def test_resets_may_be_chosen() -> None:
    graph = chain((1,), n=nir.IF(np.full(1, 1 / DT), np.full(1, 1.0), np.full(1, 0.25)))
    shown = np.full((1, 3, 1), 1.5)
    left = {
        reset: simulate(read_nir(graph, 3, DT, reset=reset), shown, NUMPY, ("n",)).traces["n"][0, 0, 0]  # type: ignore[arg-type]
        for reset in ("model", "zero", "subtract")
    }
    assert left == {"model": 0.25, "zero": 0.0, "subtract": 0.5}


def test_a_file_and_its_graph_are_read_alike(tmp_path: Path) -> None:
    """HDF5 sorts nodes by name; the order of the edges, which decides, it keeps."""
    nodes = {**ports((3,)), "z": lif(3), "a": lif(3), "w": nir.Linear(np.eye(3))}
    graph = nir.NIRGraph(nodes, [("input", "z"), ("z", "a"), ("a", "w"), ("w", "z"), ("a", "output")], type_check=False)
    nir.write(tmp_path / "net.nir", graph)
    spec, again = read_nir(graph, 4), read_nir(tmp_path / "net.nir", 4)
    assert [p.name for p in spec.populations] == [p.name for p in again.populations] == ["z", "a"]
    assert [(p.name, p.delay) for p in spec.projections] == [(p.name, p.delay) for p in again.projections]


def test_one_number_for_all_stays_one_number() -> None:
    spec = read_nir(chain((2, 3), n=lif(), m=lif(2, 3)), 4)
    assert spec.population("n").neuron.parameters["tau"].value.shape == ()
    assert spec.population("m").neuron.parameters["tau"].value.shape == (2, 3)
    assert as_sequences(open_nir(chain((3,), n=lif(3)), 4), 9).spec.steps == 9


def broken(
    shape: Shape = (3,), out: Shape | None = None, edges: list[tuple[str, str]] | None = None, **nodes: nir.NIRNode
) -> nir.NIRGraph:
    graph = chain(shape, out, **nodes)
    return nir.NIRGraph(graph.nodes, graph.edges if edges is None else edges, type_check=False)


REFUSED: dict[str, tuple[Callable[[], nir.NIRGraph], str]] = {
    "tau": (lambda: broken(n=lif(3, tau=0.0)), "node 'n': tau = 0.0 is no time constant"),
    "nan": (lambda: broken(n=lif(3, r=float("nan"))), "node 'n': r = nan is no finite number"),
    "weight": (lambda: broken(w=nir.Linear(np.full((3, 3), np.inf)), n=lif(3)), "node 'w': weight = inf is no finite"),
    "shape": (lambda: broken((4,), n=lif(3)), "do not fit an input of shape"),
    "matrix": (lambda: broken((4,), (3,), w=nir.Linear(np.ones((3, 5))), n=lif(3)), "reads (5,), its input has the shape (4,)"),
    "not flat": (lambda: broken((2, 2), (3,), w=nir.Linear(np.ones((3, 4))), n=lif(3)), "put a Flatten(start_dim=0)"),
    "output shape": (lambda: broken((3,), (5,), n=lif(3)), "node 'output': shape = (5,) contradicts the (3,)"),
    "channels": (lambda: broken((3, 4, 4), (1, 4, 4), c=nir.Conv2d((4, 4), np.ones((1, 2, 1, 1)), 1, 0, 1, 1, np.zeros(1)), n=lif(1, 4, 4)), "node 'c': input = (3, 4, 4) does not fit"),
    "declared": (lambda: broken((1, 4, 4), c=nir.Conv2d((5, 5), np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.zeros(1))), "node 'c': input_shape"),
    "same stride": (lambda: broken((1, 4, 4), c=nir.Conv2d(None, np.ones((1, 1, 3, 3)), 2, "same", 1, 1, np.zeros(1))), "goes only with stride 1"),
    "conv bias": (lambda: broken((1, 4, 4), c=nir.Conv2d(None, np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.zeros(2))), "node 'c': bias"),
    "pooled line": (lambda: broken((3,), p=nir.SumPool2d(2, 2, 0)), "is no image"),
    "delay": (lambda: broken(n=lif(3), d=nir.Delay(np.full(3, 1.5e-3)), m=lif(3)), "delay = 0.0015 s is no multiple of the time step"),
    "negative delay": (lambda: broken(n=lif(3), d=nir.Delay(np.full(3, -1e-3))), "is negative"),
    "no output": (lambda: nir.NIRGraph({"input": nir.Input({"input": np.array([3])}), "n": lif(3), "w": nir.Scale(np.ones(3))}, [("input", "n"), ("n", "w"), ("w", "n")], type_check=False), "add an Output"),
    "no input": (lambda: nir.NIRGraph({"output": nir.Output({"output": np.array([3])}), "n": lif(3), "w": nir.Scale(np.ones(3))}, [("n", "w"), ("w", "n"), ("n", "output")], type_check=False), "add an Input"),
    "unconnected": (lambda: nir.NIRGraph({**ports((3,)), "n": lif(3), "lost": lif(3)}, [("input", "n"), ("n", "output")], type_check=False), "node 'lost': edges = none leave it unconnected"),
    "unheard": (lambda: nir.NIRGraph({**ports((3,)), "n": lif(3), "lost": lif(3)}, [("input", "n"), ("lost", "n"), ("n", "output")], type_check=False), "node 'lost': input = none reaches it"),
    "dead end": (lambda: nir.NIRGraph({**ports((3,)), "n": lif(3), "w": nir.Scale(np.ones(3))}, [("input", "n"), ("n", "w"), ("n", "output")], type_check=False), "node 'w': edges = none lead on"),
    "linear cycle": (lambda: nir.NIRGraph({**ports((3,)), "w": nir.Scale(np.ones(3)), "x": nir.Scale(np.ones(3))}, [("input", "w"), ("w", "x"), ("x", "w"), ("x", "output")], type_check=False), "has no neuron in it"),
    "unknown end": (lambda: broken(edges=[("input", "n"), ("m", "output"), ("n", "output")], n=lif(3)), "end = 'm' is no node"),
    "double edge": (lambda: broken(edges=[("input", "n"), ("input", "n"), ("n", "output")], n=lif(3)), "stands there twice"),
    "sum of shapes": (lambda: nir.NIRGraph({**ports((3,)), "n": lif(3), "w": nir.Linear(np.ones((2, 3)))}, [("input", "n"), ("input", "w"), ("w", "n"), ("n", "output")], type_check=False), "cannot be added up"),
    "behind the output": (lambda: broken(edges=[("input", "n"), ("n", "output"), ("output", "n")], n=lif(3)), "out of an Output"),
    "no shape": (lambda: nir.NIRGraph({**ports((3,)), "input": nir.Input(None), "n": lif(3)}, [("input", "n"), ("n", "output")], type_check=False), "node 'input': input_type = None says no shape"),
    "four axes": (lambda: broken((2, 2, 3, 3), n=lif(2, 2, 3, 3)), "one, two or three axes"),
    "flatten": (lambda: broken((3, 2), f=nir.Flatten(None, 0, 5), n=lif(6)), "are no axes"),
    "two ways into a sub-graph": (lambda: nir.NIRGraph({**ports((3,)), "s": nir.NIRGraph({"a": nir.Input({"input": np.array([3])}), "b": nir.Input({"input": np.array([3])}), "output": nir.Output({"output": np.array([3])})}, [("a", "output"), ("b", "output")], type_check=False)}, [("input", "s"), ("s", "output")], type_check=False), "sub-graph 's': Input = 2 of them"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_graph_is_refused_in_a_sentence(case: str) -> None:
    graph, sentence = REFUSED[case][0](), REFUSED[case][1]
    with pytest.raises(RefusedNodes) as refused:
        read_nir(graph, 4)
    assert sentence in str(refused.value), refused.value


def test_all_refusals_are_listed_at_once() -> None:
    graph = broken(
        a=lif(3, tau=-1.0, r=np.full(3, np.nan)),
        w=nir.Linear(np.full((3, 3), np.nan)),
        d=nir.Delay(np.full(3, 1e-4)),
        b=lif(3),
    )
    with pytest.raises(RefusedNodes) as refused:
        read_nir(graph, 4)
    assert len(refused.value.refusals) == 4 and str(refused.value).count("\n") == 4, refused.value


def rewrite(path: Path, change: Callable[[h5py.File], None]) -> Path:
    nir.write(path, chain((3,), n=lif(3)))
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replace_in(file: h5py.File, name: str, value: object) -> None:
    del file[name]
    file[name] = value


FILES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "version": (lambda f: replace_in(f, "version", "2.1"), "NIR version '2.1'"),
    "no version": (lambda f: f.__delitem__("version"), "says no NIR version"),
    "no graph": (lambda f: f.__delitem__("node"), "holds no NIR graph"),
    "unknown type": (lambda f: replace_in(f, "node/nodes/n/type", "Hodgkin"), "node 'n': type = 'Hodgkin' is unknown"),
    "missing number": (lambda f: f.__delitem__("node/nodes/n/tau"), "node 'n': type = LIF cannot be made"),
    "other shapes": (lambda f: replace_in(f, "node/nodes/n/tau", np.ones(5)), "same shape"),
    "edges": (lambda f: replace_in(f, "node/edges", np.ones((2, 3))), "are no pairs"),
    "text for a number": (lambda f: replace_in(f, "node/nodes/n/r", np.array([b"a", b"b", b"c"])), "node 'n': r"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_damaged_file_is_refused_in_a_sentence(case: str, tmp_path: Path) -> None:
    change, sentence = FILES[case]
    path = rewrite(tmp_path / "net.nir", change)
    with pytest.raises(UserError) as refused:
        read_nir(path, 4)
    assert sentence in str(refused.value) and str(path) in str(refused.value), refused.value


def test_what_is_no_file_or_no_hdf5(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        read_nir(tmp_path / "none.nir", 4)
    whole = rewrite(tmp_path / "net.nir", lambda file: None).read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        (tmp_path / "bad.nir").write_bytes(content)
        with pytest.raises(UserError, match="damaged or no HDF5"):
            read_nir(tmp_path / "bad.nir", 4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steps": 0}, "at least 1"), ({"steps": 4, "dt": -1.0}, "positive"), ({}, "number of steps"),
        ({"steps": 4, "discretisation": "rk4"}, "'rk4'"), ({"steps": 4, "reset": "soft"}, "'soft'"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_nir(chain((3,), n=lif(3)), **arguments)  # type: ignore[arg-type]
