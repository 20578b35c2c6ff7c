"""The proof: the same images through both networks, every spike of every layer compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from alade_brian.conversion.refusals import RefusedLayers
from alade_brian.errors import UserError
from alade_brian.spec import NetworkSpec
from alade_brian.spec.image_axes import TRANSPOSE, as_array, described, sequence_steps
from alade_brian.spikes.responses import Responses
from alade_brian.verification.comparison import Comparison, Divergence, LayerAgreement, Verification
from alade_brian.verification.reference import RecordedReference, Reference

if TYPE_CHECKING:
    from torch import nn

    from alade_brian.simulation import SimulationSettings
    from alade_brian.simulation.simulator import Images
    from alade_brian.verification.diagnosis.diagnose import Diagnosis
    from alade_brian.verification.kept_reference import RecordStore

__all__ = ["Comparison", "Divergence", "LayerAgreement", "Verification", "compare", "verify", "verify_against"]

# What a diagnosis looks at: images that differ (and neighbours of the first), layers where a fault may come back from.
IMAGES_DIAGNOSED = 8
LAYERS_TRIED = 3


def verify(
    model: nn.Module,
    images: np.ndarray,
    spec: NetworkSpec | None = None,
    settings: SimulationSettings | None = None,
    progress: Callable[[int], None] = lambda images: None,
    *,
    steps: int | None = None,
    sequence: bool = False,
    readout: str | None = None,
    output: int | str = 0,
) -> Verification:
    """Convert a trained torch module, simulate it in Brian2, and compare every spike of every layer.

    model      any module that `alade_brian.convert` takes
    images     array or tensor ``(n, C, H, W)``, as the module takes them; of a sequence ``(n, steps, C, H, W)``, of
               which the module is shown ``(steps, n, C, H, W)`` unless it takes images first
    spec       compare with this specification instead of the module's own
    settings   how to simulate (default: generated C++, float64)
    progress   called with the number of images newly compared
    steps, sequence, readout, output
               as `alade_brian.convert` takes them; a sequence's steps are those of the images

    torch runs in float64. Raises RefusedLayers where the module cannot be converted exactly, UserError where the images
    do not fit it.

    >>> import torch
    >>> from torch import nn
    >>> from alade_brian import verify
    >>> from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
    >>> from alade_brian.simulation import SimulationSettings
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))
    >>> found = verify(model, np.ones((2, 6)), settings=SimulationSettings(backend="numpy"))
    >>> found.agrees, found.mismatched_spikes
    (True, 0)
    """
    from alade_brian.conversion.from_torch.convert import convert
    from alade_brian.verification.kept_reference import with_kept_answers
    from alade_brian.verification.torch_reference import TorchReference

    images = as_array(images)
    if spec is None:
        if sequence:
            spec = _of_a_sequence(model, images.shape, steps, readout=readout, output=output)
        else:
            spec = convert(model, images.shape[1:], steps=steps, readout=readout, output=output)
    reference: Reference = (computed := TorchReference(model, spec, output))
    if settings is not None and settings.reuse:
        reference = with_kept_answers(computed, images[:1], _OnDisk(settings))
    return verify_against(reference, spec, images, settings, progress)


def _of_a_sequence(model: nn.Module, shape: tuple[int, ...], steps: int | None, **how: Any) -> NetworkSpec:
    """The module's specification for images ``(n, steps, ...)``; UserError where it fits ``(steps, n, ...)`` only."""
    from alade_brian.conversion.from_torch.convert import convert

    try:
        return convert(model, shape[2:], steps=sequence_steps(shape, steps), sequence=True, **how)
    except RefusedLayers:
        try:
            convert(model, shape[2:], steps=shape[0], sequence=True, **how)
        except RefusedLayers:
            pass
        else:
            raise UserError(f"{described(shape)}, and the module runs for {shape[0]}: {TRANSPOSE}") from None
        raise


class _OnDisk:
    """Answers beside those that the simulation keeps."""

    def __init__(self, settings: SimulationSettings) -> None:
        self.folder = settings.cache_folder / "answers"

    def keys(self, images: np.ndarray) -> list[bytes]:
        """See `torch_kept.Answers`."""
        from alade_brian.simulation.cache.kept_answers import keys_of

        return keys_of(np.asarray(images, np.float64))

    def records(self, name: str, size: int) -> RecordStore:
        """See `torch_kept.Answers`."""
        from alade_brian.simulation.cache.kept_answers import KeptAnswers

        return KeptAnswers(self.folder / f"torch-{name}", size)


