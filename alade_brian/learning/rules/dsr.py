"""Differentiation on spike representation: a spiking network is trained by what its neurons send on average.

Two passes for a batch. The first lets the network spike, step by step and without a gradient, and keeps every layer's
weighted mean output. The second sends means through the same layers, once instead of in every step: the output of a
layer is the measured mean, its gradient that of the ideal response ``clip(gain * mean current, 0, threshold)``. So
nothing is kept over time, and what a training step remembers does not grow with the steps.

Source: Meng, Xiao, Yan, Wang, Lin, Luo, "Training high-performance low-latency spiking neural networks by
differentiation on spike representation", CVPR 2022 (arXiv 2205.00459), and its authors' code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from alade_brian.config.run import RunConfig
from alade_brian.errors import UserError
from alade_brian.learning.incremental.methods.plain import Plain
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.models import NEURONS, ExpandableNetwork
from alade_brian.models.neurons.neuron import SpikingNeuron
from alade_brian.models.neurons.quantal import Pass, QuantalNeuron

# Thresholds are not learned below it.
BOUND = 0.01
_QUANTAL = " or ".join(name for name, cls in NEURONS.items() if issubclass(cls, QuantalNeuron))


class Dsr(Plain):
    """Plain training by the representation of spikes. All spiking neurons are `QuantalNeuron`."""

    name = "dsr"

    representation: Representation

    def __init__(self, config: RunConfig, network: ExpandableNetwork) -> None:
        super().__init__(config, network)
        neuron = config.network.neuron
        if not issubclass(NEURONS.find(neuron), QuantalNeuron):
            raise UserError(
                f"network.neuron is '{neuron}', but the method 'dsr' needs a neuron with a representation; use "
                f"{_QUANTAL}"
            )

    def begin_task(self, data: TaskData) -> None:
        super().begin_task(data)
        self.representation = Representation(self.network)

    def respond(self, images: Tensor) -> Tensor:
        """What the network answers, with the gradient of its representation.

        UserError where a learned threshold fell to its bound.
        """
        for name, neuron in self.representation.neurons.items():
            if isinstance(neuron.threshold, nn.Parameter) and bool((neuron.threshold < BOUND).any()):
                raise UserError(
                    f"the learned threshold of layer {name} fell to its bound {BOUND}; use a lower "
                    "learning.learning_rate or a higher network.threshold"
                )
        return self.representation(images)

    def task_facts(self) -> dict[str, Any]:
        """The learned thresholds, layer by layer."""
        return {"thresholds": thresholds(self.network)}


class Representation:
    """What a network answers, with the gradient of its representation.

    Called with a batch of images it gives what the network in training mode gives for them.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.neurons = quantal_neurons(network)
        self.norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]

    def __call__(self, images: Tensor) -> Tensor:
        with torch.no_grad(), self._pass("measure"), self._variances() as variances:
            self.network(images)
        # A quantal neuron that represents takes a mean whatever its number of steps.
        others = [m for m in self.network.modules() if not isinstance(m, QuantalNeuron)]
        with self._pass("represent"), at_steps(others, 1), self._normalised_by(variances):
            return self.network(_mean_image(images, self.neurons))

    @contextmanager
    def _pass(self, pass_: Pass) -> Iterator[None]:
        for neuron in self.neurons.values():
            neuron.pass_ = pass_
        try:
            yield
        finally:
            for neuron in self.neurons.values():
                neuron.pass_ = "spikes"
                if pass_ == "represent":
                    neuron.mean_output = None

    @contextmanager
    def _variances(self) -> Iterator[dict[nn.Module, Tensor]]:
        """The variances, over images, places and steps, of what reaches each batch norm."""
        found: dict[nn.Module, Tensor] = {}

        def keep(norm: nn.Module, inputs: tuple[Tensor]) -> None:
            found[norm] = _variance(inputs[0])

        with ExitStack() as hooks:
            for norm in self.norms:
                hooks.callback(norm.register_forward_pre_hook(keep).remove)
            yield found

    @contextmanager
    def _normalised_by(self, variances: dict[nn.Module, Tensor]) -> Iterator[None]:
        """Batch norm of means, with the statistics of the steps; its running statistics stay as they are.

        A mean over the steps varies less than the steps do. What they vary about it is a constant here.
        """

        def replace(norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            assert isinstance(norm, _BatchNorm)
            mean, own = inputs[0].mean(_axes(inputs[0])), _variance(inputs[0])
            variance = own + (variances[norm] - own).detach()
            shape = (1, -1, *(1,) * (inputs[0].ndim - 2))
            scale = norm.weight / torch.sqrt(variance + norm.eps)
            return inputs[0] * scale.reshape(shape) + (norm.bias - mean * scale).reshape(shape)

        with ExitStack() as hooks:
            for norm in self.norms:
                norm.eval()
                hooks.callback(norm.train)
                hooks.callback(norm.register_forward_hook(replace).remove)
            yield


@contextmanager
def at_steps(modules: Iterable[nn.Module], number: int) -> Iterator[None]:
    """Modules that count time steps, at another number of them while the block runs."""
    before = {m: m.steps for m in modules if hasattr(m, "steps")}
    for module in before:
        module.steps = number  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, steps in before.items():
            module.steps = steps


def quantal_neurons(network: nn.Module) -> dict[str, QuantalNeuron]:
    """The spiking neurons of a network by name; UserError where one has no representation."""
    spiking = {name: m for name, m in network.named_modules() if isinstance(m, SpikingNeuron)}
    for name, neuron in spiking.items():
        if not isinstance(neuron, QuantalNeuron):
            raise UserError(f"layer {name} is {type(neuron).__name__}, which has no representation; use {_QUANTAL}")
    return {name: m for name, m in spiking.items() if isinstance(m, QuantalNeuron)}


def thresholds(network: nn.Module) -> dict[str, float]:
    """The threshold of each layer whose threshold is one number."""
    found = {name: torch.as_tensor(neuron.threshold).detach() for name, neuron in quantal_neurons(network).items()}
    return {name: float(threshold) for name, threshold in found.items() if threshold.numel() == 1}


def _mean_image(images: Tensor, neurons: dict[str, QuantalNeuron]) -> Tensor:
    """Of sequences ``(steps, n, ...)`` the weighted mean frame ``(1, n, ...)``; still images as they are."""
    if images.ndim < 5:
        return images
    first = next(iter(neurons.values()))
    return first.weighted_mean(images.flatten(0, 1))[None]


def _axes(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


def _variance(x: Tensor) -> Tensor:
    return x.var(_axes(x), unbiased=False)
