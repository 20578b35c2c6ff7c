"""Tries a neuron of another framework on random input, and holds what it does against its equations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.models.neurons.equation_face import run_equations

STEPS, IMAGES = 24, 12
# Inputs of an image are this large: units of a membrane differ from neuron to neuron.
SCALES = 0.3, 1.0, 3.0, 30.0
# Shapes that are tried where a neuron's constants leave it open.
SHAPES: tuple[tuple[int, ...], ...] = ((6,), (6, 4, 4))
TOLERANCE = 1e-9


def difference(
    module: nn.Module, neuron: ForeignNeuron, reset: str = "", in_double: Callable[[Any], None] | None = None
) -> str:
    """What a neuron does otherwise than its equations on random input; empty where nothing.

    module      a neuron layer
    neuron      as its adapter understands it
    reset       the method that brings it to rest, if it has one
    in_double   makes it run in float64 throughout, see `Framework`
    """
    own = copy.deepcopy(module).double().eval().requires_grad_(False)
    # Whoever listens to the layer does not mean these calls.
    for part in own.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    if in_double is not None:
        in_double(own)
    failed = "it takes no input that its constants allow"
    for shape in _shapes(neuron):
        inputs = _inputs(neuron.steps or STEPS, shape)
        try:
            with torch.no_grad():
                returned = _returned(own, neuron, inputs, reset)
        except Exception as error:
            failed = f"it cannot be called: {error}"
            continue
        expected = _expected(neuron, inputs)
        if all(values.shape == expected[name].shape for name, values in returned.items()):
            return _compared(neuron, returned, expected)
        failed = f"it takes no input of the shape {shape}"
    return failed


def _shapes(neuron: ForeignNeuron) -> Iterator[tuple[int, ...]]:
    """Shapes of an input without images that meet the neuron's constants."""
    first = next((layer for layer in _linear(neuron.enters)), None)
    if first is not None:
        yield (first.in_features,)
        return
    constants = np.broadcast_shapes((), *(p.value.shape for p in neuron.equations.parameters.values()))
    for layer in neuron.recurrent.modules() if neuron.recurrent is not None else ():
        if isinstance(layer, nn.Conv2d):
            yield layer.in_channels, 4, 4
        if isinstance(layer, nn.Linear):
            yield (layer.in_features,)
    for shape in SHAPES:
        try:
            yield np.broadcast_shapes(shape, constants)
        except ValueError:
            yield constants


def _linear(layer: nn.Module | None) -> Iterator[nn.Linear]:
    if layer is not None:
        yield from (part for part in layer.modules() if isinstance(part, nn.Linear))


def _inputs(steps: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn((steps, IMAGES, *shape), generator=generator, dtype=torch.float64)
    scale = torch.tensor(SCALES, dtype=torch.float64).repeat(IMAGES // len(SCALES))
    return (drawn + 0.5) * scale.reshape(-1, *(1 for _ in shape))


def _expected(neuron: ForeignNeuron, inputs: Tensor) -> dict[str, Tensor]:
    """What its equations give, by the kinds of `ForeignNeuron.returns`."""
    with torch.no_grad():
        currents = inputs if neuron.enters is None else neuron.enters(inputs)
    found = run_equations(neuron.equations, currents, neuron.recurrent)
    over_steps = {"mean": found.sent.mean(0), "last": found.sent[-1], "max": found.sent.amax(0)}
    return {"spikes": found.sent, "membrane": getattr(found, neuron.sampled), **over_steps}


def _returned(module: nn.Module, neuron: ForeignNeuron, inputs: Tensor, reset: str) -> dict[str, Tensor]:
    """What the calls give over all steps, by the kinds of `ForeignNeuron.returns`."""
    state: Any = getattr(module, reset)() if hasattr(module, reset or " ") else None
    if neuron.over_steps:
        return _named(neuron, module(inputs.clone()))
    found: list[dict[str, Tensor]] = []
    for step in inputs:
        given = module(step, state) if neuron.passes_state else module(step)
        state = given[1] if neuron.passes_state else None
        found.append(_named(neuron, given))
    return {name: torch.stack([each[name] for each in found]) for name in found[0]}


def _named(neuron: ForeignNeuron, given: Any) -> dict[str, Tensor]:
    parts = given if isinstance(given, tuple) else (given,)
    return {name: part for name, part in zip(neuron.returns, parts, strict=True) if name != "state"}


def _compared(neuron: ForeignNeuron, returned: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """Where what a neuron returned is not what its equations give."""
    spiking = neuron.equations.spiking
    if spiking and not expected["spikes"].any():
        return "none of it fired"
    for name, values in returned.items():
        wanted = expected[name]
        wrong = int(((values != 0) != (wanted != 0)).sum()) if name == "spikes" and spiking else 0
        if wrong:
            return f"{wrong} of {values.numel()} spikes"
        if not torch.isclose(values.double(), wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True).all():
            return f"its {name} by up to {float((values - wanted).abs().nan_to_num().max()):.1e}"
    return ""
