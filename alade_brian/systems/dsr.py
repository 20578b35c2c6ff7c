"""What differentiation on spike representation rests on: what neurons send on average is what the rule assumes.

The rule (`alade_brian.learning.rules.dsr`) takes the gradient of an ideal response, ``clip(gain * mean current, 0,
threshold)``. How far a trained network's neurons are from it is measured on test images, at the steps it was trained
with and at others: the error falls with their number. Beside it stands what a training step keeps and costs, by the
rule and by backpropagation through time.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alade_brian.analysis.figures import plot_representation
from alade_brian.analysis.figures.style import new_axes
from alade_brian.errors import UserError
from alade_brian.learning.checkpoint import load_checkpoint
from alade_brian.learning.incremental.task_data import time_first
from alade_brian.learning.rules.dsr import Representation, at_steps, quantal_neurons
from alade_brian.models.neurons.quantal import QuantalNeuron
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.subject import evaluated_images

STEPS = (5, 10, 20, 40, 80)
TRAINED = (5, 10, 20)
IMAGES = 100
ROUNDS = 3


def prove(folders: Sequence[RunFolder]) -> dict[str, Any]:
    """How far every layer of a run is from its representation, and the accuracy, by the number of steps; JSON-ready.

    ``{"steps": [...], "accuracy": [...], "layers": {name: [mean error in thresholds, ...]}, "training": {...}}``, the
    last as `training_cost` gives it, on at most `IMAGES` test images, for the checkpoint of the folder's first task.
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
    own = (header["architecture"]["backbone"]["steps"],) if header.get("sequence") else None
    found = measure(network, shown, images.labels, own or STEPS)
    labels = torch.from_numpy(images.labels)
    return {**found, "training": training_cost(network, shown, labels, own or TRAINED)}


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
    cost = found["training"]
    of_training = [("steps", *(str(t) for t in cost["steps"]))]
    for key, name in (("kept_bytes", "kept by autograd"), ("cpu_seconds", "processor time")):
        pairs = zip(cost[key]["dsr"], cost[key]["bptt"], strict=True)
        of_training.append((name, *(f"{dsr / bptt:.3f}" for dsr, bptt in pairs)))
    width = max(len(row[0]) for row in (*rows, *of_training))
    lines = [f"{row[0]:<{width}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in (*rows, *of_training)]
    text = [*lines[:2], "mean error of the representation, in thresholds:", *lines[2 : len(rows)]]
    return "\n".join([*text, "a training step, relative to backpropagation through time:", *lines[len(rows) :]])


def training_cost(network: nn.Module, images: Tensor, labels: Tensor, steps: Sequence[int]) -> dict[str, Any]:
    """What one training step of a batch costs, forwards and backwards; JSON-ready.

    ``{"steps": [...], "images": n, "kept_bytes": {rule: [...]}, "cpu_seconds": {rule: [...]}}`` for the rules ``dsr``
    and ``bptt``: what autograd keeps for the way back, and the processor time of all threads, the median of `ROUNDS`
    in which both take turns. The network is left as it was.
    """
    copied = copy.deepcopy(network).train()
    rules: dict[str, Callable[[Tensor], Tensor]] = {"dsr": Representation(copied), "bptt": copied}
    kept: dict[str, list[int]] = {rule: [] for rule in rules}
    seconds: dict[str, list[float]] = {rule: [] for rule in rules}
    for number in steps:
        rounds: dict[str, list[float]] = {rule: [] for rule in rules}
        with at_steps(copied.modules(), number):
            for rule, respond in rules.items():
                kept[rule].append(_kept_bytes(respond, images))
            for _ in range(ROUNDS):
                for rule, respond in rules.items():
                    began = time.process_time()
                    F.cross_entropy(respond(images), labels).backward()
                    rounds[rule].append(time.process_time() - began)
        for rule, found in rounds.items():
            seconds[rule].append(statistics.median(found))
    return {"steps": list(steps), "images": len(labels), "kept_bytes": kept, "cpu_seconds": seconds}


def _kept_bytes(respond: Callable[[Tensor], Tensor], images: Tensor) -> int:
    """Bytes of all that autograd keeps of a forward pass, each memory counted once."""
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        # Held here too, so that no memory is counted twice under one address.
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = respond(images)
    assert output.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


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
