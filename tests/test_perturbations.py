"""Perturbations: nothing at strength 0, and at other strengths what their closed forms or their statistics say."""

from __future__ import annotations

import dataclasses
import itertools
from math import prod

import numpy as np
import pytest
import torch
from scipy import stats

from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.models import ExpandableNetwork, make_backbone
from alade_brian.perturbations import PERTURBATIONS, Perturbation, Presentation, perturbation
from alade_brian.perturbations.base import SpecPerturbation, generator
from alade_brian.perturbations.neurons import SelectiveLesion
from alade_brian.perturbations.noise import MembraneNoise
from alade_brian.simulation import SimulationSettings, open_simulator, simulate
from alade_brian.simulation.synaptic_events import EventCounter
from alade_brian.spec import (
    Dense,
    Identity,
    NetworkSpec,
    NeuronEquations,
    Population,
    Projection,
    Readout,
    Stimulus,
    constant,
    memoryless,
)
from alade_brian.spec.release import chance
from alade_brian.spec.synapses import matrix

NUMPY = SimulationSettings(backend="numpy")
IMAGES = np.random.default_rng(2).random((6, 1, 8, 8))


@pytest.fixture(scope="module")
def spec() -> NetworkSpec:
    """Two extractors with biases from batch norm, five steps."""
    torch.manual_seed(3)
    network = ExpandableNetwork(lambda: make_backbone("small", (1, 8, 8), channels=(4, 6), strides=(1, 2), steps=5), 5)
    for _ in range(2):
        network.add_extractor(inherit=False)
    network.set_classifier(4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 1, 2)
            torch.nn.init.uniform_(module.bias, 0.1, 0.4)
    return convert(network.eval(), (1, 8, 8))


def known_perturbation(name: str, spec: NetworkSpec) -> Perturbation:
    """The perturbation, told what it must know of a network."""
    known = perturbation(name)
    if isinstance(known, SelectiveLesion):
        draw = np.random.default_rng(1)
        known.selectivity = {p.name: draw.random(p.size) for p in spec.spiking}
    return known


def spikes(shown: Presentation, settings: SimulationSettings = NUMPY) -> dict[str, np.ndarray]:
    return simulate(shown.spec, shown.images, settings).spikes


def chain(steps: int, neurons: int = 3, layers: int = 3, weight: float = 2.0, decay: float = 0.5) -> NetworkSpec:
    """Neurons one behind the other, each driven by one neuron of the layer before."""
    tau = constant(-1 / np.log(decay), "step")
    lif = NeuronEquations("dv/dt = -v/tau : 1", {"tau": tau, "v_threshold": constant(1.0), "v_reset": constant(0.0)})
    populations = tuple(Population(f"layer {k}", (neurons,), lif) for k in range(layers))
    names = ["image", *(p.name for p in populations)]
    projections = tuple(Projection(a, b, Identity(np.array(weight))) for a, b in itertools.pairwise(names))
    return NetworkSpec(
        (Stimulus((neurons,), coding="sequence"),), populations, projections,
        Readout(names[-1], "spike_count"), steps,
    )  # fmt: skip


def pulse(steps: int, neurons: int = 3, at: int = 0, value: float = 1.0) -> np.ndarray:
    images = np.zeros((1, steps, neurons))
    images[:, at] = value
    return images


@pytest.mark.parametrize("backend", ["numpy", "cpp"])
@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_strength_zero_changes_no_spike(spec: NetworkSpec, name: str, backend: str) -> None:
    settings = SimulationSettings(backend=backend)
    shown = Presentation(spec, IMAGES)
    expected = simulate(spec, IMAGES, settings)
    changed = known_perturbation(name, spec)(shown, 0)
    found = simulate(changed.spec, changed.images, settings)
    for layer, fired in expected.spikes.items():
        assert fired.any() and np.array_equal(found.spikes[layer], fired)
    assert np.array_equal(found.logits, expected.logits)


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_every_other_strength_changes_something_and_is_the_same_again(spec: NetworkSpec, name: str) -> None:
    known = known_perturbation(name, spec)
    assert known.strengths[0] == 0 and known.unit and max(known.strengths) <= known.highest
    expected = simulate(spec, IMAGES, NUMPY)
    shown = [known(Presentation(spec, IMAGES), known.strengths[-1], seed) for seed in (1, 1, 2)]
    found = [simulate(s.spec, s.images, NUMPY) for s in shown]
    assert not np.array_equal(found[0].logits, expected.logits)
    assert np.array_equal(found[0].logits, found[1].logits)
    assert known.random != np.array_equal(found[0].logits, found[2].logits)


