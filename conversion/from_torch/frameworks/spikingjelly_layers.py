"""SpikingJelly (read from version 2.0.0): its containers, its layers, and beside them its neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.ann2snn.modules import ChannelVoltageScaler, VoltageScaler
from torch import Tensor, nn

from alade_brian.conversion.from_torch.frameworks.registry import Framework, linear_layer, numbers
from alade_brian.conversion.from_torch.frameworks.spikingjelly_neurons import NEURONS, REFUSED, in_double
from alade_brian.conversion.from_torch.layers import lower_delay
from alade_brian.conversion.from_torch.lowerings import LOWERINGS
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import AffineInput, CannotLower, SpecBuilder, apply_operator, scale
from alade_brian.spec import Dense

# Layers that are torch's own but for the axis of steps.
_WRAPPED = (
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Conv1d",
    "Conv2d", "ConvTranspose1d", "ConvTranspose2d", "Flatten", "Linear", "MaxPool1d", "MaxPool2d",
)  # fmt: skip


def _container_kind(module: Any) -> str:
    """How a container calls its layers: with steps and images folded into one axis, step by step, or once."""
    if isinstance(module, layer.StepModeContainer):
        return "chain" if module.step_mode == "s" else "driven" if module.stateful else "folded"
    return "folded" if isinstance(module, layer.SeqToANNContainer) else "driven"


class _Watched(nn.Module):
    """A surrogate that keeps what it is given: the distances from the threshold."""

    def __init__(self, surrogate: nn.Module) -> None:
        super().__init__()
        self.surrogate = surrogate
        self.seen: list[Tensor] = []

    def forward(self, distance: Tensor) -> Tensor:
        self.seen.append(distance)
        return self.surrogate(distance)


def _membranes(module: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What the neuron, perhaps one in a container, compares with its threshold, step by step."""
    node = next(part for part in module.modules() if isinstance(part, neuron.BaseNode))
    node.surrogate_function = watched = _Watched(node.surrogate_function)
    functional.set_step_mode(module, "s")
    functional.reset_net(module)
    for current in inputs:
        module(current)
    return [distance + node.v_threshold for distance in watched.seen]


def _lower_voting(lowering: SpecBuilder, name: str, module: Any, value: AffineInput) -> AffineInput:
    """Neighbouring outputs vote together: their mean."""
    if len(value.shape) != 1 or value.shape[0] % module.voting_size:
        raise CannotLower("voting_size", module.voting_size, f"does not divide the outputs, {value.shape}")
    groups = np.eye(value.shape[0] // module.voting_size)
    return apply_operator(lowering, Dense(np.repeat(groups, module.voting_size, axis=1) / module.voting_size), value)


def _lower_scaler(lowering: SpecBuilder, name: str, module: Any, value: AffineInput) -> AffineInput:
    """A gain between a neuron and its connections, as the conversion of a network with ReLU units leaves it."""
    return scale(lowering, value, numbers(module.scale))


def _lower_channel_scaler(lowering: SpecBuilder, name: str, module: Any, value: AffineInput) -> AffineInput:
    """The same with a gain for each channel, along the axis that it names; axis 0 is the batch."""
    axes = len(value.shape) + 1
    if module.scale.dim() == 0:
        return _lower_scaler(lowering, name, module, value)
    if module.channel_dim % axes == 0:
        raise CannotLower("channel_dim", module.channel_dim, "scales image by image; use channel_dim=1")
    along = [1] * axes
    along[module.channel_dim % axes] = -1
    return scale(lowering, value, module.scale.double().numpy().reshape(along[1:]))


def _recurrent(module: Any) -> ForeignNeuron:
    """A neuron, perhaps behind linear layers, behind a linear layer that reads the input and the neuron's own spikes of
    the step before."""
    inside: list[Any] = list(module.sub_module) if type(module.sub_module) is nn.Sequential else [module.sub_module]
    known = NEURONS.get(type(inside[-1]))
    if known is None or not all(isinstance(part, nn.Linear) for part in inside[:-1]):
        said = "is no neuron that is known, nor one behind linear layers; use IFNode or LIFNode"
        raise CannotLower("sub_module", type(inside[-1]).__name__, said)
    alone = known(inside[-1])
    if alone.recurrent is not None or not alone.equations.spiking:
        raise CannotLower("sub_module", type(inside[-1]).__name__, "does not stand in such a container; use LIFNode")
    whole, inputs = module.rc, module.rc.in_features - module.sub_module_out_features
    enters = [
        linear_layer(whole.weight[:, :inputs], whole.bias),
        *(linear_layer(part.weight, part.bias) for part in inside[:-1]),
    ]
    # What comes back passes the same layers; their biases have come in already.
    returns = [linear_layer(whole.weight[:, inputs:]), *(linear_layer(part.weight) for part in inside[:-1])]
    return replace(
        alone,
        enters=nn.Sequential(*enters),
        recurrent=nn.Sequential(*returns),
        over_steps=module.step_mode == "m",
    )


FRAMEWORK = Framework(
    name="spikingjelly",
    title="SpikingJelly",
    version="2.0.0",
    modules=(
        "spikingjelly.activation_based.neuron",
        "spikingjelly.activation_based.layer",
        "spikingjelly.activation_based.ann2snn.modules",
    ),
    neurons={**NEURONS, layer.LinearRecurrentContainer: _recurrent},
    layers={
        layer.VotingLayer: _lower_voting,
        VoltageScaler: _lower_scaler,
        ChannelVoltageScaler: _lower_channel_scaler,
        layer.Delay: lower_delay,
        layer.Dropout: LOWERINGS[nn.Dropout],
        layer.Dropout2d: LOWERINGS[nn.Dropout],
        # The threshold scales its weights when it is made; from then on it is one batch norm for all steps.
        layer.ThresholdDependentBatchNorm1d: LOWERINGS[nn.BatchNorm2d],
        layer.ThresholdDependentBatchNorm2d: LOWERINGS[nn.BatchNorm2d],
        **{getattr(layer, name): LOWERINGS[getattr(nn, name)] for name in _WRAPPED},
    },
    containers=(layer.SeqToANNContainer, layer.MultiStepContainer, layer.StepModeContainer),
    container_kind=_container_kind,
    refused=REFUSED,
    reset="reset",
    in_double=in_double,
    membranes=_membranes,
)
