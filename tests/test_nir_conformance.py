"""The comparison of NIR graphs with other frameworks: what agrees, what is counted, and that the page shows a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from command_line import call
from networks import NUMPY
from test_nir_read import chain

from alade_brian.conversion.nir_graphs import paper_networks
from alade_brian.conversion.nir_graphs.deviations import with_late_biases
from alade_brian.conversion.nir_graphs.paper_networks import PAPER_NETWORKS, paper_network
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.responses import Responses
from alade_brian.verification.conformance import compare, paper
from alade_brian.verification.conformance.closed_form import exact_spikes
from alade_brian.verification.conformance.compare import (
    ConformanceRow,
    ShownGraph,
    compared_with_closed_form,
    compared_with_frameworks,
    compared_with_own_run,
    conformance_row,
    spikes_in_brian2,
)
from alade_brian.verification.conformance.frameworks import FRAMEWORKS, CannotRun, Deviation, NirFramework
from alade_brian.verification.conformance.own_networks import OWN_NETWORKS
from alade_brian.verification.conformance.page import MARK, tables

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULT = ROOT / "docs" / "nir-conformance.md", ROOT / "results" / "nir" / "conformance.json"


def framework(name: str) -> NirFramework:
    pytest.importorskip(name)
    return next(each for each in FRAMEWORKS if each.package == name)


def shown(name: str, steps: int = 30) -> ShownGraph:
    network = paper_network(name, 3)
    return ShownGraph(network.title, network.graph, network.dt, {"input": network.spikes(2, steps, 3)})


def rows_of(graph: ShownGraph, frameworks: Sequence[NirFramework]) -> list[ConformanceRow]:
    return list(compared_with_frameworks(graph, spikes_in_brian2(graph, "euler", NUMPY), NUMPY, frameworks))


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[NetworkSpec]:
    """What Brian2 simulates meanwhile."""
    seen: list[NetworkSpec] = []
    simulate = compare.simulate

    def counting(spec: NetworkSpec, *arguments: Any) -> Responses:
        seen.append(spec)
        return simulate(spec, *arguments)

    monkeypatch.setattr(compare, "simulate", counting)
    return seen


def test_a_neurons_closed_form_is_its_recursion() -> None:
    inputs, keep = (np.random.default_rng(0).random((3, 60)) < 0.5) * 0.4, np.exp(-0.2)
    expected = np.zeros((3, 60), bool)
    for number, row in enumerate(inputs):
        v = 0.0
        for step, x in enumerate(row):
            v = keep * v + 5.0 * (1 - keep) * x
            expected[number, step] = v > 0.9
            v = 0.0 if v > 0.9 else v
    assert 5 < expected.sum() < 150
    np.testing.assert_array_equal(exact_spikes(inputs, 5e-3, 5.0, 0.9, 1e-3), expected)


def test_the_exact_step_agrees_with_the_closed_form() -> None:
    row = compared_with_closed_form(paper_network("single-neuron", 3), 2, 100, 3, NUMPY)
    assert row.mismatched == 0 and row.spikes == row.spikes_reference > 10 and row.entries == 200


@pytest.mark.parametrize("package", ["snntorch", "norse", "spikingjelly"])
def test_an_imported_neuron_spikes_as_in_brian2(package: str) -> None:
    (row,) = rows_of(shown("single-neuron"), [framework(package)])
    assert row.mismatched == 0 and row.spikes == row.spikes_reference > 5 and row.note == ""


@pytest.mark.parametrize("package", ["snntorch", "norse", "spikingjelly"])
def test_a_recurrent_bias_differs_only_by_the_imports_deviation(package: str) -> None:
    """The graphs without it agree with the import, those with it do not: each difference is explained."""
    (row,) = rows_of(shown("braille-bias"), [framework(package)])
    assert row.mismatched and row.spikes > 300
    assert "; 0 mismatched if" in f"; {row.note}", row


@pytest.mark.parametrize("package", ["norse", "spikingjelly"])
def test_a_recurrent_network_without_biases_and_convolutions_agree(package: str) -> None:
    for name, steps in (("braille-no-bias", 30), ("n-mnist", 4)):
        (row,) = rows_of(shown(name, steps), [framework(package)])
        assert row.mismatched == 0 and row.spikes > 300 and row.note == ""


@pytest.mark.parametrize("name", OWN_NETWORKS)
def test_what_a_framework_exports_spikes_as_its_own_network(name: str) -> None:
    framework(name.partition("-")[0])
    row = compared_with_own_run(OWN_NETWORKS[name](np.random.default_rng(2)), 2, 12, 2, NUMPY)
    assert row.mismatched == 0 and row.spikes == row.spikes_reference > 2


def test_a_difference_is_counted_and_a_refusal_told() -> None:
    ours = {"a": np.eye(4, dtype=bool)[None], "b": np.zeros((1, 4, 2), bool)}
    theirs = {node: array.copy() for node, array in ours.items()}
    theirs["b"][0, 2, 1] = theirs["a"][0, 0, 1] = True
    row = conformance_row("graph", "other", ours, theirs)
    assert (row.entries, row.spikes, row.spikes_reference, row.mismatched) == (24, 4, 6, 2)

    def refuses(graph: Any, dt: float) -> Any:
        raise ValueError("this   graph\nis not for me")

    (row,) = rows_of(shown("single-neuron"), [NirFramework("N", "numpy", refuses)])
    assert row.mismatched is None and row.note == "not run: ValueError: this graph is not for me"
    with pytest.raises(CannotRun, match="node '1' has 0 modules of that name"):
        other = NirFramework("N", "numpy", lambda graph, dt: (torch.nn.Linear(1, 1), lambda current, state: None))
        other.run(None, 1e-4, np.zeros((1, 2, 1)), ["1"])


class Silent(NirFramework):
    """A framework in which nothing ever fires."""

    version = "1"

    def run(self, graph: Any, dt: float, shown: np.ndarray, nodes: Sequence[str]) -> Any:
        return {node: np.zeros((*shown.shape[:2], 1), bool) for node in nodes}, torch.float64


def test_what_several_imports_make_of_a_graph_is_simulated_once(simulated: list[NetworkSpec]) -> None:
    same = Deviation("nothing changes", lambda graph, dt: graph)
    frameworks = [Silent(name, name, lambda graph, dt: None, (same,)) for name in ("one", "other")]
    rows = rows_of(shown("single-neuron"), frameworks)
    assert [row.note for row in rows] == [f"{row.spikes} mismatched if nothing changes" for row in rows]
    assert len(simulated) == 2 and rows[0].spikes > 5


def test_only_biases_on_the_way_back_wait() -> None:
    assert with_late_biases(paper_network("n-mnist", 0).graph, 1.0) is None
    assert with_late_biases(paper_network("braille-no-bias", 0).graph, 1e-4) is None
    changed = with_late_biases(paper_network("braille-bias", 0).graph, 1e-4)
    assert {"lif1.w_rec.bias", "lif1.w_rec.held"} == set(changed.nodes) - set(
        paper_network("braille-bias", 0).graph.nodes
    )


@pytest.fixture
def one_neuron(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The command with the smallest network alone, and a folder with a graph of one neuron."""
    for where in (paper, paper_networks):
        monkeypatch.setattr(where, "PAPER_NETWORKS", {"single-neuron": PAPER_NETWORKS["single-neuron"]})
    monkeypatch.setattr(paper, "OWN_NETWORKS", {})
    nir.write(tmp_path / "lif.nir", paper_network("single-neuron", 0).graph)
    return tmp_path


