"""Learning by the times of spikes: neurons with rectified linear postsynaptic potentials, each fires at most once.

The membrane of such a neuron is ``sum_i w_i * max(t - t_i, 0)``, linear between two input spikes. So it reaches the
threshold at a time in closed form,

    t_j = (threshold + sum_C w_ij t_i) / S_j    with    S_j = sum_C w_ij,

over the causal set C of the inputs that fired before t_j, and its derivatives are

    dt_j / dw_ij = (t_i - t_j) / S_j    and    dt_j / dt_i = w_ij / S_j.

Nothing is stepped in training. A neuron that does not reach its threshold by the horizon fires at `NEVER`, without a
gradient.

Source: Zhang et al., TNNLS 2022 (arXiv 2003.11837). The derivatives follow from ``V(t_j) = threshold``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.config.run import RunConfig
from alade_brian.data import Dataset
from alade_brian.errors import UserError
from alade_brian.learning.incremental.methods.plain import ClassStage, Plain
from alade_brian.learning.incremental.task_data import TaskData
from alade_brian.learning.stage import Stage, TrainingSet
from alade_brian.models import ExpandableNetwork
from alade_brian.models.layers.first_to_fire import FirstToFire
from alade_brian.models.networks.latency import LatencyNet
from alade_brian.models.neurons.latency import NEVER, RelPspIF

# In units of the threshold per unit of time: a slope below it counts as this in the gradient.
LEAST_SLOPE = 0.1
# Sums of a neuron's weights, in thresholds: what they are drawn about, and below which they cost; the spread of a
# weight times the root of their number.
MEAN_SUM, LEAST_SUM, SPREAD = 4.0, 2.0, 1.0
SUM_COST = 1.0
# By so much float32 may leave 0..1 in normalising and back.
ROUNDING = 1e-5


class _FirstSpikeTimes(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, times: Tensor, weight: Tensor, threshold: float, horizon: float
    ) -> Tensor:
        found, slope = _crossings(times, weight, threshold, horizon)
        ctx.save_for_backward(times, weight, found, slope.clamp(min=LEAST_SLOPE * threshold))
        return found

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # type: ignore[no-untyped-def]
        times, weight, found, slope = ctx.saved_tensors
        per_slope = torch.where(found < NEVER, gradient / slope, torch.zeros_like(slope))
        to_times = _to_times(times, weight, found, per_slope) if ctx.needs_input_grad[0] else None
        return to_times, _to_weight(times, found, per_slope) if ctx.needs_input_grad[1] else None, None, None


def first_spike_times(times: Tensor, weight: Tensor, threshold: float, horizon: float) -> Tensor:
    """When each neuron of a layer fires: ``(n, inputs)`` -> ``(n, outputs)``, `NEVER` where not before the horizon.

    times    when the inputs fired, at 0 or later; `NEVER` where they did not
    weight   ``(outputs, inputs)``

    The gradient is that of the closed form over the causal set, with a slope S of at least `LEAST_SLOPE` thresholds
    per unit of time: a membrane that only just reaches the threshold moves far for a small change of its input, and
    would throw all weights about. (S itself is never near 0 where a neuron fires before the next input: it has to rise
    from below the threshold.)
    """
    return _FirstSpikeTimes.apply(times, weight, threshold, horizon)


def _crossings(times: Tensor, weight: Tensor, threshold: float, horizon: float) -> tuple[Tensor, Tensor]:
    """The times of the spikes and the slopes of the membranes there, each ``(n, outputs)``.

    The inputs are gone through in the order of their times, those of all images at once: the cumulative sums of w and
    of w * t are kept as the slope, and as what is missing to the threshold.
    """
    ordered, order = times.sort(1)
    rows = weight.t().contiguous()
    count = int((ordered < horizon).sum(1).max()) if len(times) else 0
    ends = torch.cat([ordered[:, 1:], torch.full_like(ordered[:, :1], horizon)], 1).clamp(max=horizon)
    slope = times.new_zeros(len(times), len(weight))
    missing = torch.full_like(slope, threshold)
    found, slopes = torch.full_like(slope, NEVER), torch.ones_like(slope)
    for rank in range(count):
        begin, end = ordered[:, rank, None], ends[:, rank, None]
        slope += rows[order[:, rank]] * (begin < horizon)
        rise = slope * (end - begin).clamp_(min=0)
        fires = rise >= missing
        if bool(fires.any()):
            found[fires] = (begin + missing / slope)[fires]
            slopes[fires] = slope[fires]
        missing -= rise
        missing[fires] = torch.inf
    return found, slopes


def _to_times(times: Tensor, weight: Tensor, found: Tensor, per_slope: Tensor) -> Tensor:
    causal = times[:, :, None] < found[:, None, :]
    return (causal * weight.t() * per_slope[:, None, :]).sum(2)


def _to_weight(times: Tensor, found: Tensor, per_slope: Tensor) -> Tensor:
    """One image after the other: what they add up in stays in the cache."""
    total = torch.zeros(found.shape[1], times.shape[1], dtype=times.dtype, device=times.device)
    for t, of, factor in zip(times, found, per_slope, strict=True):
        fired = factor.nonzero()[:, 0]
        if len(fired):
            total[fired] -= (of[fired, None] - t).clamp_(min=0) * factor[fired, None]
    return total


class RelPsp(Plain):
    """Plain training of a `LatencyNet` by the times of its spikes. The first output to fire is the answer.

    The loss is the cross-entropy of ``softmax(-t / temperature)`` of the outputs' times, in windows, plus `SUM_COST`
    times what the sums of the neurons' weights lack to `LEAST_SUM` thresholds.
    """

    name = "relpsp"
    takes_values = False
    learns_times = True

    def __init__(self, config: RunConfig, network: ExpandableNetwork) -> None:
        super().__init__(config, network)
        self.mean, self.std = np.zeros(1), np.ones(1)
        if config.network.backbone != "latency":
            raise UserError(
                f"network.backbone is '{config.network.backbone}', but the method 'relpsp' learns the times of single "
                "spikes; use the backbone 'latency'"
            )
        if not isinstance(network.decision, FirstToFire):
            raise UserError(
                f"network.neuron is '{config.network.neuron}', but the method 'relpsp' needs neurons with rectified "
                "linear postsynaptic potentials; use RelPspIF"
            )

    def see(self, dataset: Dataset) -> None:
        self.mean, self.std = dataset.mean, dataset.std
        for images in (dataset.train_images, dataset.test_images):
            check_intensities(dataset.name, images, self.mean, self.std)

    def begin_task(self, data: TaskData) -> None:
        super().begin_task(data)
        latency_net(self.network).undo_normalisation(self.mean, self.std)
        for linear, _ in self.layers():
            draw_weights(linear.weight)

    def layers(self) -> list[tuple[nn.Linear, RelPspIF]]:
        """Weights and neurons of every layer, from the first to the outputs."""
        return timed_layers(self.network)

    def respond(self, images: Tensor) -> Tensor:
        """Minus the times at which the outputs fire, ``(n, classes)``, in windows; the horizon for others."""
        return -spike_times(self.network, images)[-1].clamp(max=horizon_of(self.network))

    def stages(self, data: TaskData, generator: np.random.Generator) -> Iterator[Stage]:
        yield TimesStage(self, data)


class TimesStage(ClassStage):
    """Cross-entropy of spike times, and the cost of sums of weights that are too small for a spike."""

    def __init__(self, method: RelPsp, data: TaskData) -> None:
        super().__init__(method, data)
        self.layers = method.layers()

    def loss(self, batch: TrainingSet) -> Tensor:
        return super().loss(batch) + SUM_COST * sum_cost(self.layers)


def sum_cost(layers: Iterable[tuple[nn.Linear, RelPspIF]]) -> Tensor:
    """What the sums of the neurons' weights lack to `LEAST_SUM` thresholds: a layer's mean, summed over layers.

    A neuron that fires for no image has no gradient of its time. This one brings it back.
    Source: Mostafa, "Supervised learning based on temporal coding in spiking neural networks", TNNLS 2018
    (arXiv 1606.08165).
    """
    costs = [(LEAST_SUM * neuron.threshold - linear.weight.sum(1)).clamp(min=0).mean() for linear, neuron in layers]
    return torch.stack(costs).sum()


def draw_weights(weight: Tensor) -> None:
    """Fresh weights ``(outputs, inputs)``: normal, with a mean that lets a neuron fire within about half a window where
    half of its inputs have fired, and a spread that makes neurons differ by about that much."""
    inputs = weight.shape[1]
    nn.init.normal_(weight, MEAN_SUM / inputs, SPREAD / inputs**0.5)


def spike_times(network: ExpandableNetwork, images: Tensor) -> list[Tensor]:
    """When all neurons fire, in closed form: per layer ``(n, neurons)``, the pixels first, in windows; `NEVER` where
    they do not within the presentation."""
    times, horizon = [latency_net(network).input_times(images)], horizon_of(network)
    for linear, neuron in timed_layers(network):
        times.append(first_spike_times(times[-1], linear.weight, float(neuron.threshold), horizon))
    return times


def horizon_of(network: ExpandableNetwork) -> float:
    """The time of the last step, in windows."""
    neuron = timed_layers(network)[-1][1]
    return (neuron.steps - 1) / neuron.window


def latency_net(network: ExpandableNetwork) -> LatencyNet:
    """The extractor of a network that learns spike times."""
    (extractor,) = network.extractors
    assert isinstance(extractor, LatencyNet), "the method refuses other backbones"
    return extractor


def timed_layers(network: ExpandableNetwork) -> list[tuple[nn.Linear, RelPspIF]]:
    """Weights and neurons of every layer behind the pixels, to the outputs."""
    assert network.classifier is not None and isinstance(network.decision, FirstToFire)
    return [*latency_net(network).timed_layers(), (network.classifier, network.decision.neuron)]


def check_intensities(name: str, images: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
    """UserError where images, before they were normalised, leave 0..1."""
    least, most = (of(images, axis=(0, 2, 3)) * std + mean for of in (np.min, np.max))
    if least.min() < -ROUNDING or most.max() > 1 + ROUNDING:
        raise UserError(
            f"the images of '{name}' have values from {least.min():.4g} to {most.max():.4g}, but a latency is made of "
            "an intensity from 0 to 1; scale them"
        )
