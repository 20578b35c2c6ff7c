"""Brian2 and NEST shown the same images: every spike of both compared, and how near the membranes came to rounding."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from tqdm import tqdm

from alade_brian.conversion.to_nest.plan import NestPlan, nest_plan
from alade_brian.conversion.to_nest.rounding import Margin, margins
from alade_brian.simulation import SimulationSettings, open_simulator
from alade_brian.simulation.nest import simulate_in_nest
from alade_brian.simulation.simulator import arrays, pixels
from alade_brian.spec.network import NetworkSpec
from alade_brian.spikes.packed import packed
from alade_brian.verification.comparison import Comparison, LayerAgreement, Verification

# NEST is set up anew for so many.
IMAGES_AT_ONCE = 100
VERSIONS = ("brian2", "nest-simulator", "numpy", "torch")


@dataclass(frozen=True, eq=False)
class ComparedNetwork:
    """What both simulators are shown.

    images   ``(n, *stimulus shape)``, labels int64 ``(n,)``
    about    what else is to be written down, JSON-ready
    """

    name: str
    spec: NetworkSpec
    images: np.ndarray
    labels: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class Agreement:
    """found     the comparison, NEST's spikes as the reference
    margins   by layer, see `Margin`
    """

    subject: ComparedNetwork
    plan: NestPlan
    found: Verification
    margins: dict[str, Margin]

    @property
    def agrees(self) -> bool:
        """See `Verification.agrees`."""
        return self.found.agrees

    def table(self) -> str:
        """A line for every layer, and what both decided."""
        found = self.found
        width = max(map(len, ["layer", *(layer.name for layer in found.layers)]))
        head = (
            f"{'layer'.ljust(width)}  neurons  late      Brian2        NEST  differing  from threshold  rounding  ties"
        )
        rows = [self._row(layer, width) for layer in found.layers]
        return "\n".join([head, *rows, *self._first(), *self._decisions(), *found.remarks])

    def _row(self, layer: LayerAgreement, width: int) -> str:
        margin = self.margins[layer.name]
        return (
            f"{layer.name.ljust(width)}  {layer.neurons:>7,}  {self.plan.lead[layer.name]:>4}  "
            f"{layer.spikes_brian2:>10,}  {layer.spikes_reference:>10,}  {layer.mismatched_spikes:>9,}  "
            f"{margin.smallest:>14.1e}  {margin.bound:>8.0e}  {margin.ties:>4,}"
        )

    def _first(self) -> list[str]:
        """Where the simulators part first, if they do."""
        for layer in self.found.layers:
            if layer.mismatched_spikes:
                entries = layer.mismatched()
                image, step, neuron = entries[np.lexsort((entries[:, 2], entries[:, 0], entries[:, 1]))[0]]
                return [f"first differing spike: layer {layer.name}, image {image}, step {step}, neuron {neuron}"]
        return []

    def _decisions(self) -> list[str]:
        found, (brian2, nest) = self.found, self.accuracies
        return [
            f"{found.images} images, {found.spikes_compared:,} entries compared, {found.mismatched_spikes:,} differ; "
            f"the logits differ by {found.logit_max_abs_difference:.2g} at most, the same decision on "
            f"{found.prediction_agreement:.2%}; accuracy {brian2:.4f} in Brian2, {nest:.4f} in NEST"
        ]

    @property
    def accuracies(self) -> tuple[float, float]:
        """In Brian2 and in NEST."""
        right = (self.found.logits_brian2, self.found.logits_reference)
        brian2, nest = (float(np.mean(logits.argmax(1) == self.subject.labels)) for logits in right)
        return brian2, nest

    def record(self) -> dict[str, Any]:
        """Everything that was found, JSON-ready."""
        found, (brian2, nest) = self.found, self.accuracies
        return {
            "network": self.subject.name,
            **self.subject.about,
            "images": found.images,
            "steps": found.steps,
            "entries_compared": found.spikes_compared,
            "differing_spikes": found.mismatched_spikes,
            "prediction_agreement": found.prediction_agreement,
            "logit_max_abs_difference": found.logit_max_abs_difference,
            "accuracy": {"brian2": brian2, "nest": nest},
            "layers": [self._layer(layer) for layer in found.layers],
            "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        }

    def _layer(self, layer: LayerAgreement) -> dict[str, Any]:
        spikes = {"brian2": layer.spikes_brian2, "nest": layer.spikes_reference}
        return {
            "name": layer.name,
            "neurons": layer.neurons,
            "steps_late_in_nest": self.plan.lead[layer.name],
            "spikes": spikes,
            "differing": layer.mismatched_spikes,
            "margin": dataclasses.asdict(self.margins[layer.name]),
        }


def compare(subject: ComparedNetwork, settings: SimulationSettings) -> Agreement:
    """Simulate in both and compare. UserError where NEST cannot simulate the network exactly, or is not installed."""
    spec, plan = subject.spec, nest_plan(subject.spec)
    comparison, shapes = Comparison(spec, "in NEST"), {p.name: p.shape for p in spec.spiking}
    near: dict[str, Margin] = {}
    with tqdm(total=len(subject.images), desc="NEST", disable=None, leave=False) as bar:
        simulator = None
        for start in range(0, len(subject.images), IMAGES_AT_ONCE):
            images = subject.images[start : start + IMAGES_AT_ONCE]
            nest = simulate_in_nest(spec, images)
            simulator = simulator or open_simulator(spec, settings)
            answers = [found for _, found in simulator.packed_chunks(images)]
            place = 0
            for found in answers:
                part = slice(place, place := place + len(found.logits))
                comparison.add(packed(nest.select(part), shapes), found)
            for name, margin in margins(spec, plan, nest.spikes, pixels(spec, arrays(spec, images))).items():
                near[name] = margin if name not in near else near[name].joined(margin)
            bar.update(len(images))
    return Agreement(subject, plan, comparison.finish(), near)
