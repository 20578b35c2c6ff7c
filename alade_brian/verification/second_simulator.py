"""Brian2 and NEST shown the same images: every spike of both compared, and how near the membranes came to rounding."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from tqdm import tqdm

from alade_brian.conversion.to_nest.plan import NestPlan, nest_plan
from alade_brian.conversion.to_nest.rounding import Margin, margins
from alade_brian.simulation import SimulationSettings
from alade_brian.simulation.nest import simulate_in_nest
from alade_brian.simulation.simulator import Images, arrays, pixels
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.packed import PackedResponses, packed
from alade_brian.verification.comparison import LayerAgreement, Verification
from alade_brian.verification.reference import joined
from alade_brian.verification.verify import verify_against

# NEST is set up anew for so many.
IMAGES_AT_ONCE = 100
VERSIONS = ("brian2", "nest-simulator", "numpy", "torch")


@dataclass(frozen=True, eq=False)
class ComparedNetwork:
    """What both simulators are shown.

    images   ``(n, *stimulus shape)``, labels int64 ``(n,)``; None if it learnt values, which have no accuracy
    about    what else is to be written down, JSON-ready
    """

    name: str
    spec: NetworkSpec
    images: np.ndarray
    labels: np.ndarray | None
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
        """Where the simulators part first, if they do, and why."""
        first, diagnosis = self.found.first_divergence, self.found.diagnosis
        lines = [] if first is None else [f"first differing spike: {first}"]
        return lines if diagnosis is None else [*lines, f"diagnosis: {diagnosis}"]

    def _decisions(self) -> list[str]:
        found, known = self.found, self.accuracies
        accuracy = f"; accuracy {known['brian2']:.4f} in Brian2, {known['nest']:.4f} in NEST" if known else ""
        return [
            f"{found.images} images, {found.spikes_compared:,} entries compared, {found.mismatched_spikes:,} differ; "
            f"the logits differ by {found.logit_max_abs_difference:.2g} at most, the same decision on "
            f"{found.prediction_agreement:.2%}{accuracy}"
        ]

    @property
    def accuracies(self) -> dict[str, float]:
        """By simulator; empty if the network learnt values."""
        if self.subject.labels is None:
            return {}
        outputs = {"brian2": self.found.logits_brian2, "nest": self.found.logits_reference}
        return {name: float(np.mean(logits.argmax(1) == self.subject.labels)) for name, logits in outputs.items()}

    def record(self) -> dict[str, Any]:
        """Everything that was found, JSON-ready."""
        found, known = self.found, self.accuracies
        return {
            "network": self.subject.name,
            **self.subject.about,
            "images": found.images,
            "steps": found.steps,
            "entries_compared": found.spikes_compared,
            "differing_spikes": found.mismatched_spikes,
            "prediction_agreement": found.prediction_agreement,
            "logit_max_abs_difference": found.logit_max_abs_difference,
            **({"accuracy": known} if known else {}),
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


class NestReference:
    """NEST as the reference of a verification.

    margins    by layer, over all images that were asked for, see `Margin`
    progress   called with the number of images newly simulated

    UserError if NEST cannot simulate the network exactly.
    """

    name = "NEST"

    def __init__(self, spec: NetworkSpec, progress: Callable[[int], object] = lambda images: None) -> None:
        self.spec, self.plan, self.progress = spec, nest_plan(spec), progress
        self.shapes = {p.name: p.shape for p in spec.spiking}
        self.margins: dict[str, Margin] = {}

    def packed(self, images: Images, part: slice) -> PackedResponses:
        """See `Reference`; UserError if NEST is not installed."""
        shown = {name: array[part] for name, array in arrays(self.spec, images).items()}
        count = len(next(iter(shown.values())))
        blocks = [slice(start, start + IMAGES_AT_ONCE) for start in range(0, count, IMAGES_AT_ONCE)]
        return joined([self._block({name: array[block] for name, array in shown.items()}) for block in blocks])

    def membranes(self, images: Images, image: int, layer: str) -> None:
        """None: NEST records membranes after the reset."""

    def _block(self, images: dict[str, np.ndarray]) -> PackedResponses:
        found = simulate_in_nest(self.spec, images)
        for name, margin in margins(self.spec, self.plan, found.spikes, pixels(self.spec, images)).items():
            self.margins[name] = margin if name not in self.margins else self.margins[name].joined(margin)
        self.progress(len(found.logits))
        return packed(found, self.shapes)


def compare(subject: ComparedNetwork, settings: SimulationSettings) -> Agreement:
    """Simulate in both and compare. UserError where NEST cannot simulate the network exactly, or is not installed."""
    with tqdm(total=len(subject.images), desc="NEST", disable=None, leave=False) as bar:
        nest = NestReference(subject.spec, bar.update)
        found = verify_against(nest, subject.spec, subject.images, settings)
    return Agreement(subject, nest.plan, found, nest.margins)
