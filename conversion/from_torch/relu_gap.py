"""How far a spiking network is from the one with ReLU units that it was made of, by layers and by answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from alade_brian.conversion.from_torch.relu_units import BATCH, Recorder, Units, percentile_of
from alade_brian.errors import UserError


@dataclass(frozen=True)
class LayerGap:
    """How far a layer of spiking neurons is from its ReLU.

    threshold   the least and the largest of its thresholds
    error       mean distance of what the neurons send on average from the activation
    scale       the activation that the layer's percentile names, which `error` is to be seen against
    clipped     the fraction of activations above their threshold
    """

    name: str
    threshold: tuple[float, float]
    error: float
    scale: float
    clipped: float

    @property
    def relative_error(self) -> float:
        """The error in units of the layer's scale; of a layer that is silent without an error 0."""
        if not self.scale:
            return float("inf") if self.error else 0.0
        return self.error / self.scale


@dataclass(frozen=True)
class ReluGap:
    """How far a spiking network is from the one with ReLU units, on some images.

    layers      in their order
    steps       numbers of steps, ascending; the last is the network's
    agreement   at each of them, the fraction of images to which both give the same answer
    accuracy    at each of them, the spiking network's; None without labels
    accuracy_relu   of the network with ReLU units; None without labels
    """

    images: int
    layers: tuple[LayerGap, ...]
    steps: tuple[int, ...]
    agreement: tuple[float, ...]
    accuracy: tuple[float, ...] | None = None
    accuracy_relu: float | None = None

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        lines = [
            f"approximate: spiking neurons in the place of ReLU units, {self.steps[-1]} steps, {self.images} images",
            f"{'layer':<{width}}  {'threshold':>19}  {'mean error':>10}  {'of scale':>8}  {'clipped':>8}",
        ]
        for layer in self.layers:
            low, high = layer.threshold
            said = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
            lines.append(
                f"{layer.name:<{width}}  {said:>19}  {layer.error:>10.4g}  {layer.relative_error:>8.2%}  "
                f"{layer.clipped:>8.2%}"
            )
        lines.append("same answer as the ReLU network, by steps:")
        lines.append("  ".join(f"{t}: {a:.4f}" for t, a in zip(self.steps, self.agreement, strict=True)))
        if self.accuracy is not None:
            lines.append(f"accuracy of the ReLU network {self.accuracy_relu:.4f}, of the spiking one by steps:")
            lines.append("  ".join(f"{t}: {a:.4f}" for t, a in zip(self.steps, self.accuracy, strict=True)))
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Pair:
    """A network with ReLU units and the spiking one that was made of it."""

    units: Units
    network: fx.GraphModule
    steps: int
    percentile: float

    def gap(self, images: Tensor, labels: np.ndarray | None) -> ReluGap:
        """See `ReluConversion.measure`."""
        if labels is not None and np.shape(labels) != (len(images),):
            raise UserError(f"{len(images)} images have labels of shape {np.shape(labels)}; give one per image")
        parts = [self._shown(batch) for batch in images.split(BATCH)]
        relu = {name: torch.cat([part[0][name] for part in parts]) for name in parts[0][0]}
        sent = {name: torch.cat([part[1][name] for part in parts]) for name in relu}
        answers = np.concatenate([part[2] for part in parts])
        over_time = np.concatenate([part[3] for part in parts], 1)
        steps = (*(2**k for k in range(self.steps.bit_length()) if 2**k < self.steps), self.steps)
        at = [over_time[t - 1] for t in steps]
        return ReluGap(
            len(images),
            tuple(self._layer(name, relu[name], sent[name]) for name in relu),
            steps,
            tuple(float((each == answers).mean()) for each in at),
            None if labels is None else tuple(float((each == labels).mean()) for each in at),
            None if labels is None else float((answers == labels).mean()),
        )

    def _shown(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], np.ndarray, np.ndarray]:
        """Of some images: activations and means of what is sent, by layer; answers of the ReLU network ``(n,)``, and of
        the spiking one after every step ``(steps, n)``."""
        relu = Recorder(self.units.analogue, self.units.names).record(images)
        answers = relu.pop("").argmax(-1)
        spiking = Recorder(self.network, self._nodes()).record(images)
        sent = {name: spiking[name].reshape(self.steps, *relu[name].shape).mean(0) for name in relu}
        after_step = spiking["logits"].reshape(self.steps, len(images), -1).cumsum(0).argmax(-1)
        return relu, sent, answers.cpu().numpy(), after_step.cpu().numpy()

    def _nodes(self) -> dict[str, str]:
        """Nodes of the spiking network's graph: neurons by their layers, and what the readout averages."""
        neurons = set(self.units.names.values())
        found = {n.name: str(n.target) for n in self.network.graph.nodes if str(n.target) in neurons}
        (output,) = (node for node in self.network.graph.nodes if node.op == "output")
        return {**found, output.args[0].args[0].name: "logits"}

    def _layer(self, name: str, activations: Tensor, sent: Tensor) -> LayerGap:
        threshold = self.network.get_submodule(name).threshold
        assert isinstance(threshold, Tensor)
        return LayerGap(
            name,
            (float(threshold.min()), float(threshold.max())),
            float((sent - activations).abs().mean()),
            percentile_of(activations, self.percentile),
            float((activations > threshold).float().mean()),
        )
