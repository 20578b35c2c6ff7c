"""The torch side of a look inside: the variables of a layer's neurons in every step, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
from torch import Tensor, nn

from alade_brian.models import Neuron, Recurrent
from alade_brian.models.neurons.neuron import NeuronState
from alade_brian.spec import NetworkSpec
from alade_brian.verification.torch_reference import TorchReference, by_image


def torch_states(
    model: nn.Module, images: np.ndarray, spec: NetworkSpec, layers: Iterable[str]
) -> dict[str, dict[str, np.ndarray]]:
    """All variables of the neurons in these layers, by layer and name: float64 ``(images, steps, neurons)``.

    Each as the threshold test sees it: after the step's input has arrived, before the reset. A layer that holds none of
    this package's neurons is left out: another framework's do not say their state.

    images   as `record` takes them
    """
    reference = TorchReference(model, spec)
    neurons = {name: found for name in layers if (found := _neuron(reference.model, name)) is not None}
    with _received(neurons) as seen:
        reference.run(images)
    return {name: _values(states, spec.steps, len(images)) for name, states in seen.items()}


def _neuron(model: nn.Module, name: str) -> Neuron | None:
    """The neurons of a layer; None where it is no module of the model, as a readout's population, or has none."""
    module = dict(model.named_modules()).get(name)
    if isinstance(module, Recurrent):
        return module.neuron
    return module if isinstance(module, Neuron) else None


@contextmanager
def _received(neurons: dict[str, Neuron]) -> Iterator[dict[str, list[NeuronState]]]:
    """The state of each layer after every step's input, step by step, while the block runs."""
    seen: dict[str, list[NeuronState]] = {name: [] for name in neurons}

    def watch(name: str, neuron: Neuron) -> None:
        receive = neuron.receive

        def watched(state: NeuronState, current: Tensor) -> NeuronState:
            seen[name].append(receive(state, current))
            return seen[name][-1]

        # An instance's own attribute stands before the method of its class.
        neuron.__dict__["receive"] = watched

    for name, neuron in neurons.items():
        watch(name, neuron)
    try:
        yield seen
    finally:
        for neuron in neurons.values():
            del neuron.__dict__["receive"]


def _values(states: list[NeuronState], steps: int, images: int) -> dict[str, np.ndarray]:
    names = [field.name for field in fields(states[0])]
    return {name: by_image([getattr(state, name) for state in states], steps, images) for name in names}