def test_a_refractory_neuron_fires_as_often_as_it_can() -> None:
    """A current above threshold in every step: with a period of r steps a spike every r + 1 steps."""
    shown = Presentation(chain(12, layers=1), np.ones((1, 12, 3)))
    for period in range(4):
        (fired,) = spikes(perturbation("refractory")(shown, period)).values()
        assert np.flatnonzero(fired[0, :, 0]).tolist() == list(range(0, 12, period + 1))


def test_a_refractory_membrane_stays_at_its_reset() -> None:
    """A weak current: without a period it adds up over the pause, with one it begins behind it."""
    drive = np.array([2.0, 0.45, 0.45, 0.45, 0.45, 0.45, 0.45, 0.45]) / 2
    shown = Presentation(chain(8, layers=1, decay=0.9), np.repeat(drive[None, :, None], 3, 2))
    first = [np.flatnonzero(spikes(perturbation("refractory")(shown, r))["layer 0"][0, :, 0])[1] for r in (0, 1, 2)]
    assert first[1] - first[0] == 1 and first[2] - first[0] == 2


def test_a_delay_shifts_each_layer_by_its_steps() -> None:
    shown = Presentation(chain(12), pulse(12, at=1))
    for delay in range(4):
        found = spikes(perturbation("delay")(shown, delay))
        times = [np.flatnonzero(fired[0, :, 0]).tolist() for fired in found.values()]
        assert times == [[1], [1 + delay], [1 + 2 * delay]]


def test_unequal_delays_keep_every_synapse_and_draw_each_delay_as_often(spec: NetworkSpec) -> None:
    changed = perturbation("unequal-delays")(Presentation(spec, IMAGES), 3, seed=4).spec
    for projection in spec.projections:
        if not spec.sends_spikes(projection.source):
            continue
        parts = [p for p in changed.projections if (p.source, p.target) == (projection.source, projection.target)]
        assert [p.delay for p in parts] == [0, 1, 2, 3]
        target = prod(spec.shape(projection.target))
        whole = np.zeros((target, prod(spec.shape(projection.source))))
        made = matrix(projection.operator, spec.shape(projection.source)).toarray()
        whole[projection.target_offset : projection.target_offset + len(made)] = made
        together = sum(matrix(p.operator, spec.shape(p.source)).toarray() for p in parts)
        np.testing.assert_allclose(together, whole)
        counts = [p.operator.weight.size for p in parts]  # type: ignore[union-attr]
        expected = sum(counts) / 4
        assert np.all(np.abs(np.array(counts) - expected) < 4 * np.sqrt(expected * 3 / 4))


def test_thresholds_scatter_by_the_strength_and_decide(spec: NetworkSpec) -> None:
    wide = Presentation(chain(1, neurons=4000, layers=1, weight=1.0), np.full((1, 1, 4000), 1.2))
    fired = spikes(perturbation("thresholds")(wide, 0.3, seed=1))["layer 0"]
    # P(exp(0.3 n) < 1.2) with n normal.
    expected = 0.5 * (1 + torch.erf(torch.tensor(np.log(1.2) / 0.3 / np.sqrt(2))).item())
    assert abs(fired.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)


def test_time_constants_scatter_by_the_strength() -> None:
    changed = perturbation("time-constants")(
        Presentation(chain(2, neurons=4000, layers=1), pulse(2, 4000)), 0.4, seed=1
    )
    neuron = changed.spec.populations[0].neuron
    factor = np.log(neuron.parameters["tau"].value * np.log(2))
    assert abs(factor.mean()) < 4 * 0.4 / np.sqrt(4000) and abs(factor.std() - 0.4) < 4 * 0.4 / np.sqrt(8000)
    assert neuron.parameters["tau"].unit == "step"


def test_adaptation_lengthens_the_intervals() -> None:
    """Drive of 0.6 per step without leak to speak of, threshold 1: the count follows the recursion by hand."""
    steps, drive, rise, recovery = 60, 0.6, 0.2, np.exp(-1 / 20)
    shown = Presentation(chain(steps, layers=1, weight=1.0, decay=0.999), np.full((1, steps, 3), drive))
    (fired,) = spikes(perturbation("adaptation")(shown, rise)).values()
    v, a, expected = 0.0, 0.0, []
    for step in range(steps):
        v, a = 0.999 * v + drive, recovery * a
        if v > 1 + a:
            expected.append(step)
            v, a = 0.0, a + rise
    assert np.flatnonzero(fired[0, :, 0]).tolist() == expected
    assert np.diff(expected)[-1] > np.diff(expected)[0]


