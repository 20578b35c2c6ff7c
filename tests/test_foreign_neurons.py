"""Neurons of other packages against the equations that their adapters state, computed by torch: every class, every
example of the table."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.from_torch.frameworks import registry
from alade_brian.conversion.from_torch.frameworks.probe import difference
from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS, Framework
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.nir_graphs.neurons import NotInNIR
from alade_brian.conversion.nir_graphs.write import write_nir
from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.spec import constant
from alade_brian.verification.coverage.network import Example
from alade_brian.verification.coverage.table import PLACES, registered_rows


def neuron_of(framework: Framework, example: Example) -> tuple[nn.Module, ForeignNeuron]:
    """The layer of an example and what its adapter makes of it."""
    layer = example.network().layer.double().eval()
    module = next(m for m in layer.modules() if type(m) in framework.neurons)
    return module, framework.neurons[type(module)](module)


@pytest.mark.parametrize("name", list(PLACES))
def test_every_class_steps_as_its_equations(name: str) -> None:
    pytest.importorskip(name)
    framework, found = FRAMEWORKS[name](), {}
    exact = {row.name for row in registered_rows(name) if row.path == "exact"}
    for kind, examples in PLACES[name][1]().items():
        for example in examples if kind in exact else ():
            module, neuron = neuron_of(framework, example)
            found[f"{kind}({example.said})"] = difference(module, neuron, framework.reset, framework.in_double)
    assert {key: how for key, how in found.items() if how} == {} and len(found) > 20


def exponential(**changes: Any) -> tuple[nn.Module, ForeignNeuron]:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    framework = FRAMEWORKS["spikingjelly"]()
    module, stated = neuron_of(framework, Example(lambda: neuron.EIFNode()))
    parameters = {**stated.equations.parameters, **{key: constant(value) for key, value in changes.items()}}
    return module, replace(stated, equations=replace(stated.equations, parameters=parameters))


def test_an_equation_that_is_not_the_step_is_noticed() -> None:
    for wrong in ({"delta_T": 1.05}, {"v_reset": -0.2}, {"v_threshold": 1.02}, {"gain": 0.51}):
        assert "spikes" in difference(*exponential(**wrong), reset="reset")
    assert difference(*exponential(), reset="reset") == ""


def test_neurons_and_constants_per_neuron_have_the_shape_that_fits() -> None:
    norse = pytest.importorskip("norse.torch")
    p = norse.LIFAdExParameters(v_th=torch.linspace(0.3, 1.5, 7), delta_T=torch.linspace(0.3, 0.7, 7))
    framework = FRAMEWORKS["norse"]()
    assert difference(*neuron_of(framework, Example(lambda: norse.LIFAdExCell(p), form="state"))) == ""


def steps_of(neuron: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), neuron)


def with_version(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(registry, "version", lambda package: found)
    registry._warn_once.cache_clear()


def test_a_newer_version_that_steps_alike_is_taken_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    snn = pytest.importorskip("snntorch")
    with_version(monkeypatch, "1.10.2")
    with caplog.at_level(logging.WARNING):
        spec = convert(steps_of(snn.Leaky(0.9, init_hidden=True)), (4,), steps=3)
    assert spec.population("1").neuron.parameters["v_threshold"].value == 1
    said = [r.getMessage() for r in caplog.records if "newer" in r.getMessage()]
    assert len(said) == 1 and "snntorch 1.10.2 is newer than 1.0" in said[0] and "Leaky" in said[0]


def test_a_newer_version_that_steps_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reset now leaves something of the membrane."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    with_version(monkeypatch, "2.1.0")

    def leave(self: Any, spike: torch.Tensor) -> None:
        self.v = self.v * (1 - 0.9 * spike)

    monkeypatch.setattr(neuron.SimpleLIFNode, "neuronal_reset", leave)
    words = r"version of spikingjelly = 2.1.0 steps SimpleLIFNode otherwise than version 2.0 \(\d+ of \d+ spikes\)"
    with pytest.raises(RefusedLayers, match=words):
        convert(steps_of(neuron.SimpleLIFNode(2.0, True)), (4,), steps=3)
    convert(steps_of(neuron.LIFNode()), (4,), steps=3)


def test_a_noisy_neuron_and_a_folded_norm_are_refused() -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    folded = neuron.MPBNLIFNode(out_features=3)
    folded.re_parameterize_v_threshold()
    gated = neuron.GatedLIFNode(4)
    gated.conduct.data[2] = 0.3
    channels = neuron.ActivationAwareIFNode(torch.tensor([1.0, 2.0]), channel_dim=1)
    for module, words in (
        (neuron.NoisyCUBALIFNode(3), "is_training = True adds noise"),
        (neuron.NoisyNonSpikingIFNode(3), "is_training = True adds noise"),
        (folded, "convert before re_parameterize_v_threshold"),
        (gated, "differs from step to step"),
        (channels, "count from the back"),
        (neuron.NonSpikingLIFNode(), "decode = None has no readout"),
        (neuron.ILCIFNode(2, 3, v_reset=None), "fails in SpikingJelly itself"),
        (neuron.PSN(4), "inputs of later steps"),
    ):
        with pytest.raises(RefusedLayers, match=words):
            convert(steps_of(module), (4,), steps=4)


def test_a_variable_begins_where_its_parameter_says(tmp_path: Path) -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    spec = convert(steps_of(neuron.IzhikevichNode(w_rest=0.25)), (4,), steps=2)
    parameters = spec.populations[0].neuron.parameters
    assert np.all(parameters["recovery_initial"].value == 0.25)
    with pytest.raises(NotInNIR, match="a variable that begins at 'recovery_initial'"):
        write_nir(spec, tmp_path / "model.nir")
