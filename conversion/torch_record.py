"""The torch side of a comparison: spikes, membranes and logits of a torch module, in float64."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.conversion.responses import Responses, concatenate
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.models.neurons import SpikingNeuron


def record(model: nn.Module, images: np.ndarray, spec: NetworkSpec, batch: int = 250) -> Responses:
    """Run images ``(n, C, H, W)`` through a float64 copy of the model in eval mode and keep every spike of the layers
    that the specification names."""
    reference = copy.deepcopy(model).double().eval()
    parts = [_record_batch(reference, images[start : start + batch], spec) for start in range(0, len(images), batch)]
    return concatenate(parts)


def _record_batch(model: nn.Module, images: np.ndarray, spec: NetworkSpec) -> Responses:
    spikes: dict[str, np.ndarray] = {}
    hooks = [
        model.get_submodule(population.name).register_forward_hook(_keep(spikes, population.name, spec.steps))
        for population in spec.spiking
    ]
    try:
        with torch.no_grad():
            logits = model(torch.from_numpy(np.asarray(images, dtype=np.float64)))
    finally:
        for hook in hooks:
            hook.remove()
    return Responses(spikes, logits.numpy())


def _keep(into: dict[str, np.ndarray], name: str, steps: int):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        into[name] = _by_image(output > 0, steps)

    return hook


def membranes(model: nn.Module, image: np.ndarray, layer: str, steps: int) -> np.ndarray:
    """Membrane of one layer before the reset, for one image ``(C, H, W)``: float64 ``(steps, neurons)``.

    Of a layer that has none in torch (max pooling of spikes) it is the output.
    """
    reference = copy.deepcopy(model).double().eval()
    module = reference.get_submodule(layer)
    seen: list[tuple[Tensor, Tensor]] = []
    module.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        reference(torch.from_numpy(np.asarray(image[None], dtype=np.float64)))
        current, output = seen[0]
        values = module.trace(current)[1] if isinstance(module, SpikingNeuron) else output
        return _by_image(values, steps)[0]


def _by_image(tensor: Tensor, steps: int) -> np.ndarray:
    """``(steps * images, ...)`` -> ``(images, steps, neurons)``."""
    return tensor.reshape(steps, -1, int(np.prod(tensor.shape[1:]))).transpose(0, 1).contiguous().numpy()