@pytest.mark.parametrize("task", [None, 2])
def test_a_lesion_silences_its_fraction_for_ever(spec: NetworkSpec, task: int | None) -> None:
    loud = spec
    for population in spec.spiking:
        loud = loud.replace_population(population.name, bias=np.full(population.shape, 50.0))
    found = spikes(perturbation("lesion", task=task)(Presentation(loud, IMAGES), 0.25, seed=1))
    for name, fired in found.items():
        silent = 1 - fired.any((0, 1)).mean()
        hit = task is None or name.startswith("extractors.1.")
        assert silent == pytest.approx(0.25 if hit else 0.0, abs=0.51 / fired.shape[2] + 1e-12)
    other = spikes(perturbation("lesion", task=task)(Presentation(loud, IMAGES), 1.0))
    assert all(fired.any() == (task == 2 and "extractors.0" in name) for name, fired in other.items())


def test_a_selective_lesion_takes_the_most_selective_and_the_silent_last() -> None:
    spec = chain(2, neurons=4, layers=1)
    known = SelectiveLesion()
    with pytest.raises(UserError, match="selectivity of its neurons is not known"):
        known(Presentation(spec, pulse(2, 4)), 0.5)
    known.selectivity = {"layer 0": np.array([0.2, np.nan, 0.9, 0.5])}
    fired = [spikes(known(Presentation(spec, pulse(2, 4)), s))["layer 0"].any((0, 1)).tolist() for s in (0.25, 0.75)]
    assert fired == [[True, True, False, True], [False, True, False, False]]


def summing(weight: np.ndarray, steps: int, delay: int = 0) -> NetworkSpec:
    """Relays of the stimulus, and neurons that never fire and add up what reaches them."""
    relay = chain(steps, neurons=weight.shape[1], layers=1, weight=2.0).populations[0]
    silent = NeuronEquations("v : 1", {"v_threshold": constant(1e9)}, reset="none")
    return NetworkSpec(
        (Stimulus((weight.shape[1],), coding="sequence"),),
        (relay, Population("sum", (len(weight),), silent)),
        (Projection("image", relay.name, Identity(np.array(2.0))), Projection(relay.name, "sum", Dense(weight), delay)),
        Readout("sum", "last_membrane"), steps,
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["numpy", "cpp"])
@pytest.mark.parametrize("delay", [0, 1])
def test_failing_synapses_thin_the_events_by_their_probability(backend: str, delay: int) -> None:
    """Of weight 1: what reaches the sums is what passed, and every synapse and spike fails by itself."""
    steps, neurons, failing = 6, 30, 0.3
    spec = summing(np.ones((20, neurons)), steps, delay)
    images = np.ones((5, steps, neurons))
    shown = perturbation("unreliable-release")(Presentation(spec, images), failing, seed=3)
    simulator = open_simulator(shown.spec, SimulationSettings(backend=backend, batch=2))
    (found,) = (packed for _, packed in simulator.packed_chunks(shown.images))
    arrivals = (steps - delay) * neurons
    assert found.events is not None and found.events.sum(1).tolist() == found.logits.sum(1).tolist()
    error = np.sqrt(failing * (1 - failing) * arrivals)
    assert np.all(np.abs(found.logits - (1 - failing) * arrivals) < 4 * error)
    assert found.logits.std() == pytest.approx(error, rel=0.3)
    alone = perturbation("unreliable-release")(Presentation(spec, images[3:4], first=3), failing, seed=3)
    assert np.array_equal(simulate(alone.spec, alone.images, NUMPY).logits[0], found.logits[3])


def test_chance_is_uniform_and_depends_on_all_three() -> None:
    draws = np.array([chance(np.array(t), np.arange(50)[:, None], np.arange(50)) for t in (0, 1, 2**31 - 1)])
    counts, _ = np.histogram(draws, 20, (0, 1))
    assert stats.chisquare(counts).pvalue > 1e-3 and len(np.unique(draws)) == draws.size
    for axis in range(3):
        neighbours = np.corrcoef(np.delete(draws, 0, axis).ravel(), np.delete(draws, -1, axis).ravel())[0, 1]
        assert abs(neighbours) < 4 / np.sqrt(draws.size / 2)


