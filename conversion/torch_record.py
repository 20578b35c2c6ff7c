"""The torch side of a comparison: spikes, membranes and answers of a torch module, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alade_brian.conversion.responses import Responses, concatenate, read_out
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.conversion.torch_foreign import in_double, rest
from alade_brian.conversion.torch_lower import detached
from alade_brian.models import Neuron, Recurrent

# Neurons times steps of a batch: with many more, what a layer puts out leaves the cache before the next takes it in.
NEURON_STEPS = 2**21
BATCHES = 8, 256


def record(
    model: nn.Module, images: np.ndarray, spec: NetworkSpec, batch: int | None = None, output: int = 0
) -> Responses:
    """Run images through a float64 copy of the model in eval mode and keep every spike of the layers that the
    specification names.

    images   ``(n, C, H, W)``, or ``(n, steps, C, H, W)`` where the stimulus is a sequence
    batch    images at a time (default: as many as suit the processor's cache)
    output   which of several tensors that the forward returns is the answer
    """
    if batch is None:
        fitting = NEURON_STEPS // (spec.steps * sum(p.size for p in spec.populations))
        batch = min(max(fitting, BATCHES[0]), BATCHES[1])
    reference = in_double(detached(model).double().eval())
    parts = [
        _record_batch(reference, images[start : start + batch], spec, output) for start in range(0, len(images), batch)
    ]
    return concatenate(parts)


def _record_batch(model: nn.Module, images: np.ndarray, spec: NetworkSpec, output: int) -> Responses:
    names = [population.name for population in spec.spiking]
    with torch.no_grad(), _outputs(model, names) as seen:
        answers = _run(model, images, spec, seen, output)
    spikes = {name: _by_image(seen[name], spec.steps, len(images)) != 0 for name in names}
    return Responses(spikes, _logits(answers, spec, len(images)))


@contextmanager
def _outputs(model: nn.Module, names: list[str]) -> Iterator[dict[str, list[Tensor]]]:
    """What the layers of these names put out, call by call, while the block runs."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            seen[name].append(output[0] if isinstance(output, tuple) else output)

        return hook

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _run(
    model: nn.Module, images: np.ndarray, spec: NetworkSpec, seen: dict[str, list[Tensor]], output: int
) -> list[Tensor]:
    """What the model answers: one tensor, or one per step where its forward is a single step."""
    shown = torch.from_numpy(np.asarray(images, dtype=np.float64))
    steps = shown.transpose(0, 1) if spec.stimulus.coding != "direct" else None
    rest(model)
    try:
        answers = [_answer(model, shown if steps is None else steps, output)]
    except Exception:
        if steps is None:
            raise
        # The forward of one step takes one step's images.
        rest(model)
        _clear(seen)
        return [_answer(model, step, output) for step in steps]
    if _one_step(spec, seen, len(images)):
        more = [shown] * (spec.steps - 1)
        answers += [_answer(model, step, output) for step in more]
    return answers


def _clear(seen: dict[str, list[Tensor]]) -> None:
    for outputs in seen.values():
        outputs.clear()


def _answer(model: nn.Module, images: Tensor, output: int) -> Tensor:
    answer = model(images)
    return answer[output] if isinstance(answer, tuple | list) else answer


def _one_step(spec: NetworkSpec, seen: dict[str, list[Tensor]], images: int) -> bool:
    """Whether one call of the model was one step of the presentation."""
    if not seen:
        return False
    name, outputs = next(iter(seen.items()))
    return spec.steps > 1 and sum(o.numel() for o in outputs) == images * prod(spec.shape(name))


def _by_image(outputs: list[Tensor], steps: int, images: int) -> np.ndarray:
    """A layer's outputs of all steps as ``(images, steps, neurons)``; steps come before images in all of them."""
    whole = torch.stack(outputs) if len(outputs) > 1 else outputs[0]
    return whole.reshape(steps, images, -1).transpose(0, 1).contiguous().numpy()


def _logits(answers: list[Tensor], spec: NetworkSpec, images: int) -> np.ndarray:
    """The model's answer; where it gives one per step, what the specification's readout makes of them."""
    population, readout = spec.population(spec.readout.population), spec.readout
    outputs = population.size // readout.group
    whole = torch.stack(answers) if len(answers) > 1 else answers[0]
    if whole.numel() == images * outputs and len(answers) == 1:
        return whole.reshape(images, outputs).numpy()
    if readout.decoding == "every_step" and whole.shape[:1] == (images,) and len(answers) == 1:
        return whole.reshape(images, spec.steps, outputs).numpy()
    every = _by_image([whole], spec.steps, images)
    return every.mean(1) if readout.decoding == "mean_input" else read_out(readout, every)


def membranes(model: nn.Module, image: np.ndarray, layer: str, steps: int) -> np.ndarray | None:
    """Membrane of one layer before the reset, for one image ``(C, H, W)``: float64 ``(steps, neurons)``.

    None for a layer that has none of this package's neurons in it.
    """
    reference = detached(model).double().eval()
    module = reference.get_submodule(layer)
    if not isinstance(module, Neuron | Recurrent):
        return None
    seen: list[Tensor] = []
    module.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        reference(torch.from_numpy(np.asarray(image[None], dtype=np.float64)))
        return _by_image([module.trace(seen[0])[1]], steps, 1)[0]
