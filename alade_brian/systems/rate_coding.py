"""A rate-coded network of the same size as a latency-coded one, to compare the number of spikes with.

A network of rectified linear units is trained on the same images, its weights are normalised layer by layer by its
largest activations, and its units become integrate-and-fire neurons that are reset by subtraction. Pixels are neurons
too, which fire at a rate of their intensity. It is not tuned beyond that.

Source: Diehl, Neil, Binas, Cook, Liu, Pfeiffer, "Fast-classifying, high-accuracy spiking deep networks through weight
and threshold balancing", IJCNN 2015 (data-based normalisation); Rueckauer et al., Frontiers in Neuroscience 2017 (reset
by subtraction, a percentile in the place of the maximum).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.data import ImageSet
from alade_brian.learning.rules.relpsp import latency_net, timed_layers
from alade_brian.learning.stage import seeded
from alade_brian.models import IF, ExpandableNetwork, HoldCurrent, SumOverSteps
from alade_brian.simulation import SimulationSettings, open_simulator

EPOCHS, BATCH, LEARNING_RATE, SEED = 8, 64, 1e-3, 1993
PERCENTILE = 0.999


def simulated_rates(
    latency: ExpandableNetwork,
    training: ImageSet,
    test: ImageSet,
    steps: Sequence[int],
    settings: SimulationSettings,
) -> dict[str, Any]:
    """Train a network of the same size, convert it, simulate it for these numbers of steps; JSON-ready.

    ``accuracy_analogue``: of its rectified linear units on the test images. ``by_steps``: per number of steps
    ``accuracy`` and ``spikes`` per image, those of the pixels included, both of the simulation.
    """
    weights = rectified_weights(latency, training)
    intensity = latency_net(latency).intensity
    with torch.no_grad():
        x = intensity(torch.from_numpy(test.images)).flatten(1)
        analogue = _activations(weights, x)[-1].argmax(1).numpy()
        largest = [_largest(a) for a in _activations(weights, intensity(torch.from_numpy(training.images)).flatten(1))]
    scaled = [w * before / after for w, before, after in zip(weights, [1.0, *largest], largest, strict=False)]
    return {
        "accuracy_analogue": float((analogue == test.labels).mean()),
        "by_steps": [_simulate(scaled, intensity, test, number, settings) for number in steps],
    }


def rectified_weights(latency: ExpandableNetwork, training: ImageSet) -> list[Tensor]:
    """Weights of a network of rectified linear units with the sizes of another one, trained with cross-entropy."""
    with torch.no_grad():
        x = latency_net(latency).intensity(torch.from_numpy(training.images)).flatten(1)
    labels = torch.from_numpy(training.labels)
    with seeded(SEED):
        linears = [nn.Linear(old.in_features, old.out_features, bias=False) for old, _ in timed_layers(latency)]
        weights = [linear.weight for linear in linears]
        optimiser = torch.optim.Adam(weights, LEARNING_RATE)
        for _ in range(EPOCHS):
            for index in torch.randperm(len(labels)).split(BATCH):
                optimiser.zero_grad()
                F.cross_entropy(_activations(weights, x[index])[-1], labels[index]).backward()
                optimiser.step()
    return [weight.detach() for weight in weights]


def _activations(weights: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """Of every layer behind the pixels; the last one is not rectified."""
    found = []
    for number, weight in enumerate(weights, start=1):
        x = F.linear(x, weight)
        x = x if number == len(weights) else x.relu()
        found.append(x)
    return found


def _largest(activations: Tensor) -> float:
    """The percentile that becomes the largest rate of a layer."""
    return float(np.quantile(activations.clamp(min=0).numpy(), PERCENTILE))


def _simulate(
    weights: Sequence[Tensor], intensity: nn.Module, test: ImageSet, steps: int, settings: SimulationSettings
) -> dict[str, Any]:
    layers: list[nn.Module] = [intensity, nn.Flatten(), HoldCurrent(steps), _counter(steps)]
    for weight in weights:
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight = nn.Parameter(weight)
        layers += [linear, _counter(steps)]
    spec = convert(nn.Sequential(*layers, SumOverSteps(steps)).eval(), test.images.shape[1:])
    spikes, answers = 0, []
    for _, found in open_simulator(spec, settings).chunks(test.images):
        spikes += sum(int(each.sum()) for each in found.spikes.values())
        answers.append(found.predictions)
    accuracy = float((np.concatenate(answers) == test.labels).mean())
    return {"steps": steps, "accuracy": accuracy, "spikes": spikes / len(test.images)}


def _counter(steps: int) -> IF:
    return IF(steps, threshold=1.0, comparison=">=", reset="subtract", v_reset=1.0)