def run(folder: Path, *options: object) -> int:
    how = ("--presentations", 1, "--steps", 40, "--backend", "numpy", "--json", folder / "out.json")
    return call("conformance", *how, *options)


def test_the_command_compares_a_folder_with_traces_and_writes_the_page(
    one_neuron: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = paper_network("single-neuron", 0)
    x = network.spikes(1, 80, 7)[0, :, 0]
    v, fired = 0.0, np.zeros(80)
    for step in range(80):
        v += 0.04 * (x[step] - v)
        fired[step], v = v > 0.1, 0.0 if v > 0.1 else v
    for name, spikes in (("same", fired), ("late", np.roll(fired, 1)), ("other", 1 - fired)):
        np.savetxt(one_neuron / f"{name}.csv", np.stack([x, x, spikes], 1), delimiter=",")
    (one_neuron / "table.csv").write_text("a,b\n1,2\n")
    page = one_neuron / "page.md"
    page.write_text(f"# Head\n\n{MARK}\n\nold\n")
    assert run(one_neuron, "--graphs", one_neuron, "--page", page) == 1
    result = json.loads((one_neuron / "out.json").read_text())
    found = {row["reference"]: (row["mismatched"], row["note"]) for row in result["rows"] if row["graph"] == "lif.nir"}
    assert found["recorded in same.csv"] == (0, "")
    assert found["recorded in late.csv"][1] == "0 mismatched if the recording is one step late"
    assert found["recorded in other.csv"] == (80, "")
    assert page.read_text() == f"# Head\n\n{MARK}\n\n{tables(result)}\n" and tables(result) in capsys.readouterr().out
    assert run(one_neuron) == 2 and "already exists" in capsys.readouterr().err


def test_the_input_beside_a_graph_is_shown(one_neuron: Path) -> None:
    np.savez(one_neuron / "lif.npz", input=np.zeros((3, 7, 1)))
    (one_neuron / "bad.nir").write_bytes(b"no HDF5")
    nodes = {"a": nir.Input({"input": np.array([1])}), "b": nir.Input({"input": np.array([1])})}
    two = chain((1,), n=nir.IF(np.ones(1), np.ones(1)))
    nir.write(one_neuron / "two.nir", nir.NIRGraph({**nodes, "n": two.nodes["n"], "output": two.nodes["output"]}, [("a", "n"), ("b", "n"), ("n", "output")]))  # fmt: skip
    assert run(one_neuron, "--graphs", one_neuron) == 0
    rows = json.loads((one_neuron / "out.json").read_text())["rows"]
    notes = {row["graph"]: row["note"] for row in rows}
    assert "damaged or no HDF5" in notes["bad.nir"] and "2 inputs" in notes["two.nir"]
    if all(each.version is None for each in FRAMEWORKS):
        pytest.skip("no framework that imports NIR graphs is installed, so no row shows the input")
    found = [row for row in rows if row["graph"] == "lif.nir"]
    assert found and all(row["entries"] == 21 and row["spikes"] == 0 for row in found)


def test_recordings_beside_a_graph_are_compared(one_neuron: Path, simulated: list[NetworkSpec]) -> None:
    np.savez(one_neuron / "lif.npz", input=np.ones((1, 9, 1)))
    v, fired = 0.0, np.zeros((9, 1))
    for step in range(9):
        v += 0.04 * (1 - v)
        fired[step], v = v > 0.1, 0.0 if v > 0.1 else v
    assert fired.sum() == 3
    recordings = {"same": {"1": fired}, "other": {"1": 1 - fired}, "short": {"1": fired[1:]}, "no": {"output": fired}}
    for name, arrays in recordings.items():
        np.savez(one_neuron / f"lif.{name}.npz", **arrays)
    (one_neuron / "lif.bad.npz").write_bytes(b"no archive")
    assert run(one_neuron, "--graphs", one_neuron) == 1
    # The paper's neuron, twice for it has a closed form, and the file's.
    assert len(simulated) == 3
    rows = json.loads((one_neuron / "out.json").read_text())["rows"]
    found = {row["reference"]: (row["mismatched"], row["note"]) for row in rows}
    assert found["recorded in lif.same.npz"] == (0, "") and found["recorded in lif.other.npz"] == (9, "")
    assert found["recorded in lif.short.npz"] == (None, "not compared: it holds '1' of shape (8, 1)")
    assert "is no readable .npz file" in found["recorded in lif.bad.npz"][1]
    assert found["recorded in lif.no.npz"] == (None, "not compared: it holds none of the spiking nodes")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--steps", 0), "--steps 0: use at least 1"), (("--graphs", "nowhere"), "there is no file *.nir"),
        (("--page", "nowhere.md"), "there is no such file"), (("--page", str(ROOT / "README.md")), "it has no line"),
    ],
)  # fmt: skip
def test_bad_options_are_a_sentence(
    options: tuple, sentence: str, one_neuron: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(one_neuron, *options) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_the_page_shows_the_kept_run() -> None:
    assert tables(json.loads(RESULT.read_text(encoding="utf-8"))) in PAGE.read_text(encoding="utf-8")
