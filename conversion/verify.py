"""The proof: the same images through both networks, every spike of every layer compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from alade_brian.conversion.responses import Responses
from alade_brian.conversion.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

    from alade_brian.conversion.diagnosis import Diagnosis
    from alade_brian.simulation import SimulationSettings
    from alade_brian.simulation.simulator import Images


# Wide enough for sums in float32, far below what any fault of the readout would make.
LOGIT_TOLERANCE = 1e-4
# What a diagnosis looks at: images that differ (and neighbours of the first), layers where a fault may come back from.
IMAGES_TOLD = 8
LAYERS_TRIED = 3


def _in(reference: str) -> str:
    return "in torch" if reference == "torch" else reference


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
    membrane_torch: float
    membrane_brian2: float
    distance_to_threshold: float
    reference: str = "torch"

    def __str__(self) -> str:
        where = _in(self.reference)
        there = "" if np.isnan(self.membrane_torch) else f"{self.membrane_torch:.17g} {where}, "
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
    neurons: int
    spikes_torch: int = 0
    spikes_brian2: int = 0
    mismatches: list[np.ndarray] = field(default_factory=list)

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
    reference         what Brian2 is compared with: ``torch`` or ``recorded``
    diagnosis         why the networks part, where they do
    packed            by layer the Brian2 network's spikes, as `numpy.packbits` over (steps * neurons)
    """

    images: int = 0
    steps: int = 0
    layers: list[LayerAgreement] = field(default_factory=list)
    logits_torch: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    logits_brian2: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    packed: dict[str, np.ndarray] = field(default_factory=dict)
    spikes_compared: int = 0
    synaptic_events: int = 0
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
        for the same class, or, where the logits are values, differ by no more than the tolerance of logits."""
        if self.decision == "value":
            near = np.abs(self.logits_torch - self.logits_brian2) <= self._logit_tolerance
            return float(np.mean(near.all(-1)))
        return float(np.mean(self.logits_torch.argmax(-1) == self.logits_brian2.argmax(-1)))

    @property
    def logit_max_abs_difference(self) -> float:
        return float(np.max(np.abs(self.logits_torch - self.logits_brian2)))

    @property
    def _logit_tolerance(self) -> float:
        return LOGIT_TOLERANCE * max(1.0, float(np.abs(self.logits_torch).max()))

    @property
    def agrees(self) -> bool:
        """No spike and no decision differs, and the logits are the same but for rounding."""
        same_answers = self.prediction_agreement == 1.0 and self.logit_max_abs_difference <= self._logit_tolerance
        return self.mismatched_spikes == 0 and same_answers

    def __str__(self) -> str:
        lines = [
            f"{self.images} images, {self.spikes_compared:,} entries compared, {self.mismatched_spikes:,} mismatched; "
            f"prediction agreement {self.prediction_agreement:.4f}, logits within {self.logit_max_abs_difference:.2g}"
        ]
        width, there = max((len(layer.name) for layer in self.layers), default=0), _in(self.reference)
        lines += [
            f"  {a.name.ljust(width)}  {a.spikes_torch:>12,} spikes {there}  {a.spikes_brian2:>12,} in Brian2  "
            f"{a.mismatched_spikes:>9,} mismatched"
            for a in self.layers
        ]
        lines += [f"first divergence: {self.first_divergence}"] if self.first_divergence else []
        return "\n".join(lines + ([f"diagnosis: {self.diagnosis}"] if self.diagnosis else []))

    def responses(self, images: np.ndarray) -> tuple[Responses, Responses]:
        """What both networks answered to the images of these numbers, the reference first."""
        ours = {a.name: self._spikes(a, images) for a in self.layers}
        theirs = {a.name: ours[a.name] ^ self._differing(a, images) for a in self.layers}
        return Responses(theirs, self.logits_torch[images]), Responses(ours, self.logits_brian2[images])

    def _spikes(self, layer: LayerAgreement, images: np.ndarray) -> np.ndarray:
        bits = np.unpackbits(self.packed[layer.name][images], axis=-1, count=self.steps * layer.neurons)
        return bits.astype(bool).reshape(len(images), self.steps, layer.neurons)

    def _differing(self, layer: LayerAgreement, images: np.ndarray) -> np.ndarray:
        flipped = np.zeros((len(images), self.steps, layer.neurons), dtype=bool)
        entries = layer.mismatched()
        for row, image in enumerate(images):
            flipped[row][tuple(entries[entries[:, 0] == image, 1:].T)] = True
        return flipped


class Comparison:
    """Adds up a `Verification` from answers to consecutive images."""

    def __init__(self, spec: NetworkSpec, reference: str = "torch") -> None:
        self.spec = spec
        layers = [LayerAgreement(p.name, p.size) for p in spec.spiking]
        self.result = Verification(steps=spec.steps, layers=layers, decision=spec.readout.decision, reference=reference)
        self._packed: dict[str, list[np.ndarray]] = {p.name: [] for p in spec.spiking}
        self._logits: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def add(self, torch_side: Responses, brian2_side: Responses) -> None:
        """Compare the answers to the next images."""
        result = self.result
        for agreement in result.layers:
            left, right = torch_side.spikes[agreement.name], brian2_side.spikes[agreement.name]
            if left.shape != right.shape:
                there = _in(result.reference)
                raise ValueError(
                    f"layer {agreement.name}: {left.shape} spikes {there}, {right.shape} in Brian2 (images, steps, "
                    "neurons)"
                )
            agreement.spikes_torch += int(np.count_nonzero(left))
            agreement.spikes_brian2 += int(np.count_nonzero(right))
            different = np.argwhere(left != right)
            if len(different):
                different[:, 0] += result.images
                agreement.mismatches.append(different)
            result.spikes_compared += left.size
            self._packed[agreement.name].append(np.packbits(right.reshape(len(right), -1), axis=-1))
        result.images += len(torch_side.logits)
        self._logits[0].append(torch_side.logits)
        self._logits[1].append(brian2_side.logits)

    def finish(self) -> Verification:
        result = self.result
        result.packed = {name: np.concatenate(parts) for name, parts in self._packed.items()}
        result.logits_torch, result.logits_brian2 = (np.concatenate(parts) for parts in self._logits)
        return result


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
    output: int = 0,
) -> Verification:
    """Convert a trained torch module, simulate it in Brian2, and compare every spike of every layer.

    model      any module that `torch_lower.convert` takes
    images     ``(n, C, H, W)``, as the module takes them; of a sequence ``(n, steps, C, H, W)``
    spec       compare with this specification instead of the module's own
    settings   how to simulate (default: generated C++, float64)
    progress   called with the number of images newly compared
    steps, sequence, readout, output
               as `torch_lower.convert` takes them; a sequence's steps are those of the images

    torch runs in float64. Raises RefusedLayers where the module cannot be converted exactly.
    """
    from alade_brian.conversion.torch_lower import convert
    from alade_brian.conversion.torch_record import membranes, record

    if spec is None:
        shape, steps = (images.shape[2:], images.shape[1]) if sequence else (images.shape[1:], steps)
        spec = convert(model, shape, steps=steps, sequence=sequence, readout=readout, output=output)
    network = spec
    return _compare(
        network,
        images,
        settings,
        progress,
        lambda part: record(model, images[part], network, output=output),
        lambda image, layer: membranes(model, images[image], layer, network.steps),
        "torch",
    )


def compare(
    spec: NetworkSpec, responses: Responses, images: Images, settings: SimulationSettings | None = None
) -> Verification:
    """Simulate a specification and compare every spike with recorded ones; torch is not needed.

    responses   to the same images, by whatever fired them: for two specifications, what `simulate` gives for the other
    images      as `simulate` takes them
    settings    how to simulate (default: generated C++, float64)

    Raises ValueError where the responses lack a layer or do not answer to as many images.
    """
    missing = [p.name for p in spec.spiking if p.name not in responses.spikes]
    if missing:
        raise ValueError(f"the responses lack the layer(s) {', '.join(missing)} of the specification")
    count = len(images if isinstance(images, np.ndarray) else next(iter(images.values())))
    if len(responses.logits) != count:
        raise ValueError(f"the responses answer to {len(responses.logits)} images, there are {count}")
    return _compare(spec, images, settings, lambda n: None, responses.select, lambda image, layer: None, "recorded")


def _compare(
    spec: NetworkSpec,
    images: Images,
    settings: SimulationSettings | None,
    progress: Callable[[int], None],
    answers: Callable[[slice], Responses],
    membranes: Callable[[int, str], np.ndarray | None],
    reference: str,
) -> Verification:
    """Compare the simulation of a specification with the answers of a reference; its membranes may not be known."""
    from alade_brian.simulation import open_simulator, synaptic_events

    simulator = open_simulator(spec, settings)
    comparison, events, began = Comparison(spec, reference), 0, time.perf_counter()
    for part, responses in simulator.chunks(images):
        comparison.add(answers(part), responses)
        events += synaptic_events(spec, responses)
        progress(part.stop - part.start)
    result = comparison.finish()
    result.synaptic_events, result.compiled = events, simulator.compiled
    result.first_divergence = first_divergence(spec, images, result, membranes)
    if result.first_divergence is not None:
        result.diagnosis = _diagnosis(spec, images, result)
    spent = time.perf_counter() - began - simulator.seconds_simulate
    result.seconds = {"build": simulator.seconds_build, "simulate": simulator.seconds_simulate, "compare": spent}
    return result


def first_divergence(
    spec: NetworkSpec,
    images: Images,
    found: Verification,
    membranes: Callable[[int, str], np.ndarray | None] = lambda image, layer: None,
) -> Divergence | None:
    """Where the networks part first, with both membranes; None where they agree.

    `membranes` gives those of the reference, of one image and layer, ``(steps, neurons)``; None where it has none.
    """
    layer = next((a for a in found.layers if a.mismatched_spikes), None)
    if layer is None:
        return None
    entries = layer.mismatched()
    image, step, neuron = (int(x) for x in entries[np.lexsort((entries[:, 2], entries[:, 0], entries[:, 1]))[0]])
    known = membranes(image, layer.name)
    membrane = np.nan if known is None else float(known[step, neuron])
    ours = float(_brian2_membrane(spec, images, image, layer.name)[step, neuron])
    population = spec.population(layer.name)
    parameter = population.neuron.parameters.get("v_threshold")
    level = np.nan if parameter is None else np.broadcast_to(parameter.value, population.shape).ravel()[neuron]
    return Divergence(layer.name, image, step, neuron, membrane, ours, membrane - float(level), found.reference)


def _brian2_membrane(spec: NetworkSpec, images: Images, image: int, layer: str) -> np.ndarray:
    """The numpy target needs no compiler: one image is enough for a look inside."""
    from alade_brian.conversion.brian2_network import Layout
    from alade_brian.simulation.runtime import RuntimeNetwork
    from alade_brian.simulation.simulator import arrays, pixels

    network = RuntimeNetwork(spec, Layout(1, 1), "numpy", "float64")
    one = {name: array[image : image + 1] for name, array in arrays(spec, images).items()}
    return network.membrane(pixels(spec, one), layer)


def _diagnosis(spec: NetworkSpec, images: Images, found: Verification) -> Diagnosis:
    """Of the first layer that differs; where it does so because of what comes back to it, of the one that differs
    next."""
    from alade_brian.conversion.diagnosis import diagnose
    from alade_brian.simulation.simulator import arrays

    differing = [a for a in found.layers if a.mismatched_spikes]
    by_time = sorted(differing[1:], key=lambda a: int(a.mismatched()[:, 1].min()))
    first: Diagnosis | None = None
    for layer in [differing[0], *by_time][:LAYERS_TRIED]:
        chosen = _telling(layer, found.images)
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


def _telling(layer: LayerAgreement, images: int) -> np.ndarray:
    """Numbers of the images that a diagnosis is made of: some that differ, and the neighbours of the first of them."""
    differ = np.unique(layer.mismatched()[:, 0])
    near = np.arange(max(0, differ[0] - IMAGES_TOLD), min(images, differ[0] + IMAGES_TOLD))
    return np.union1d(differ[:IMAGES_TOLD], near)
