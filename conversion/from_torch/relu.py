"""From a network with ReLU units to one of spiking neurons: an approximation, whose gap is measured layer by layer.

Every ReLU becomes integrate-and-fire neurons whose threshold is a percentile of its activations on some images, for the
layer or for each channel. The image is a held current; a neuron that reaches its threshold loses it and sends it, so
that what it sends on average over the steps comes close to the activation, cut off at the threshold. Everything else
stays as it is, and so does the path from the spiking network on: `convert` lowers it exactly.

Sources: Diehl et al., IJCNN 2015 (thresholds balanced on activations); Rueckauer et al., Frontiers in Neuroscience 2017
(percentiles, the reset by subtraction).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, fx, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.from_torch.relu_gap import Pair, ReluGap
from alade_brian.conversion.from_torch.relu_units import Per, Units
from alade_brian.errors import UserError
from alade_brian.spec import NetworkSpec


@dataclass(frozen=True, eq=False)
class ReluConversion:
    """What `convert_relu` made of a network with ReLU units.

    network   the spiking network, a torch module that `verify` takes: images in, mean outputs of the last layer out
    spec      its specification, which is exact
    gap       how far it is from the network with ReLU units, on the images that the thresholds were balanced on
    """

    network: fx.GraphModule
    spec: NetworkSpec
    _images: Tensor
    _pair: Pair

    @cached_property
    def gap(self) -> ReluGap:
        """Measured when it is asked for first: the spiking network runs for all its steps."""
        return self._pair.gap(self._images, None)

    def measure(self, images: Any, labels: np.ndarray | None = None) -> ReluGap:
        """The gap on other images, as `convert_relu` takes them; with labels, int ``(n,)``, also the accuracies.
        UserError where these are not one per image."""
        return self._pair.gap(_tensor(images, self.network), labels)


def convert_relu(
    model: nn.Module, images: Any, *, steps: int, percentile: float = 99.9, per: Per = "layer", fraction: float = 1.0
) -> ReluConversion:
    """Make a spiking network of one with ReLU units, approximately.

    model        of layers that `convert` takes, with ReLU as modules or functions, ending in logits ``(n, classes)``
                 (a softmax behind them is left out); or what SpikingJelly's ann2snn makes of such a network, whose
                 thresholds are then kept. It is read in eval mode and not changed
    images       array or tensor ``(n, ...)`` to balance the thresholds on, as the model takes them
    steps        time steps of a presentation
    percentile   of the activations, over images and units, is the threshold
    per          one threshold for each ``layer`` or each ``channel`` (of a fully connected layer, each unit); a channel
                 that no image activates has its layer's
    fraction     of its threshold at which a neuron fires: 1 rounds activations down, 0.5 to the nearest

    UserError where a layer has no spiking counterpart, is silent on the images, or an argument is out of range;
    RefusedLayers where the spiking network itself cannot be converted exactly.

    >>> import torch
    >>> from torch import nn
    >>> from alade_brian import convert_relu
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> made = convert_relu(model, torch.rand(50, 6), steps=64)
    >>> [population.name for population in made.spec.populations], made.gap.layers[0].relative_error < 0.02
    (['1', 'output'], True)
    """
    _check_arguments(steps, percentile, per, fraction)
    own = copy.deepcopy(model).eval().requires_grad_(False)
    # A layer alone is followed as the one layer of a network.
    own = own if list(own.children()) else nn.Sequential(own)
    shown = _tensor(images, own)
    units = Units(own)
    network = units.spiking(steps, fraction, units.thresholds(shown, percentile, per))
    pair = Pair(units, network, steps, percentile)
    spec = convert(network, tuple(shown.shape[1:]))
    return ReluConversion(network, spec, shown, pair)


def _check_arguments(steps: int, percentile: float, per: str, fraction: float) -> None:
    if steps < 1:
        raise UserError(f"steps is {steps}; use at least 1")
    if not 0 < percentile <= 100:
        raise UserError(f"percentile is {percentile}; use a number above 0, at most 100")
    if per not in get_args(Per):
        raise UserError(f"per is '{per}'; use one of {', '.join(get_args(Per))}")
    if not 0 < fraction <= 1:
        raise UserError(f"fraction is {fraction}; use a number above 0, at most 1")


def _tensor(images: Any, model: nn.Module) -> Tensor:
    """Images as the model takes them, in its numbers and on its device."""
    like = next((p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()), torch.zeros(()))
    shown = torch.as_tensor(images).to(like.device, like.dtype)
    if shown.ndim < 2 or not len(shown):
        raise UserError(f"there are no images to balance thresholds on ({tuple(shown.shape)}); give some (n, ...)")
    return shown