@pytest.mark.parametrize("backend", ["numpy", "cpp"])
def test_conductances_follow_their_equation(backend: str) -> None:
    """One volley from rest: excitation, inhibition, both, a large one; weak ones are as currents."""
    weight = np.array([[1.0, 0.0], [0.0, -1.5], [2.0, -0.5], [400.0, 0.0], [1e-3, 0.0]])
    images = np.ones((1, 1, 2))
    for strength in (0.2, 0.8):
        shown = perturbation("conductances")(Presentation(summing(weight, 1), images), strength)
        (v,) = simulate(shown.spec, shown.images, SimulationSettings(backend=backend)).logits
        g, h = strength * np.maximum(weight, 0).sum(1), strength * np.maximum(-weight, 0).sum(1)
        np.testing.assert_allclose(v, (g - h) / (g + h) / strength * (1 - np.exp(-g - h)), rtol=1e-12)
        assert v[3] == pytest.approx(1 / strength) and v[4] == pytest.approx(1e-3, rel=1e-3)


def test_both_ways_of_a_synapse_are_one_event(spec: NetworkSpec) -> None:
    shown = perturbation("conductances")(Presentation(spec, IMAGES), 1e-9)
    expected, found = simulate(spec, IMAGES, NUMPY), simulate(shown.spec, IMAGES, NUMPY)
    assert all(np.array_equal(found.spikes[name], fired) for name, fired in expected.spikes.items())
    counted = np.delete(EventCounter(shown.spec).count(found), sorted(shown.uncounted_projections), axis=1)
    assert np.array_equal(counted.sum(1), EventCounter(spec).count(expected).sum(1))


def test_jitter_draws_a_delay_for_every_spike() -> None:
    """Each spike of the first layer arrives once, at every delay as often; targets see the same one."""
    steps, neurons = 4, 3000
    shown = perturbation("jitter")(Presentation(chain(steps, neurons, layers=2), pulse(steps, neurons)), 2, seed=5)
    found = simulate(shown.spec, shown.images, NUMPY)
    fired = found.spikes["layer 1"][0]
    assert np.array_equal(fired.sum(0), np.ones(neurons))
    counts = np.bincount(fired.argmax(0), minlength=3)
    assert np.all(np.abs(counts - neurons / 3) < 4 * np.sqrt(neurons * 2 / 9)) and len(counts) == 3
    counted = np.delete(EventCounter(shown.spec).count(found), sorted(shown.uncounted_projections), axis=1)
    assert counted.sum() == neurons


def dense(weight: np.ndarray) -> NetworkSpec:
    lif = chain(3).populations[0].neuron
    image, sender, target = Stimulus((weight.shape[1],)), (weight.shape[1],), (len(weight),)
    return NetworkSpec(
        (image,), (Population("a", sender, lif), Population("b", target, lif)),
        (Projection("image", "a", Identity()), Projection("a", "b", Dense(weight))), Readout("b", "spike_count"), 3,
    )  # fmt: skip


