"""The proof: the same images through both networks, every spike of every layer compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from alade_brian.conversion.responses import Responses
from alade_brian.conversion.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

    from alade_brian.simulation import SimulationSettings


# Wide enough for sums in float32, far below what any fault of the readout would make.
LOGIT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Divergence:
    """The first spike that exactly one of the two networks fired, and both membranes there (before the reset).

    First means: the first layer in step order that disagrees anywhere; in it the first step, image and neuron.
    """

    layer: str
    image: int
    step: int
    neuron: int
    membrane_torch: float
    membrane_brian2: float
    distance_to_threshold: float

    def __str__(self) -> str:
        return (
            f"layer {self.layer}, image {self.image}, step {self.step}, neuron {self.neuron}: membrane "
            f"{self.membrane_torch:.17g} in torch, "
            f"{self.membrane_brian2:.17g} in Brian2, {self.distance_to_threshold:+.3g} from the threshold in torch"
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
    logits            float64 ``(images, classes)`` of both networks
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
    seconds: dict[str, float] = field(default_factory=dict)
    compiled: bool = False

    @property
    def mismatched_spikes(self) -> int:
        return sum(layer.mismatched_spikes for layer in self.layers)

    @property
    def prediction_agreement(self) -> float:
        """Fraction of images on which both networks decide for the same class."""
        return float(np.mean(self.logits_torch.argmax(1) == self.logits_brian2.argmax(1)))

    @property
    def logit_max_abs_difference(self) -> float:
        return float(np.max(np.abs(self.logits_torch - self.logits_brian2)))

    @property
    def agrees(self) -> bool:
        """No spike and no decision differs, and the logits are the same but for rounding."""
        rounding = LOGIT_TOLERANCE * max(1.0, float(np.abs(self.logits_torch).max()))
        same_answers = self.prediction_agreement == 1.0 and self.logit_max_abs_difference <= rounding
        return self.mismatched_spikes == 0 and same_answers

    def __str__(self) -> str:
        lines = [
            f"{self.images} images, {self.spikes_compared:,} entries compared, {self.mismatched_spikes:,} mismatched; "
            f"prediction agreement {self.prediction_agreement:.4f}, logits within {self.logit_max_abs_difference:.2g}"
        ]
        width = max(len(layer.name) for layer in self.layers)
        lines += [
            f"  {a.name.ljust(width)}  {a.spikes_torch:>12,} spikes in torch  {a.spikes_brian2:>12,} in Brian2  "
            f"{a.mismatched_spikes:>9,} mismatched"
            for a in self.layers
        ]
        return "\n".join(lines + ([f"first divergence: {self.first_divergence}"] if self.first_divergence else []))


class Comparison:
    """Adds up a `Verification` from answers to consecutive images."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self.result = Verification(steps=spec.steps, layers=[LayerAgreement(p.name, p.size) for p in spec.spiking])
        self._packed: dict[str, list[np.ndarray]] = {p.name: [] for p in spec.spiking}
        self._logits: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def add(self, torch_side: Responses, brian2_side: Responses) -> None:
        """Compare the answers to the next images."""
        result = self.result
        for agreement in result.layers:
            left, right = torch_side.spikes[agreement.name], brian2_side.spikes[agreement.name]
            if left.shape != right.shape:
                raise ValueError(
                    f"layer {agreement.name}: {left.shape} spikes in torch, {right.shape} in Brian2 (images, steps, "
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
) -> Verification:
    """Convert a trained torch module, simulate it in Brian2, and compare every spike of every layer.

    model      any module that `torch_lower.convert` takes
    images     ``(n, C, H, W)``, as the module takes them
    spec       compare with this specification instead of the module's own
    settings   how to simulate (default: generated C++, float64)
    progress   called with the number of images newly compared

    torch runs in float64. Raises RefusedLayers where the module cannot be converted exactly.
    """
    from alade_brian.conversion.torch_lower import convert
    from alade_brian.conversion.torch_record import record
    from alade_brian.simulation import open_simulator, synaptic_events

    spec = spec or convert(model, images.shape[1:])
    simulator = open_simulator(spec, settings)
    comparison, events, began = Comparison(spec), 0, time.perf_counter()
    for part, responses in simulator.chunks(images):
        comparison.add(record(model, images[part], spec), responses)
        events += synaptic_events(spec, responses)
        progress(part.stop - part.start)
    result = comparison.finish()
    result.synaptic_events, result.compiled = events, simulator.compiled
    result.first_divergence = first_divergence(model, spec, images, result)
    compare = time.perf_counter() - began - simulator.seconds_simulate
    result.seconds = {"build": simulator.seconds_build, "simulate": simulator.seconds_simulate, "compare": compare}
    return result


def first_divergence(model: nn.Module, spec: NetworkSpec, images: np.ndarray, found: Verification) -> Divergence | None:
    """Where the networks part first, with both membranes; None where they agree."""
    from alade_brian.conversion.torch_record import membranes

    layer = next((a for a in found.layers if a.mismatched_spikes), None)
    if layer is None:
        return None
    entries = layer.mismatched()
    image, step, neuron = (int(x) for x in entries[np.lexsort((entries[:, 2], entries[:, 0], entries[:, 1]))[0]])
    in_torch = membranes(model, images[image], layer.name, spec.steps)
    torch_membrane = np.nan if in_torch is None else in_torch[step, neuron]
    brian2_membrane = _brian2_membrane(spec, images[image], layer.name)[step, neuron]
    population = spec.population(layer.name)
    threshold = np.broadcast_to(population.neuron.parameters["v_threshold"].value, population.shape).ravel()[neuron]
    return Divergence(
        layer.name,
        image,
        step,
        neuron,
        float(torch_membrane),
        float(brian2_membrane),
        float(torch_membrane - threshold),
    )


def _brian2_membrane(spec: NetworkSpec, image: np.ndarray, layer: str) -> Any:
    """The numpy target needs no compiler: one image is enough for a look inside."""
    from alade_brian.conversion.brian2_network import Layout
    from alade_brian.simulation.runtime import RuntimeNetwork
    from alade_brian.simulation.simulator import pixels

    network = RuntimeNetwork(spec, Layout(1, 1), "numpy", "float64")
    return network.membrane(pixels(spec, {spec.stimulus.name: image[None]}), layer)
