"""One path compares the simulation with any reference: torch, a recording, another simulator, or one made up here."""

from __future__ import annotations

import numpy as np
import pytest
from networks import NUMPY, conv_net, convert, dyadic_, dyadic_images
from torch import nn

from alade_brian.models import LIF, MeanOverSteps
from alade_brian.simulation import simulate
from alade_brian.simulation.simulator import Images
from alade_brian.spec import (
    Identity,
    NetworkSpec,
    Population,
    Projection,
    Readout,
    Stimulus,
    constant,
    memoryless,
)
from alade_brian.spikes.packed import PackedResponses, packed
from alade_brian.spikes.responses import Responses
from alade_brian.verification.derived_spikes import derived
from alade_brian.verification.reference import RecordedReference, joined
from alade_brian.verification.reference_states import torch_states
from alade_brian.verification.torch_reference import TorchReference
from alade_brian.verification.verify import Verification, compare, verify, verify_against

IMAGES = dyadic_images(6, 2, 7, 6)
SPEC = convert(conv_net(), IMAGES.shape[1:])
RIGHT = simulate(SPEC, IMAGES, NUMPY)
FIRST, SECOND = (p.name for p in SPEC.spiking)


def flipped(layer: str, *entries: tuple[int, int, int]) -> Responses:
    """The simulation's own responses with single spikes of a layer turned over."""
    spikes = RIGHT.spikes[layer].copy()
    for entry in entries:
        spikes[entry] ^= True
    return Responses({**RIGHT.spikes, layer: spikes}, RIGHT.logits)


class Oracle:
    """A reference that knows its membranes, and which parts it was asked for."""

    name = "the oracle"

    def __init__(self, responses: Responses) -> None:
        self.responses, self.parts = responses, list[slice]()

    def packed(self, images: Images, part: slice) -> PackedResponses:
        self.parts.append(part)
        return packed(self.responses.select(part), {p.name: p.shape for p in SPEC.spiking})

    def membranes(self, images: Images, image: int, layer: str) -> np.ndarray:
        return np.full((SPEC.steps, SPEC.population(layer).size), 100.0 * image)


def test_any_reference_that_fires_the_same_agrees_image_by_image() -> None:
    oracle, shown = Oracle(RIGHT), list[int]()
    found = verify_against(oracle, SPEC, IMAGES, NUMPY, shown.append)
    assert found.agrees and found.first_divergence is None and found.reference == "the oracle"
    assert [k for part in oracle.parts for k in range(len(IMAGES))[part]] == list(range(len(IMAGES)))
    assert sum(shown) == len(IMAGES)
    assert "spikes in the oracle" in str(found)


def test_one_flipped_spike_is_found_with_the_membrane_that_the_reference_knows() -> None:
    entry = (4, 2, 17)
    found = verify_against(Oracle(flipped(SECOND, entry)), SPEC, IMAGES, NUMPY)
    first = found.first_divergence
    assert found.mismatched_spikes == 1 and not found.agrees and first is not None
    assert (first.layer, (first.image, first.step, first.neuron)) == (SECOND, entry)
    assert first.membrane_reference == 400 and first.distance_to_threshold == 399
    # What Brian2's membrane is, it is with or without a reference: above the threshold exactly if the neuron fired.
    assert (first.membrane_brian2 > 1) == RIGHT.spikes[SECOND][entry]
    assert "400 in the oracle" in str(first)
    assert found.diagnosis is not None


def test_of_several_flipped_spikes_the_earliest_of_the_first_layer_is_told() -> None:
    found = verify_against(Oracle(flipped(FIRST, (5, 1, 3), (0, 3, 0), (2, 1, 40))), SPEC, IMAGES, NUMPY)
    first = found.first_divergence
    assert first is not None and (first.layer, first.step, first.image, first.neuron) == (FIRST, 1, 2, 40)


def test_a_recording_is_such_a_reference_and_knows_no_membrane() -> None:
    recorded = flipped(FIRST, (1, 0, 9))
    by_hand = verify_against(RecordedReference(SPEC, recorded), SPEC, IMAGES, NUMPY)
    found = compare(SPEC, recorded, IMAGES, NUMPY)
    assert str(found) == str(by_hand) and found.reference == "recorded"
    first = found.first_divergence
    assert first is not None and np.isnan(first.membrane_reference) and (first.image, first.neuron) == (1, 9)
    with pytest.raises(ValueError, match=f"lack the layer.*{SECOND}"):
        RecordedReference(SPEC, Responses({FIRST: RIGHT.spikes[FIRST]}, RIGHT.logits))
    with pytest.raises(ValueError, match="6 images, there are 5"):
        compare(SPEC, RIGHT, IMAGES[:5], NUMPY)


def test_torch_answers_a_part_as_the_part_of_its_answers() -> None:
    torch_side = TorchReference(conv_net(), SPEC)
    whole, parts = torch_side.packed(IMAGES), [torch_side.packed(IMAGES, slice(k, k + 4)) for k in (0, 4)]
    assert np.array_equal(joined(parts).logits, whole.logits)
    for name, bits in whole.spikes.items():
        assert np.array_equal(joined(parts).spikes[name], bits) and bits.any()


def of_a_sequence() -> nn.Module:
    return dyadic_(nn.Sequential(nn.Linear(5, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4)))


def wrong_bias(network: nn.Module, frames: np.ndarray) -> tuple[Verification, str]:
    spec = convert(network, (5,), steps=4, sequence=True)
    layer = spec.spiking[0].name
    return verify(network, frames, spec.replace_population(layer, bias=None), NUMPY), layer


def test_torchs_membrane_of_a_sequence_is_that_of_its_steps_in_order() -> None:
    network, frames = of_a_sequence(), dyadic_images(7, 4, 5)
    found, layer = wrong_bias(network, frames)
    first = found.first_divergence
    assert first is not None
    states = torch_states(network, frames, convert(network, (5,), steps=4, sequence=True), [layer])[layer]["v"]
    assert first.membrane_reference == states[first.image, first.step, first.neuron]
    assert first.distance_to_threshold == first.membrane_reference - 1
    assert (first.membrane_reference > 1) != (first.membrane_brian2 > 1)


def test_a_spike_that_arrives_behind_the_last_step_makes_none() -> None:
    """Derived spikes follow their sources by the delays, those longer than a presentation too."""
    fires = memoryless(spiking=True, v_threshold=constant(0.5))
    populations = tuple(Population(name, (3,), fires) for name in ("source", "derived"))
    delayed = tuple(Projection("source", "derived", Identity(), delay) for delay in (1, 4, 6))
    projections = (Projection("image", "source", Identity()), *delayed)
    spec = NetworkSpec((Stimulus((3,)),), populations, projections, Readout("derived", "spike_count"), 4)
    sent = np.random.default_rng(0).integers(0, 2, (2, 4, 3)).astype(np.float64)
    found = derived(spec, populations[1], {"source": sent})
    assert np.array_equal(found[:, 1:], sent[:, :-1]) and not found[:, 0].any() and found.any()
    shown = sent[:, :1].repeat(4, 1)
    simulated = simulate(spec, shown[:, 0], NUMPY).spikes
    assert np.array_equal(derived(spec, populations[1], {"source": shown}), simulated["derived"])
