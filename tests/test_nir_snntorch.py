"""Graphs that snnTorch itself exported, held against snnTorch, spike by spike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from command_line import call
from networks import NUMPY
from nir_specs import assert_specs_equal
from torch import nn

from alade_brian.conversion.nir_graphs.read import open_nir, read_nir
from alade_brian.conversion.nir_graphs.write import to_nir
from alade_brian.simulation import SimulationSettings, simulate

snn, export = pytest.importorskip("snntorch"), pytest.importorskip("snntorch.export_nir")

STEPS, INPUTS, HIDDEN, OUTPUTS = 20, 4, 5, 3
SHOWN = np.random.default_rng(0).normal(size=(4, STEPS, INPUTS)) * 1.5

RECURRENT: dict[str, Callable[..., nn.Module]] = {
    "RLeaky, all to all": lambda **how: snn.RLeaky(0.8, linear_features=HIDDEN, **how),
    "RLeaky, one to one": lambda **how: snn.RLeaky(0.8, V=torch.rand(HIDDEN), all_to_all=False, **how),
    "RSynaptic, all to all": lambda **how: snn.RSynaptic(0.6, 0.8, linear_features=HIDDEN, **how),
    "RSynaptic, one to one": lambda **how: snn.RSynaptic(0.6, 0.8, V=torch.rand(HIDDEN), all_to_all=False, **how),
}


def network(case: str, **how: object) -> nn.Sequential:
    """A recurrent layer, its weights with a large bias, between two linear ones."""
    torch.manual_seed(0)
    how |= {"init_hidden": True, "reset_mechanism": "subtract"}
    first, recurrent = nn.Linear(INPUTS, HIDDEN), RECURRENT[case](**how)
    if isinstance(recurrent.recurrent, nn.Linear):
        recurrent.recurrent.bias.data = torch.rand(HIDDEN) + 0.2
    beta, threshold = torch.full((OUTPUTS,), 0.9), torch.ones(OUTPUTS)
    last = snn.Leaky(beta, threshold, init_hidden=True, reset_mechanism="subtract")
    return nn.Sequential(first, recurrent, nn.Linear(HIDDEN, OUTPUTS), last)


def expected(net: nn.Sequential) -> dict[str, np.ndarray]:
    """snnTorch's own spikes of both neuron layers, ``(n, steps, neurons)``."""
    fired: dict[str, list[torch.Tensor]] = {"1.lif": [], "3": []}
    with torch.no_grad():
        for x in torch.from_numpy(SHOWN).float().unbind(1):
            fired["1.lif"].append(net[1](net[0](x)))
            fired["3"].append(net[3](net[2](fired["1.lif"][-1])))
    return {name: torch.stack(spikes, 1).numpy() for name, spikes in fired.items()}


def exported(net: nn.Sequential) -> nir.NIRGraph:
    return export.export_to_nir(net, torch.zeros(1, INPUTS), ignore_dims=[0])


def assert_same_spikes(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for name, spikes in wanted.items():
        assert spikes.any(), name
        np.testing.assert_array_equal(found[name].reshape(spikes.shape), spikes, err_msg=name)


@pytest.mark.parametrize("case", RECURRENT)
def test_a_recurrent_layer_spikes_as_in_snntorch(case: str) -> None:
    net = network(case)
    read = open_nir(exported(net), STEPS, None, "euler", "subtract", "next-step")
    assert read.spec.dt == 1e-4
    found = simulate(read.spec, SHOWN, NUMPY).spikes
    assert_same_spikes({node: found[name] for node, name in read.neurons.items()}, expected(net))


@pytest.mark.parametrize("settings", [SimulationSettings(), SimulationSettings(passes="separate")], ids=["fused", "separate"])  # fmt: skip
def test_generated_code_spikes_as_in_snntorch(settings: SimulationSettings) -> None:
    net = network("RLeaky, all to all")
    read = open_nir(exported(net), STEPS, None, "euler", "subtract", "next-step")
    found = simulate(read.spec, SHOWN, settings).spikes
    assert_same_spikes({node: found[name] for node, name in read.neurons.items()}, expected(net))


def test_a_reset_at_once_and_the_moment_of_a_reset_come_back_from_nir() -> None:
    """``reset_delay=False`` is the default of the reader, and another one. Both are kept in this program's own files."""
    graph = exported(network("RLeaky, all to all"))
    moments = {}
    for timing in ("same-step", "next-step", None):
        spec = read_nir(graph, STEPS, None, "euler", "subtract", timing)  # type: ignore[arg-type]
        assert_specs_equal(read_nir(to_nir(spec)), spec)
        moments[timing] = {p.neuron.leak for p in spec.spiking}
    assert moments == {"same-step": {"after_reset"}, "next-step": {"before_reset"}, None: {"after_reset"}}


def test_the_command_runs_an_export_as_snntorch_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = network("RSynaptic, all to all")
    nir.write(tmp_path / "net.nir", exported(net))
    np.savez(tmp_path / "in.npz", input=SHOWN)
    files = [tmp_path / "net.nir", "--input", tmp_path / "in.npz", "--out", tmp_path / "out.npz", "--backend", "numpy"]
    options = ["--discretisation", "euler", "--reset", "subtract", "--reset-timing", "next-step"]
    assert call("run-nir", *files, *options) == 0
    assert "4 presentations of 20 steps of 0.1 ms" in capsys.readouterr().out
    with np.load(tmp_path / "out.npz") as found:
        assert_same_spikes(dict(found), expected(net))
