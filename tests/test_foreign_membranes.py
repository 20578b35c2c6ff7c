"""Where two networks part first, both membranes are named: those of other frameworks' neurons too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from networks import NUMPY
from test_frameworks import (
    Containers,
    MultiStep,
    NorseNet,
    NorseOverTime,
    NorseRecurrent,
    SingleStep,
    SnnTorchNet,
    images,
    norse_cells,
    random_,
    snntorch_neurons,
    spikingjelly_neurons,
)
from torch import nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.simulation.states import record_states
from alade_brian.spec import constant
from alade_brian.verification.torch_reference import TorchReference
from alade_brian.verification.verify import verify


def snntorch_net(name: str) -> nn.Module:
    snn = pytest.importorskip("snntorch")
    return SnnTorchNet(snntorch_neurons()[name](), snn.Leaky(0.9, threshold=0.5))


# By name: the network, the shape of its images, and how much larger than usual these are.
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "Leaky": (lambda: snntorch_net("Leaky"), (20,), 1),
    "Leaky at once": (lambda: snntorch_net("Leaky at once"), (20,), 1),
    "Synaptic zero": (lambda: snntorch_net("Synaptic zero"), (20,), 1),
    "Alpha subtract": (lambda: snntorch_net("Alpha subtract"), (20,), 1),
    "RLeaky": (lambda: snntorch_net("RLeaky"), (20,), 1),
    "several steps at once": (lambda: MultiStep(spikingjelly_neurons()["LIF subtract"]()), (2, 6, 6), 1),
    "step by step": (lambda: SingleStep(spikingjelly_neurons()["PLIF"]()), (2, 6, 6), 1),
    "containers": (lambda: Containers(spikingjelly_neurons()["IF"]()), (2, 6, 6), 1),
    "Norse": (lambda: NorseNet(norse_cells()["LIF"](), "mean"), (2, 6, 6), 1),
    "Norse box": (lambda: NorseNet(norse_cells()["LIFBox subtract"](), "mean"), (2, 6, 6), 1),
    "Norse recurrent": (NorseRecurrent, (6,), 20),
    "Norse over time": (lambda: NorseOverTime("container"), (6,), 20),
}


@pytest.mark.parametrize("name", CASES)
def test_membranes_before_the_reset_are_those_of_the_equations(name: str) -> None:
    make, shape, scale = CASES[name]
    model, shown = random_(make()), images(*shape) * scale
    spec = convert(model, shape)
    reference = TorchReference(model, spec)
    # A maximum of spikes has no neurons in torch.
    own = [p for p in spec.spiking if not isinstance(model.get_submodule(p.name), nn.MaxPool2d)]
    for population in own:
        found, variable = reference.membranes(shown, 1, population.name), population.neuron.membrane
        expected = record_states(spec, shown[1:2], {population.name: [variable]})[1][population.name][variable][0]
        assert found is not None and np.abs(found).max() > 0
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_first_divergence_names_both_membranes() -> None:
    model, shown = random_(snntorch_net("Leaky")), images(20)
    spec = convert(model, (20,))
    neuron = spec.population("lif1").neuron
    changed = replace(neuron, parameters={**neuron.parameters, "v_threshold": constant(0.8)})
    found = verify(model, shown, spec.replace_population("lif1", neuron=changed), NUMPY).first_divergence
    assert found is not None and found.layer == "lif1"
    assert found.membrane_reference == pytest.approx(found.membrane_brian2, abs=1e-9)
    assert 0.8 < found.membrane_reference <= 1.0 and f"{found.membrane_reference:.17g} in torch" in str(found)
