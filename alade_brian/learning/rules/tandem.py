"""Progressive tandem learning: a trained analogue network becomes a spiking one layer by layer, from the input.

The layer whose turn it is (the hybrid layer) sends forwards what its spiking neurons count, with batch norm folded into
their weights, and backwards the gradient of its analogue twin, ``ReLU(norm(W counts + b))``, straight through. The
layers below it are spiking and learn no more; those above are analogue and learn on. Then the layer is frozen, and the
next one has its turn; after the last one the readout alone learns. Whatever a conversion costs is thus made up for by
the layers that are still to come.

Counts stand for activations: a neuron fires when it reaches its threshold, loses it and sends it, so that what it
sends on average over the steps is the activation, cut off at the threshold and rounded down to a multiple of
``threshold / steps`` (`QuantalIF` with the fraction 1). The source's numbers are these divided by the number of steps.

Source: Wu, Xu, Han, Zhou, Zhang, Li, Tan, TPAMI 2021 (arXiv 2007.01204), and its authors' code. There a layer's turn
ends when the accuracy has not grown for some epochs; here it has a fixed number of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alade_brian.config.run import RunConfig
from alade_brian.errors import UserError
from alade_brian.learning.incremental.methods.base import evaluating
from alade_brian.learning.incremental.methods.plain import Plain
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.stage import Stage
from alade_brian.models import BACKBONES, ExpandableNetwork
from alade_brian.models.networks.tandem import TandemLayer, TandemNet

# A threshold is calibrated on at most so many training images.
CALIBRATION = 1000
# The learning rate of the readout alone, relative to that of a layer's turn; as in the source's code.
READOUT_RATE = 0.1


class Tandem(Plain):
    """Section `learning` trains the analogue network, `finetuning` each layer's turn and the readout's.

    stages_kept   the network after each stage but the last: analogue, then with one more spiking layer each; names and
                  tensors of what a later stage has changed since
    """

    name = "tandem"

    def __init__(self, config: RunConfig, network: ExpandableNetwork) -> None:
        super().__init__(config, network)
        backbone = config.network.backbone
        if BACKBONES.get(backbone) is not TandemNet:
            raise UserError(
                f"network.backbone is '{backbone}', but the method 'tandem' converts layer by layer; use 'tandem'"
            )
        # Layers that are spiking, the hybrid one among them.
        self.converted = 0
        self.stages_kept: list[dict[str, Tensor]] = []

    @property
    def extractor(self) -> TandemNet:
        """The network without its readout."""
        (extractor,) = self.network.extractors
        assert isinstance(extractor, TandemNet)
        return extractor

    def layers(self) -> list[TandemLayer]:
        """The layers that are converted, from the input."""
        return [layer for layer in self.extractor.layers if isinstance(layer, TandemLayer)]

    def begin_task(self, data: TaskData) -> None:
        super().begin_task(data)
        self.converted, self.stages_kept = 0, []
        for layer in self.layers():
            layer.add_norm()

    def epochs(self, first: bool) -> int:
        turns = len(self.config.network.channels) + len(self.config.network.hidden) + 1
        return super().epochs(first) + turns * self.config.finetuning.epochs

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        turn = self.config.finetuning
        yield self.stage(data)
        self._keep()
        for number, layer in enumerate(self.layers(), 1):
            self.convert_next(data.images)
            yield self.stage(data, turn, 1 + number)
            layer.fold(*self.weights(layer))
            self._keep()
        # What is frozen gives the same features in every epoch, unless images are changed.
        shown = data if self.augments else dataclasses.replace(data, images=self._features(data.images))
        readout = dataclasses.replace(turn, learning_rate=READOUT_RATE * turn.learning_rate)
        yield self.stage(shown, readout, 2 + len(self.extractor.layers))

    def convert_next(self, images: Tensor) -> None:
        """Make the next layer the hybrid one: its threshold is a percentile of its activations on training images
        ``(n, C, H, W)``. UserError where the layer is silent."""
        layers, number = self.layers(), self.converted
        with torch.no_grad(), evaluating(self.network):
            below = self._hybrid(self._calibrating(images), layers[:number])
            self._calibrate(number, layers[number].activation(below))
        self.converted += 1

    def convert_at_once(self, images: Tensor, count: int) -> None:
        """Primitive conversion: the first layers of the analogue network become spiking without any learning, each with
        the percentile of its analogue activations. UserError where one is silent."""
        x = self._calibrating(images)
        with torch.no_grad(), evaluating(self.network):
            for number, layer in enumerate(self.layers()[:count]):
                x = layer.activation(x)
                self._calibrate(number, x)
        for layer in self.layers()[:count]:
            layer.fold(*self.weights(layer))
        self.converted = count

    def _calibrating(self, images: Tensor) -> Tensor:
        """At most `CALIBRATION` of some images, evenly spaced."""
        rows = torch.linspace(0, len(images) - 1, min(len(images), CALIBRATION)).long()
        return images[rows].to(self._device)

    def _calibrate(self, number: int, activations: Tensor) -> None:
        threshold = percentile(activations, self.config.tandem.percentile)
        if not threshold > 0:
            raise UserError(
                f"the {self.config.tandem.percentile}th percentile of the activations of layer {number + 1} is "
                f"{threshold}, which is no threshold; raise tandem.percentile, or lower learning.learning_rate"
            )
        kept = self.layers()[number].neuron.threshold
        assert isinstance(kept, Tensor), "a threshold that is calibrated is a buffer"
        kept.fill_(threshold)

    def weights(self, layer: TandemLayer) -> tuple[Tensor, Tensor]:
        """What a spiking layer has for weights and bias: the folded ones, rounded where the configuration says so."""
        weight, bias = layer.folded()
        bits = self.config.tandem.weight_bits
        return (weight if bits is None else quantised(weight, bits)), bias

    def respond(self, images: Tensor) -> Tensor:
        """The network's outputs with the gradient of the twins; of features ``(n, width)`` those of the readout."""
        assert self.network.classifier is not None, "set_classifier comes before the first image"
        return self.network.classifier(images if images.ndim == 2 else self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the readout reads of images ``(n, C, H, W)``: mean features ``(n, width)``."""
        layers = self.layers()
        mean = self._hybrid(images, layers[: self.converted])
        for layer in layers[self.converted :]:
            mean = layer.activation(mean)
        return self.extractor.last(mean)

    def _hybrid(self, images: Tensor, spiking: Sequence[TandemLayer]) -> Tensor:
        """The mean output of the last of some spiking layers, with its twin's gradient; without any, the images."""
        if not spiking:
            return images
        *frozen, layer = spiking
        learns = layer.linear.weight.requires_grad
        with torch.no_grad():
            below = self.extractor.impulse(images)
            for each in frozen:
                below = each(below)
            sent = layer.spikes(below, *self.weights(layer)) if learns else layer(below)
            counted = layer.neuron.weighted_mean(sent)
        if not learns:
            return counted
        expected = layer.activation(frozen[-1].neuron.weighted_mean(below) if frozen else images)
        return expected + (counted - expected).detach()

    @torch.no_grad()
    def _features(self, images: Tensor, batch: int = 500) -> Tensor:
        with evaluating(self.network):
            return torch.cat([self.features(part.to(self._device)).cpu() for part in images.split(batch)])

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _keep(self) -> None:
        fixed = tuple(f"extractors.0.layers.{k}." for k in range(self.converted - 1))
        kept = {name: t for name, t in self.network.state_dict().items() if not name.startswith(fixed)}
        self.stages_kept.append({name: tensor.detach().cpu().clone() for name, tensor in kept.items()})

    def task_facts(self) -> dict[str, Any]:
        """The thresholds, layer by layer."""
        return {"thresholds": [float(layer.neuron.threshold) for layer in self.layers()]}

    def state(self) -> dict[str, Any]:
        return {"stages": list(self.stages_kept)}

    def restore(self, state: dict[str, Any]) -> None:
        self.stages_kept = list(state["stages"])


def percentile(activations: Tensor, q: float) -> float:
    """The q-th percentile of all values, with linear interpolation, as numpy's."""
    return float(np.percentile(activations.detach().cpu().numpy(), q))


def quantised(weight: Tensor, bits: int) -> Tensor:
    """Weights rounded to the nearest of ``2 ** bits - 1`` equally spaced numbers, symmetric about 0, of which the
    largest is the largest weight's size. Zeros stay as they are."""
    most = 2 ** (bits - 1) - 1
    size = weight.abs().max()
    return weight if size == 0 else torch.round(weight / size * most) * (size / most)
