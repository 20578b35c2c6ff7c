"""Two networks' answers to the same images, compared spike by spike: what agreed, and where they part."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from alade_brian.spec import NetworkSpec, Shape
from alade_brian.spikes.packed import PackedResponses, count, unpack, words
from alade_brian.spikes.responses import Responses

if TYPE_CHECKING:
    from alade_brian.verification.diagnosis.diagnose import Diagnosis

# Wide enough for sums in float32, far below what any fault of the readout would make.
LOGIT_TOLERANCE = 1e-4
# Packed spikes that are kept in memory, of all layers together.
BYTES_IN_MEMORY = 2**28
# What a comparison says that shows less than it seems to.
NOTHING_COMPARED = "nothing was compared: this shows no agreement"
NO_SPIKES = (
    "no neuron fired in either network: this comparison proves nothing about spikes; show other images, or look for "
    "thresholds that are too high"
)
NO_SPIKING_LAYERS = "no layer of this network spikes: the logits alone were compared"
# Images unpacked at once.
IMAGES_AT_ONCE = 256


def _in(reference: str) -> str:
    return reference if reference == "recorded" else f"in {reference}"


@dataclass(frozen=True)
class Divergence:
    """The first spike that exactly one of the two networks fired, and both membranes there (before the reset).

    The membrane of the reference, and its distance to the threshold (without what a neuron adds to it), is nan where
    it is not known.
    First means: the first layer in step order that disagrees anywhere; in it the first step, image and neuron.
    """

    layer: str
    image: int
    step: int
    neuron: int
    membrane_reference: float
    membrane_brian2: float
    distance_to_threshold: float
    reference: str = "torch"

    def record(self) -> dict[str, Any]:
        """JSON-ready, under the keys of `metrics.json`: there the reference's membrane is `membrane_torch`."""
        keys = {"membrane_reference": "membrane_torch"}
        return {keys.get(name, name): value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        where = _in(self.reference)
        there = "" if np.isnan(self.membrane_reference) else f"{self.membrane_reference:.17g} {where}, "
        known = not np.isnan(self.distance_to_threshold)
        distance = f", {self.distance_to_threshold:+.3g} from the threshold {where}" if known else ""
        return (
            f"layer {self.layer}, image {self.image}, step {self.step}, neuron {self.neuron}: membrane {there}"
            f"{self.membrane_brian2:.17g} in Brian2{distance}"
        )


@dataclass
class LayerAgreement:
    """Spike counts of one layer in both networks, and every (image, step, neuron) where exactly one fired."""

    name: str
    shape: Shape
    spikes_reference: int = 0
    spikes_brian2: int = 0
    mismatches: list[np.ndarray] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        """Whether no neuron fired in either network."""
        return self.spikes_reference == self.spikes_brian2 == 0

    @property
    def neurons(self) -> int:
        return prod(self.shape)

    @property
    def mismatched_spikes(self) -> int:
        return sum(map(len, self.mismatches))

    def mismatched(self) -> np.ndarray:
        """int64 ``(n, 3)``: image, step, neuron."""
        return np.concatenate(self.mismatches) if self.mismatches else np.zeros((0, 3), np.int64)


@dataclass
class Verification:
    """What a comparison found, for `images` images.

    spikes_compared   (image, step, neuron) entries compared
    logits            float64 ``(images, classes)`` of both networks, ``(images, steps, outputs)`` where every step is
                      read
    decision          what the logits are, see `Readout`
    reference         the name of what Brian2 is compared with: ``torch``, ``recorded`` or ``NEST``
    diagnosis         why the networks part, where they do
    rasters           by layer the Brian2 network's spikes, see packed.py; those of a long run are on disk
    synaptic_events   synapses that carried a spike in Brian2: arrivals within a presentation, over all images;
                      ``_per_layer`` by the layer at which they arrive, ``_per_projection`` by ``source -> target``
    """

    images: int = 0
    steps: int = 0
    layers: list[LayerAgreement] = field(default_factory=list)
    logits_reference: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    logits_brian2: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    rasters: dict[str, np.ndarray] = field(default_factory=dict)
    spikes_compared: int = 0
    synaptic_events: int = 0
    synaptic_events_per_layer: dict[str, int] = field(default_factory=dict)
    synaptic_events_per_projection: dict[str, int] = field(default_factory=dict)
    first_divergence: Divergence | None = None
    diagnosis: Diagnosis | None = None
    decision: Literal["class", "value"] = "class"
    reference: str = "torch"
    seconds: dict[str, float] = field(default_factory=dict)
    compiled: bool = False

    @property
    def mismatched_spikes(self) -> int:
        return sum(layer.mismatched_spikes for layer in self.layers)

    @property
    def prediction_agreement(self) -> float:
        """Fraction of images (of steps, where every step is read) on which both networks give the same answer: decide
        for the same class, or, where the logits are values, differ by no more than the tolerance of logits; nan where
        nothing was compared."""
        if not self.logits_reference.size:
            return float("nan")
        if self.decision == "value":
            near = np.abs(self.logits_reference - self.logits_brian2) <= self._logit_tolerance
            return float(np.mean(near.all(-1)))
        return float(np.mean(self.logits_reference.argmax(-1) == self.logits_brian2.argmax(-1)))

    @property
    def logit_max_abs_difference(self) -> float:
        """nan where nothing was compared."""
        if not self.logits_reference.size:
            return float("nan")
        return float(np.max(np.abs(self.logits_reference - self.logits_brian2)))

    @property
    def _logit_tolerance(self) -> float:
        return LOGIT_TOLERANCE * max(1.0, float(np.abs(self.logits_reference).max()))

    @property
    def agrees(self) -> bool:
        """No spike and no decision differs, and the logits are finite and the same but for rounding. False where there
        was nothing to compare: no image, or not one spike although layers spike."""
        if not self.images or not self.logits_reference.size or self.silent:
            return False
        difference = self.logit_max_abs_difference
        same_answers = self.prediction_agreement == 1.0 and difference <= self._logit_tolerance < np.inf
        return self.mismatched_spikes == 0 and same_answers

    @property
    def silent(self) -> bool:
        """Whether layers spike, and no neuron of any fired in either network: two such networks look the same whatever
        they are. (Single layers may well be silent, as deep ones are behind high thresholds.)"""
        return bool(self.layers) and all(layer.silent for layer in self.layers)

    @property
    def remarks(self) -> list[str]:
        """A sentence for whatever the comparison cannot show."""
        if not self.images:
            return [NOTHING_COMPARED]
        if not self.layers:
            return [NO_SPIKING_LAYERS]
        if self.silent:
            return [NO_SPIKES]
        silent = [layer.name for layer in self.layers if layer.silent]
        return [f"without a spike in either network: {', '.join(silent)}"] if silent else []

    def __str__(self) -> str:
        lines = [
            f"{self.images} images of {self.steps} steps, {self.spikes_compared:,} entries compared, "
            f"{self.mismatched_spikes:,} mismatched; prediction agreement {self.prediction_agreement:.4f}, "
            f"logits within {self.logit_max_abs_difference:.2g}"
        ]
        width, there = max((len(layer.name) for layer in self.layers), default=0), _in(self.reference)
        lines += [
            f"  {a.name.ljust(width)}  {a.spikes_reference:>12,} spikes {there}  {a.spikes_brian2:>12,} in Brian2  "
            f"{a.mismatched_spikes:>9,} mismatched"
            for a in self.layers
        ]
        lines += self.remarks
        lines += [f"first divergence: {self.first_divergence}"] if self.first_divergence else []
        return "\n".join(lines + ([f"diagnosis: {self.diagnosis}"] if self.diagnosis else []))

    def responses(self, images: np.ndarray) -> tuple[Responses, Responses]:
        """What both networks answered to the images of these numbers, the reference first."""
        ours = {a.name: self._spikes(a, images) for a in self.layers}
        theirs = {a.name: ours[a.name] ^ self._differing(a, images) for a in self.layers}
        return Responses(theirs, self.logits_reference[images]), Responses(ours, self.logits_brian2[images])

    def packed(self, layer: LayerAgreement) -> np.ndarray:
        """The Brian2 network's spikes of a layer, as `numpy.packbits` over (steps * neurons) of every image."""
        parts = [
            np.packbits(self._spikes(layer, images).reshape(len(images), -1), axis=-1)
            for images in np.split(np.arange(self.images), range(IMAGES_AT_ONCE, self.images, IMAGES_AT_ONCE))
        ]
        return np.concatenate(parts)

    def _spikes(self, layer: LayerAgreement, images: np.ndarray) -> np.ndarray:
        return unpack(self.rasters[layer.name][images], layer.shape)

    def _differing(self, layer: LayerAgreement, images: np.ndarray) -> np.ndarray:
        flipped = np.zeros((len(images), self.steps, layer.neurons), dtype=bool)
        entries = layer.mismatched()
        for row, image in enumerate(images):
            flipped[row][tuple(entries[entries[:, 0] == image, 1:].T)] = True
        return flipped


class Comparison:
    """Adds up a `Verification` from answers to consecutive images."""

    def __init__(self, spec: NetworkSpec, reference: str = "torch") -> None:
        layers = [LayerAgreement(p.name, p.shape) for p in spec.spiking]
        self.result = Verification(steps=spec.steps, layers=layers, decision=spec.readout.decision, reference=reference)
        self.result.synaptic_events_per_layer = {p.name: 0 for p in spec.populations}
        self.result.synaptic_events_per_projection = {p.name: 0 for p in spec.projections}
        self._projections = spec.projections
        self._rasters = _Kept()
        self._logits: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def add(self, torch_side: PackedResponses, brian2_side: PackedResponses) -> None:
        """Compare the answers to the next images (ValueError where they differ in their shapes)."""
        result = self.result
        if torch_side.logits.shape != brian2_side.logits.shape:
            raise ValueError(
                f"logits of {torch_side.logits.shape} {_in(result.reference)}, {brian2_side.logits.shape} in Brian2"
            )
        for agreement in result.layers:
            left, right = torch_side.spikes[agreement.name], brian2_side.spikes[agreement.name]
            if left.shape != right.shape:
                raise ValueError(
                    f"layer {agreement.name}: packed spikes of {left.shape} {_in(result.reference)}, {right.shape} in "
                    "Brian2 (images, steps, bytes)"
                )
            agreement.spikes_reference += (fired := count(left))
            if np.array_equal(words(left), words(right)):
                agreement.spikes_brian2 += fired
            else:
                agreement.spikes_brian2 += count(right)
                for different in _different(left ^ right, agreement.shape):
                    different[:, 0] += result.images
                    agreement.mismatches.append(different)
            result.spikes_compared += left.shape[0] * left.shape[1] * agreement.neurons
            self._rasters.add(agreement.name, right)
        result.images += len(torch_side.logits)
        self._logits[0].append(torch_side.logits)
        self._logits[1].append(brian2_side.logits)
        if brian2_side.events is not None:
            self._count(brian2_side.events)

    def _count(self, events: np.ndarray) -> None:
        """Add synaptic events ``(images, projections)``."""
        result = self.result
        for projection, found in zip(self._projections, events.sum(0).tolist(), strict=True):
            result.synaptic_events += found
            result.synaptic_events_per_layer[projection.target] += found
            result.synaptic_events_per_projection[projection.name] += found

    def finish(self) -> Verification:
        """What was found (ValueError where nothing was added)."""
        result = self.result
        if not result.images:
            raise ValueError(NOTHING_COMPARED)
        result.rasters = {layer.name: self._rasters.take(layer.name) for layer in result.layers}
        result.logits_reference, result.logits_brian2 = (np.concatenate(parts) for parts in self._logits)
        return result


def _different(bits: np.ndarray, shape: Shape) -> Iterator[np.ndarray]:
    """Where bits are set, int64 ``(n, 3)``: image, step, neuron; image by image, so that many take no more memory."""
    for image in np.flatnonzero(bits.any((1, 2))):
        entries = np.argwhere(unpack(bits[image : image + 1], shape))
        entries[:, 0] = image
        yield entries


class _Kept:
    """Of each layer, arrays that follow each other; when all together no longer fit well into memory, they go to files
    that nobody else sees."""

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray]] = {}
        self.files: dict[str, tempfile._TemporaryFileWrapper[bytes]] = {}
        self.rows: dict[str, tuple[int, ...]] = {}
        self.bytes = 0

    def add(self, layer: str, part: np.ndarray) -> None:
        self.parts.setdefault(layer, []).append(np.ascontiguousarray(part))
        self.rows[layer] = part.shape[1:]
        self.bytes += part.nbytes
        if self.bytes > BYTES_IN_MEMORY:
            for each in self.parts:
                self._write(each)
            self.bytes = 0

    def _write(self, layer: str) -> None:
        if layer not in self.files:
            self.files[layer] = tempfile.NamedTemporaryFile(prefix="alade_brian_spikes_")
        for part in self.parts[layer]:
            self.files[layer].write(part.data)
        self.parts[layer].clear()

    def take(self, layer: str) -> np.ndarray:
        """All of a layer as one array; what was held in parts is held no longer."""
        if layer not in self.files:
            return np.concatenate(self.parts.pop(layer))
        self._write(layer)
        self.files[layer].flush()
        return np.memmap(self.files[layer], np.uint8, "r").reshape(-1, *self.rows[layer])
