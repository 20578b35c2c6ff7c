"""The table of example networks: each is converted, simulated and compared, or refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.from_torch.frameworks.registry import FRAMEWORKS
from alade_brian.conversion.refusals import Refusal, RefusedLayers
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.verification.framework_section import framework_section
from alade_brian.verification.verify import Verification, verify
from alade_brian.verification.zoo.example import Example, examples

# Images shown to every network, and by how much random weights are larger than those that training begins with: deep
# networks of threshold neurons are silent with these.
IMAGES, GAIN = 2, 6.0


@dataclass(frozen=True)
class Row:
    """One network: how many spiking layers were compared, and what was found."""

    title: str
    layers: int
    found: str


def rows(framework: str) -> Iterator[Row]:
    """The rows of a framework's examples, in their order."""
    for example in examples(framework):
        yield row_of(example)


def row_of(example: Example) -> Row:
    """One example's row."""
    try:
        found, answer = compared(example)
    except RefusedLayers as refused:
        first, others = refused.refusals[0], len(refused.refusals) - 1
        more = f" (and {others} more)" if others else ""
        return Row(example.title, 0, f"refused: {_reason(first)}{more}")
    # What only gives its membrane need not fire.
    silent = [layer.name for layer in found.layers if not layer.spikes_reference and layer.name != answer]
    if silent:
        return Row(example.title, len(found.layers), f"silent: {', '.join(silent)}")
    differs = f"differs: {found.mismatched_spikes} spikes, logits by {found.logit_max_abs_difference:.1g}"
    return Row(example.title, len(found.layers), "exact" if found.agrees else differs)


def compared(example: Example) -> tuple[Verification, str]:
    """The example with random weights against its simulation, and the layer that gives its answer.

    RefusedLayers if it cannot be converted.
    """
    torch.manual_seed(0)
    model = lively(example.build().eval())
    images = np.random.default_rng(0).normal(size=(IMAGES, *example.shape)) * 1.5
    steps = {"steps": example.shape[0]} if example.how.get("sequence") else {}
    shape = example.shape[1:] if steps else example.shape
    spec = convert(model, shape, **{**example.how, **steps})
    output = int(example.how.get("output", 0))
    return verify(model, images, spec, SimulationSettings(backend="numpy"), output=output), spec.readout.population


def lively(model: nn.Module) -> nn.Module:
    """The model itself, with weights that let its neurons fire."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data *= GAIN
    return model


def _reason(refusal: Refusal) -> str:
    """A refusal without where it comes from, and without what to write instead."""
    said = str(Refusal(refusal.layer, refusal.argument, refusal.value, refusal.remedy))
    return said.split(";")[0]


def section(framework: str, found: Sequence[Row]) -> str:
    """A framework's rows as a section of the documentation."""
    exact = sum(row.found == "exact" for row in found)
    cells = [(row.title, row.layers or "", row.found) for row in found]
    return framework_section(3, FRAMEWORKS[framework](), exact, ("network", "spiking layers", "found"), cells)