def changed_weight(name: str, weight: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    found = perturbation(name)(Presentation(dense(weight), np.ones((1, weight.shape[1]))), strength, seed)
    return found.spec.projections[1].operator.weight  # type: ignore[union-attr]


def test_weight_noise_has_the_deviation_asked_for() -> None:
    weight = np.random.default_rng(1).normal(0.1, 2.0, (80, 90))
    noise = (changed_weight("weight-noise", weight, 0.5, seed=3) - weight) / weight.std()
    assert abs(noise.mean()) < 4 * 0.5 / np.sqrt(7200) and abs(noise.std() - 0.5) < 4 * 0.5 / np.sqrt(14400)


def test_rounded_weights_are_multiples_of_the_step() -> None:
    weight = np.array([[1.0, -0.4, 0.26], [0.1, -0.9, 0.0]])
    assert changed_weight("weight-resolution", weight, 0.5).tolist() == [[1, -0.5, 0.5], [0, -1, 0]]
    three_bits = changed_weight("weight-resolution", np.linspace(-1, 1, 99).reshape(9, 11), 1 / 3)
    assert len(np.unique(three_bits.round(9))) == 2**3 - 1


def test_dale_takes_away_what_is_against_the_senders_sign() -> None:
    weight = np.array([[2.0, -1.0], [-1.0, 0.5], [0.5, -3.0]])
    assert changed_weight("dale", weight, 1).tolist() == [[2.0, -1.0], [0.0, 0.0], [0.5, -3.0]]
    assert changed_weight("dale", weight, 0.5).tolist() == [[2.0, -1.0], [-0.5, 0.25], [0.5, -3.0]]


@pytest.mark.parametrize("name", ["exponential-synapses", "alpha-synapses"])
def test_a_filtered_spike_arrives_as_its_kernel(name: str) -> None:
    """Membrane of the second layer, without leak or threshold: the running sum of the kernel, of area 1."""
    steps, tau = 40, 3.0
    spec = chain(steps, layers=2)
    spec = spec.replace_neuron(
        "layer 1", parameters={**spec.populations[1].neuron.parameters, "v_threshold": constant(1e9)}
    )
    spec = spec.replace_neuron("layer 1", model="v : 1")
    changed = perturbation(name)(Presentation(spec, pulse(steps)), tau)
    trace = simulate(changed.spec, changed.images, NUMPY, traces=["layer 1"]).traces["layer 1"][0, :, 0]
    keep, t = np.exp(-1 / tau), np.arange(steps)
    kernel = (1 - keep) * keep**t if "exp" in name else (1 - keep) ** 2 * (t + 1) * keep**t
    np.testing.assert_allclose(trace, 2.0 * np.cumsum(kernel), rtol=1e-9)


@pytest.mark.parametrize("finer", [1, 3, 9])
def test_finer_steps_follow_the_same_equation(finer: int) -> None:
    """Without spikes, the membrane under a held image at the ends of the old steps is what it was."""
    spec = dataclasses.replace(chain(5, layers=1, weight=0.4), stimuli=(Stimulus((3,)),))
    image = np.array([[0.1, 0.5, 0.9]])
    before = simulate(spec, image, NUMPY, traces=["layer 0"]).traces["layer 0"]
    changed = perturbation("finer-steps")(Presentation(spec, image), finer)
    assert changed.spec.steps == 5 * (finer + 1) and changed.spec.dt == pytest.approx(1e-3 / (finer + 1))
    after = simulate(changed.spec, changed.images, NUMPY, traces=["layer 0"]).traces["layer 0"]
    np.testing.assert_allclose(after[:, finer :: finer + 1], before, rtol=1e-9)


def noisy_membranes(spec: NetworkSpec, strength: float) -> np.ndarray:
    """Membranes of the first layer ``(2, steps, neurons)`` with noise of that many thresholds, which are far away."""
    far = 64.0
    spec = spec.replace_neuron(
        "layer 0", parameters={**spec.populations[0].neuron.parameters, "v_threshold": constant(far)}
    )
    silence = Presentation(spec, np.zeros((2, spec.steps, spec.populations[0].size)))
    changed = perturbation("membrane-noise")(silence, strength / far, seed=5)
    return simulate(changed.spec, changed.images, NUMPY, traces=["layer 0"]).traces["layer 0"]


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_membrane_noise_has_the_variance_of_its_process(decay: float) -> None:
    """From rest: ``strength^2 * (1 - d^(2t))`` after t steps, and lag-one correlation d at the end."""
    steps, neurons, strength = 30, 3000, 0.1
    v = noisy_membranes(chain(steps, neurons, 1, decay=decay), strength)
    for t in (1, 2, 5, steps):
        expected = strength**2 * (1 - decay ** (2 * t))
        assert abs(v[:, t - 1].var() / expected - 1) < 4 * np.sqrt(2 / (2 * neurons))
    correlation = np.corrcoef(v[:, -1].ravel(), v[:, -2].ravel())[0, 1]
    assert abs(correlation - decay) < 4 / np.sqrt(2 * neurons)


def test_membrane_noise_without_a_leak_is_a_wiener_process() -> None:
    """Its variance grows with the steps, to ``strength^2`` in the last; what a step adds knows nothing of the rest."""
    steps, neurons, strength = 30, 3000, 0.1
    spec = chain(steps, neurons, 1)
    parameters = {k: v for k, v in spec.populations[0].neuron.parameters.items() if k != "tau"}
    v = noisy_membranes(spec.replace_neuron("layer 0", model="v : 1", parameters=parameters), strength)
    for t in (1, 2, 5, steps):
        assert abs(v[:, t - 1].var() / (strength**2 * t / steps) - 1) < 4 * np.sqrt(2 / (2 * neurons))
    added = np.diff(v, axis=1)
    correlation = np.corrcoef(added[:, -1].ravel(), v[:, -2].ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(2 * neurons)


def test_noise_belongs_to_the_image_not_to_the_batch(spec: NetworkSpec) -> None:
    whole = MembraneNoise()(Presentation(spec, IMAGES), 0.2, seed=1)
    part = MembraneNoise()(Presentation(spec, IMAGES[4:], first=4), 0.2, seed=1)
    for name, array in part.images.items():  # type: ignore[union-attr]
        assert np.array_equal(array, whole.images[name][4:])  # type: ignore[call-overload,index]


def test_poisson_events_have_mean_and_variance() -> None:
    spec = dataclasses.replace(chain(500, layers=1), stimuli=(Stimulus((3,)),))
    image = np.array([[0.2, -0.7, 0.0]])
    shown = perturbation("poisson-stimulus")(Presentation(spec, image), 0.5, seed=2)
    events = shown.images["image"][0]  # type: ignore[call-overload,index]
    assert shown.spec.stimulus.coding == "sequence" and events.shape == (500, 3)
    np.testing.assert_allclose(events / 0.5, np.round(events / 0.5))
    variance = 0.5 * np.abs(image[0])
    assert np.all(np.abs(events.mean(0) - image[0]) <= 4 * np.sqrt(variance / 500))
    assert abs(events[:, 1].var() / variance[1] - 1) < 0.4 and not events[:, 2].any()


@pytest.mark.parametrize(
    ("name", "strength", "says"),
    [
        ("delay", -1, "use 0 to 10000"), ("delay", 1.5, "whole number"), ("lesion", 1.2, "0 to 1"),
        ("thresholds", float("nan"), "use 0 up"), ("finer-steps", 100, "0 to 99"),
    ],
)  # fmt: skip
def test_a_strength_out_of_range_is_refused(spec: NetworkSpec, name: str, strength: float, says: str) -> None:
    with pytest.raises(UserError, match=says):
        perturbation(name)(Presentation(spec, IMAGES), strength)


def test_what_a_network_cannot_have_is_refused(spec: NetworkSpec) -> None:
    without_memory = spec
    for population in spec.spiking:
        neuron = memoryless(True, v_threshold=population.neuron.parameters["v_threshold"])
        fields = {field.name: getattr(neuron, field.name) for field in dataclasses.fields(neuron)}
        without_memory = without_memory.replace_neuron(population.name, **fields)
    for name in ("membrane-noise", "time-constants"):
        with pytest.raises(UserError, match="does not suit"):
            perturbation(name)(Presentation(without_memory, IMAGES), 0.1)
    with pytest.raises(UserError, match="no extractor of task 3"):
        perturbation("lesion", task=3)(Presentation(spec, IMAGES), 0.1)
    sequence = Presentation(chain(4), pulse(4))
    for name in ("finer-steps", "poisson-stimulus"):
        with pytest.raises(UserError, match="sequences"):
            perturbation(name)(sequence, 1)


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(UserError, match="use one of refractory"):
        perturbation("earthquake")
    with pytest.raises(UserError, match="does not take task"):
        perturbation("delay", task=1)


def test_every_place_has_numbers_of_its_own(spec: NetworkSpec) -> None:
    """Also where names begin alike, as those of all extractors do."""
    places = [("extractors.0.stages.0.lif",), ("extractors.1.stages.0.lif",), ("extractors.1.stages.1.lif",)]
    places += [(places[0][0], 1), (places[0][0], 2)]
    drawn = [generator(1, *place).standard_normal() for place in places]
    assert len(set(drawn)) == len(places)
    changed = perturbation("thresholds")(Presentation(spec, IMAGES), 0.3).spec
    twins = [changed.population(f"extractors.{k}.stages.1.lif").neuron.parameters["scatter"].value for k in (0, 1)]
    assert twins[0].shape == twins[1].shape and not np.any(twins[0] == twins[1])


def test_ones_own_is_a_small_class(spec: NetworkSpec) -> None:
    @PERTURBATIONS.register("test-bias")
    class Bias(SpecPerturbation):
        name = "test-bias"
        strengths = (0, 1)

        def changed(self, spec: NetworkSpec, strength: float, seed: int) -> NetworkSpec:
            for population in spec.spiking:
                bias = np.zeros(population.shape) if population.bias is None else population.bias
                spec = spec.replace_population(population.name, bias=bias + strength)
            return spec

    try:
        assert isinstance(perturbation("test-bias"), Perturbation)
        more = spikes(perturbation("test-bias")(Presentation(spec, IMAGES), 1.0))
        assert sum(map(np.sum, more.values())) > sum(map(np.sum, spikes(Presentation(spec, IMAGES)).values()))
    finally:
        PERTURBATIONS.remove("test-bias")
