"""Networks that a framework builds, runs and exports itself: its own spikes against those of its NIR graph in Brian2.

Architectures as in `paper_networks`, as far as the exporters go: none writes sum pooling, so the convolutional network
averages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from alade_brian.conversion.nir_graphs.read import Reset, ResetTiming

STEP = 1e-4
CHANNELS, HIDDEN, CLASSES = 12, 38, 7


@dataclass(frozen=True, eq=False)
class OwnNetwork:
    """A framework's network and its NIR graph.

    title     of the task
    neurons   the framework's classes
    package   the framework's distribution
    module    takes one step of all presentations ``(n, *shape)`` and keeps, or returns, its state
    dt        the step of the graph in seconds
    rate      probability of a spike in an element of the input and step
    stateful  whether the module takes its state and returns it
    dtype     in which the module runs
    """

    title: str
    neurons: str
    package: str
    module: nn.Module
    graph: Any
    dt: float
    shape: tuple[int, ...]
    rate: float
    reset: Reset = "model"
    reset_timing: ResetTiming | None = None
    stateful: bool = False
    dtype: torch.dtype = torch.float64

    def step(self, current: torch.Tensor, state: Any) -> Any:
        """One step; the state after it."""
        return self.module(current, state)[1] if self.stateful else self.module(current)


def snntorch_neuron(draw: np.random.Generator) -> OwnNetwork:
    """A `Leaky` neuron that is set to 0 in the step of its spike."""
    import snntorch as snn

    how: dict[str, Any] = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    leaky = snn.Leaky(torch.full((1,), 0.96), torch.full((1,), 2.5), **how)
    module = _drawn(nn.Sequential(nn.Linear(1, 1, bias=False), leaky), draw, (1.0,))
    return _exported_by_snntorch("Single neuron", "`Leaky`", module, (1,), 0.5)


def snntorch_recurrent(bias: bool) -> Callable[[np.random.Generator], OwnNetwork]:
    """`RSynaptic` and `Synaptic` neurons that subtract their threshold in the step after a spike.

    The paper's networks reset in the same step (``reset_delay=False``), which in an `RSynaptic` of snnTorch 1.0 that
    keeps its own state raises an error.
    """

    def make(draw: np.random.Generator) -> OwnNetwork:
        import snntorch as snn

        own: dict[str, Any] = {"init_hidden": True, "reset_mechanism": "subtract"}
        alpha, beta, ones = (torch.full((CLASSES,), x) for x in (0.25, 0.5, 1.0))
        recurrent = snn.RSynaptic(0.5, 0.75, linear_features=HIDDEN, **own)
        layers = nn.Linear(CHANNELS, HIDDEN, bias), recurrent, nn.Linear(HIDDEN, CLASSES, bias)
        module = _drawn(nn.Sequential(*layers, snn.Synaptic(alpha, beta, ones, **own)), draw, (0.1, 0.0, 0.05), 0.2)
        if not bias:
            nn.init.zeros_(recurrent.recurrent.bias)
        title = f"Recurrent network for Braille, {'with' if bias else 'without'} biases"
        # Its states stay float32 whatever its parameters are.
        how: dict[str, Any] = {"reset": "subtract", "reset_timing": "next-step", "dtype": torch.float32}
        return _exported_by_snntorch(title, "`RSynaptic`, `Synaptic`", module, (CHANNELS,), 0.2, **how)

    return make


def _exported_by_snntorch(
    title: str, neurons: str, module: nn.Module, shape: tuple[int, ...], rate: float, **how: Any
) -> OwnNetwork:
    import snntorch.utils
    from snntorch.export_nir import export_to_nir

    graph = export_to_nir(module, torch.zeros(1, *shape), ignore_dims=[0])
    snntorch.utils.reset(module)
    return OwnNetwork(title, neurons, "snntorch", module, graph, STEP, shape, rate, **how)


def norse_neuron(draw: np.random.Generator) -> OwnNetwork:
    """A `LIFBoxCell`, whose exporter multiplies time constants by its step of 1 ms."""
    import norse.torch as norse

    constants = norse.LIFBoxParameters(
        tau_mem_inv=torch.tensor([400.0]), v_th=torch.tensor([0.3]), v_leak=torch.zeros(1)
    )
    module = norse.SequentialState(nn.Linear(1, 1, bias=False), norse.LIFBoxCell(constants, dt=1e-3))
    _drawn(module, draw, (1.0,))
    graph = norse.to_nir(module, torch.zeros(1))
    return OwnNetwork("Single neuron", "`LIFBoxCell`", "norse", module, graph, 1e-6, (1,), 0.5, stateful=True)


def spikingjelly_convolutions(draw: np.random.Generator) -> OwnNetwork:
    """`IFNode` neurons behind convolutions, average pooling and dense layers on 2 x 34 x 34 events."""
    from spikingjelly.activation_based import layer, neuron
    from spikingjelly.activation_based.functional import reset_net
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    def fires() -> nn.Module:
        return neuron.IFNode(v_threshold=1.0, v_reset=0.0)

    module = nn.Sequential(
        layer.Conv2d(2, 16, 5, 2, 1, bias=False), fires(), layer.Conv2d(16, 16, 3, 1, 1, bias=False), fires(),
        layer.AvgPool2d(2, 2), layer.Conv2d(16, 8, 3, 1, 1, bias=False), fires(), layer.AvgPool2d(2, 2),
        layer.Flatten(), layer.Linear(128, 256, bias=False), fires(), layer.Linear(256, 10, bias=False), fires(),
    )  # fmt: skip
    _drawn(module, draw, (0.05, 0.02, 0.04, 0.02, 0.02), 0.1)
    graph = export_to_nir(module, torch.zeros(1, 2, 34, 34), dt=STEP)
    reset_net(module)
    title, neurons = "Convolutional network for N-MNIST", "`IFNode`, average pooling"
    return OwnNetwork(title, neurons, "spikingjelly", module, graph, STEP, (2, 34, 34), 0.1)


OWN_NETWORKS: Mapping[str, Callable[[np.random.Generator], OwnNetwork]] = {
    "snntorch-neuron": snntorch_neuron,
    "snntorch-bias": snntorch_recurrent(bias=True),
    "snntorch-no-bias": snntorch_recurrent(bias=False),
    "norse-neuron": norse_neuron,
    "spikingjelly-convolutions": spikingjelly_convolutions,
}


def _drawn(module: nn.Module, draw: np.random.Generator, means: tuple[float, ...], spread: float = 0.0) -> Any:
    """Fill the weights of linear layers and convolutions, in their order, and their biases."""
    parts = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        for part, mean in zip(parts, means, strict=True):
            part.weight.copy_(torch.from_numpy(draw.normal(mean, spread, tuple(part.weight.shape))))
            if part.bias is not None:
                part.bias.copy_(torch.from_numpy(draw.normal(0.0, spread, tuple(part.bias.shape))))
    return module