def compare(
    spec: NetworkSpec, responses: Responses, images: Images, settings: SimulationSettings | None = None
) -> Verification:
    """Simulate a specification and compare every spike with recorded ones; torch is not needed.

    responses   to the same images, by whatever fired them: for two specifications, what `simulate` gives for the other
    images      as `simulate` takes them
    settings    how to simulate (default: generated C++, float64)

    Raises ValueError where the responses lack a layer or do not answer to as many images.
    """
    reference = RecordedReference(spec, responses)
    count = len(next(iter(images.values())) if isinstance(images, Mapping) else images)
    if len(responses.logits) != count:
        raise ValueError(f"the responses answer to {len(responses.logits)} images, there are {count}")
    return verify_against(reference, spec, images, settings)


def verify_against(
    reference: Reference,
    spec: NetworkSpec,
    images: Images,
    settings: SimulationSettings | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> Verification:
    """Simulate a specification and compare every spike with those of a reference.

    images     as `simulate` takes them, and the reference
    settings   how to simulate (default: generated C++, float64)
    progress   called with the number of images newly compared
    """
    from alade_brian.simulation import open_simulator

    simulator = open_simulator(spec, settings)
    comparison, began = Comparison(spec, reference.name), time.perf_counter()
    for part, found in simulator.packed_chunks(images):
        comparison.add(reference.packed(images, part), found)
        progress(part.stop - part.start)
    result = comparison.finish()
    result.compiled = simulator.compiled
    result.first_divergence = _first_divergence(spec, images, result, reference)
    if result.first_divergence is not None:
        result.diagnosis = _diagnosis(spec, images, result)
    elif not result.agrees:
        from alade_brian.verification.diagnosis.readout import diagnose_readout

        result.diagnosis = diagnose_readout(spec, images, result.logits_reference, result.logits_brian2)
    spent = time.perf_counter() - began - simulator.seconds_simulate
    result.seconds = {"build": simulator.seconds_build, "simulate": simulator.seconds_simulate, "compare": spent}
    return result


def _first_divergence(
    spec: NetworkSpec, images: Images, found: Verification, reference: Reference
) -> Divergence | None:
    """Where the networks part first, with both membranes; None where they agree."""
    layer = next((a for a in found.layers if a.mismatched_spikes), None)
    if layer is None:
        return None
    entries = layer.mismatched()
    image, step, neuron = (int(x) for x in entries[np.lexsort((entries[:, 2], entries[:, 0], entries[:, 1]))[0]])
    known = reference.membranes(images, image, layer.name)
    membrane = np.nan if known is None else float(known[step, neuron])
    ours = float(_brian2_membrane(spec, images, image, layer.name)[step, neuron])
    population = spec.population(layer.name)
    parameter = population.neuron.parameters.get("v_threshold")
    level = np.nan if parameter is None else np.broadcast_to(parameter.value, population.shape).ravel()[neuron]
    return Divergence(layer.name, image, step, neuron, membrane, ours, membrane - float(level), found.reference)


def _brian2_membrane(spec: NetworkSpec, images: Images, image: int, layer: str) -> np.ndarray:
    """Of one image and layer before the reset, ``(steps, neurons)``."""
    from alade_brian.simulation.simulator import arrays
    from alade_brian.simulation.states import record_states

    one = {name: array[image : image + 1] for name, array in arrays(spec, images).items()}
    variable = spec.population(layer).neuron.membrane
    return record_states(spec, one, {layer: [variable]})[1][layer][variable][0]


def _diagnosis(spec: NetworkSpec, images: Images, found: Verification) -> Diagnosis:
    """Diagnose the first differing layer; if feedback caused the difference, the next one."""
    from alade_brian.simulation.simulator import arrays
    from alade_brian.verification.diagnosis.diagnose import diagnose

    differing = [a for a in found.layers if a.mismatched_spikes]
    by_time = sorted(differing[1:], key=lambda a: int(a.mismatched()[:, 1].min()))
    first: Diagnosis | None = None
    for layer in [differing[0], *by_time][:LAYERS_TRIED]:
        chosen = _representative_images(layer, found.images)
        torch_side, brian2_side = found.responses(chosen)
        shown = {name: array[chosen] for name, array in arrays(spec, images).items()}
        diagnosis = diagnose(spec, torch_side, brian2_side, shown, layer.name, chosen)
        first = first or diagnosis
        if not diagnosis.elsewhere:
            return (
                diagnosis if layer is differing[0] else replace(diagnosis, text=f"in layer {layer.name}, {diagnosis}")
            )
    assert first is not None
    return first


def _representative_images(layer: LayerAgreement, images: int) -> np.ndarray:
    """Numbers of the images that a diagnosis is made of: some that differ, and the neighbours of the first of them."""
    differ = np.unique(layer.mismatched()[:, 0])
    near = np.arange(max(0, differ[0] - IMAGES_DIAGNOSED), min(images, differ[0] + IMAGES_DIAGNOSED))
    return np.union1d(differ[:IMAGES_DIAGNOSED], near)
