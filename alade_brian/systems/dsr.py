"""What differentiation on spike representation rests on: what neurons send on average is what the rule assumes.

The rule (`alade_brian.learning.rules.dsr`) takes the gradient of an ideal response, ``clip(gain * mean current, 0,
threshold)``. How far a trained network's neurons are from it is measured on test images, at the steps it was trained
with and at others: the error falls with their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.analysis.figures import plot_representation
from alade_brian.analysis.figures.style import new_axes
from alade_brian.errors import UserError
from alade_brian.learning.checkpoint import load_checkpoint
from alade_brian.learning.incremental.task_data import time_first
from alade_brian.learning.rules.dsr import at_steps, quantal_neurons
from alade_brian.models.neurons.quantal import QuantalNeuron
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.subject import evaluated_images

STEPS = (5, 10, 20, 40, 80)
IMAGES = 100


def prove(folders: Sequence[RunFolder]) -> dict[str, Any]:
    """How far every layer of a run is from its representation, and the accuracy, by the number of steps; JSON-ready.

    ``{"steps": [...], "accuracy": [...], "layers": {name: [mean error in thresholds, ...]}}``, on at most `IMAGES`
    test images, for the checkpoint of the folder's first task.
    """
    folder, *others = folders
    if others:
        raise UserError(f"the proof of dsr measures one run, not {len(folders)}; name one")
    checkpoint = folder.checkpoint(1)
    network, header = load_checkpoint(checkpoint)
    _, images = evaluated_images(header, str(checkpoint), IMAGES)
    if images.targets is not None:
        raise UserError(
            f"the run in {folder.path} learnt values, but the proof counts classes; choose a run with classes"
        )
    shown = time_first(torch.from_numpy(images.images))
    # A recording has as many steps as it has frames.
    steps = (header["architecture"]["backbone"]["steps"],) if header.get("sequence") else STEPS
    return measure(network, shown, images.labels, steps)


def measure(network: nn.Module, images: Tensor, labels: np.ndarray, steps: Sequence[int]) -> dict[str, Any]:
    """As `prove`, of a network in eval mode and images as it takes them, labels int64 ``(n,)``."""
    neurons = quantal_neurons(network)
    accuracy: list[float] = []
    errors: dict[str, list[float]] = {name: [] for name in neurons}
    for number in steps:
        with torch.no_grad(), at_steps(network.modules(), number), _errors(neurons) as found:
            answers = network(images).argmax(-1).numpy()
        accuracy.append(float((answers == labels).mean()))
        for name, error in found.items():
            errors[name].append(error)
    return {"steps": list(steps), "accuracy": accuracy, "layers": errors}


def draw(found: Mapping[str, Any]) -> Any:
    """The figure of what `prove` found."""
    return plot_representation(found, new_axes()[1])


def table(found: Mapping[str, Any]) -> str:
    """The text of what `prove` found."""
    rows = [("steps", *(str(t) for t in found["steps"])), ("accuracy", *(f"{a:.4f}" for a in found["accuracy"]))]
    rows += [(name, *(f"{error:.5f}" for error in errors)) for name, errors in found["layers"].items()]
    width = max(len(row[0]) for row in rows)
    lines = [f"{row[0]:<{width}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
    return "\n".join([*lines[:2], "mean error of the representation, in thresholds:", *lines[2:]])


@contextmanager
def _errors(neurons: Mapping[str, QuantalNeuron]) -> Iterator[dict[str, float]]:
    """The mean distance of what each layer sends from its representation, in thresholds."""
    found: dict[str, float] = {}

    def keep(name: str, neuron: QuantalNeuron, current: Tensor, sent: Tensor) -> None:
        ideal = neuron.representation(neuron.weighted_mean(current))
        error = (neuron.weighted_mean(sent) - ideal).abs() / (neuron.threshold * neuron.unit)
        found[name] = float(error.mean())

    with ExitStack() as hooks:
        for name, neuron in neurons.items():
            hook = neuron.register_forward_hook(lambda n, x, out, name=name: keep(name, n, x[0], out))
            hooks.callback(hook.remove)
        yield found
