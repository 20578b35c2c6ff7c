"""A fault is planted in a converted network: the comparison says where it shows first, and names it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from networks import CPP, NUMPY, convert, dyadic_, dyadic_images
from test_spec_simulation import NEURONS, network, shown
from torch import Tensor, nn

from alade_brian.models import LIF, EveryStep, HoldCurrent, MeanOverSteps, Recurrent
from alade_brian.simulation import simulate
from alade_brian.simulation.fused.network import fused_values
from alade_brian.spec import Convolution, Dense, NetworkSpec, Readout, constant
from alade_brian.spikes.responses import Responses
from alade_brian.verification.diagnosis.diagnose import diagnose
from alade_brian.verification.diagnosis.isolated_layer import isolate, stack
from alade_brian.verification.torch_reference import record
from alade_brian.verification.verify import Verification, compare, verify

STEPS = 5
# The first, second and third spiking layer of `net`.
CONV, DENSE, RECURRENT = "2", "5", "7"
IMAGES = (dyadic_images(10, 2, 5, 4) * 2).round() / 2


def net() -> nn.Sequential:
    """A convolutional layer, a dense one that reads its flattened spikes, and a recurrent one."""
    layers = nn.Sequential(
        HoldCurrent(STEPS),
        nn.Conv2d(2, 3, 3, padding=1),
        LIF(STEPS, 0.5),
        nn.Flatten(),
        nn.Linear(60, 12),
        LIF(STEPS, 0.25, reset="subtract", v_reset=1.0),
        nn.Linear(12, 10, bias=False),
        Recurrent(LIF(STEPS, 0.5, reset="subtract", v_reset=0.75, leak="before_reset"), nn.Linear(10, 10, bias=False)),
        nn.Linear(10, 3),
        MeanOverSteps(STEPS),
    )
    dyadic_(layers, seed=3, spread=24)
    # Coarse numbers, so that membranes come to stand on the threshold exactly.
    for number in (1, 4, 6, 7):
        for values in layers[number].parameters():
            values.data = (values.data * 8).round() / (8 if number < 6 else 4)
    return layers


NET = net()
SPEC = convert(NET, (2, 5, 4))
RECORDED = record(NET, IMAGES, SPEC)


def parameter(spec: NetworkSpec, layer: str, unit: str = "1", **values: float) -> NetworkSpec:
    new = {key: constant(value, unit) for key, value in values.items()}  # type: ignore[arg-type]
    return spec.replace_neuron(layer, parameters={**spec.population(layer).neuron.parameters, **new})


def tau(layer: str, factor: float) -> NetworkSpec:
    now = SPEC.population(layer).neuron.parameters["tau"].value
    return parameter(SPEC, layer, "step", tau=float(now) * factor)


def projection(source: str, target: str, **changes: object) -> NetworkSpec:
    changed = [
        dataclasses.replace(p, **changes) if (p.source, p.target) == (source, target) else p  # type: ignore[arg-type]
        for p in SPEC.projections
    ]
    return dataclasses.replace(SPEC, projections=tuple(changed))


def dense(change: Callable[[np.ndarray], np.ndarray]) -> NetworkSpec:
    operator = SPEC.inputs(DENSE)[0].operator
    assert isinstance(operator, Dense)
    return projection(CONV, DENSE, operator=Dense(change(operator.weight)))


def conv(change: Callable[[np.ndarray], np.ndarray]) -> NetworkSpec:
    operator = SPEC.inputs(CONV)[0].operator
    assert isinstance(operator, Convolution)
    return projection("image", CONV, operator=dataclasses.replace(operator, weight=change(operator.weight)))


def bias(layer: str, factor: float, spec: NetworkSpec = SPEC) -> NetworkSpec:
    now = spec.population(layer).bias
    assert now is not None
    return spec.replace_population(layer, bias=now * factor)


def channels_last(weight: np.ndarray) -> np.ndarray:
    return weight.reshape(12, 3, 5, 4).transpose(0, 2, 3, 1).reshape(12, 60)


# By name: the layer, the network with the fault, the pattern that must be named, words that must be said.
FAULTS: dict[str, tuple[str, NetworkSpec, str, str]] = {
    "a step late, dense": (DENSE, projection(CONV, DENSE, delay=1), "timing", "one step late"),
    "a step late, recurrent": (RECURRENT, projection(RECURRENT, RECURRENT, delay=2), "timing", "one step late"),
    "comparison, conv": (CONV, SPEC.replace_neuron(CONV, comparison=">="), "comparison", "'>' instead of '>='"),
    "comparison, recurrent": (RECURRENT, SPEC.replace_neuron(RECURRENT, comparison=">="), "comparison", "'>'"),
    "reset by subtraction, conv": (
        CONV, parameter(SPEC, CONV, v_reset=1.0).replace_neuron(CONV, reset="subtract"),
        "reset", "a reset to 0 instead of a reset by subtracting 1",
    ),
    "reset to zero, dense": (
        DENSE, parameter(SPEC, DENSE, v_reset=0.0).replace_neuron(DENSE, reset="value"),
        "reset", "a reset by subtracting 1 instead of a reset to 0",
    ),
    "no reset, conv": (CONV, SPEC.replace_neuron(CONV, reset="none"), "reset", "a reset to 0 instead of no reset"),
    "reset by another amount, recurrent": (RECURRENT, parameter(SPEC, RECURRENT, v_reset=0.25), "reset", "instead of a reset by subtracting 0.25"),
    "reset to another value, conv": (CONV, parameter(SPEC, CONV, v_reset=-0.5), "reset", "a reset to 0 instead of a reset to -0.5"),
    "leak, dense": (DENSE, SPEC.replace_neuron(DENSE, leak="before_reset"), "leak", "the reset at once and the leak after it; instead"),
    "leak, recurrent": (RECURRENT, SPEC.replace_neuron(RECURRENT, leak="after_reset"), "leak", "delayed until the next step; instead"),
    "channel order": (DENSE, dense(channels_last), "channel order", "weights in the order (H, W, C) instead of (C, H, W)"),
    "kernel": (CONV, conv(lambda w: w[:, :, ::-1, ::-1]), "kernel", "flipped"),
    "decay, conv": (CONV, tau(CONV, 10.0), "decay", "10 times shorter"),
    "decay, recurrent": (RECURRENT, tau(RECURRENT, 0.5), "decay", "2 times as long"),
    "decay of no round factor, conv": (CONV, tau(CONV, 1.7), "decay", "a decay of 0.5 ("),
    "bias twice, dense": (DENSE, bias(DENSE, 2.0), "bias", "half the bias (Brian2 adds it twice)"),
    "bias missing, conv": (CONV, SPEC.replace_population(CONV, bias=None), "bias", "a bias per channel"),
    "input scaled, dense": (DENSE, bias(DENSE, 0.75, dense(lambda w: w * 0.75)), "input scale", "divided by 1 - decay"),
    "bias off by an amount, dense": (DENSE, SPEC.replace_population(DENSE, bias=SPEC.population(DENSE).bias + 0.6), "bias", "a constant current is missing or wrong in layer 5: a bias per channel, -0."),
    "threshold, dense": (DENSE, parameter(SPEC, DENSE, v_threshold=1.25), "threshold", "instead of 1.25"),
}  # fmt: skip


def check_place(found: Verification, layer: str) -> None:
    """The first divergence, computed once more from the rasters themselves."""
    first = found.first_divergence
    assert first is not None and first.layer == layer
    names = [p.name for p in SPEC.spiking]
    ours = {a.name: np.unpackbits(found.packed(a), axis=-1, count=STEPS * a.neurons) for a in found.layers}
    different = {n: RECORDED.spikes[n] != ours[n].reshape(RECORDED.spikes[n].shape) for n in names}
    assert next(n for n in names if different[n].any()) == layer
    step, image, neuron = min((s, i, k) for i, s, k in np.argwhere(different[layer]).tolist())
    assert (first.image, first.step, first.neuron) == (image, step, neuron)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named(name: str) -> None:
    layer, spec, pattern, words = FAULTS[name]
    found = verify(NET, IMAGES, spec, NUMPY)
    assert found.mismatched_spikes > 0
    check_place(found, layer)
    diagnosis = found.diagnosis
    assert diagnosis is not None and diagnosis.explained, str(found)
    assert diagnosis.hypothesis == pattern and words in diagnosis.text, diagnosis.text
    lines = str(found).splitlines()
    assert lines[-2].startswith("first divergence: ") and lines[-1] == f"diagnosis: {diagnosis}"


def test_a_right_network_has_no_diagnosis() -> None:
    found = verify(NET, IMAGES, SPEC, NUMPY)
    assert found.agrees and found.diagnosis is None and "diagnosis" not in str(found)
    assert all(spikes.any() and not spikes.all() for spikes in RECORDED.spikes.values())
    with pytest.raises(ValueError, match="nothing to diagnose"):
        diagnose(SPEC, RECORDED, RECORDED, IMAGES, CONV)


def simulated_with(
    name: str, change: Callable[[np.ndarray], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> Verification:
    """Compare with a program that is handed other numbers under this name than the specification has."""

    def wrong(spec: NetworkSpec, batch: int, dtype: type) -> dict[str, np.ndarray]:
        numbers = fused_values(spec, batch, dtype)
        return numbers | {name: change(numbers[name])}

    monkeypatch.setattr("alade_brian.simulation.fused.program.fused_values", wrong)
    return compare(SPEC, RECORDED, IMAGES, CPP)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda bias: bias * 0, "as if its bias, -0.375 to 0.375, were missing"),
        (lambda bias: bias * 2, "as if its bias, -0.375 to 0.375, were twice that"),
        (lambda bias: bias * 1.1, "as if it had a current per channel, "),
    ],
    ids=["missing", "twice", "another"],
)
def test_a_current_that_a_program_gets_wrong_is_no_rounding(
    change: Callable[[np.ndarray], np.ndarray], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert simulated_with("layer_1.bias", lambda bias: bias, monkeypatch).agrees
    found = simulated_with("layer_1.bias", change, monkeypatch)
    assert found.diagnosis is not None and found.diagnosis.hypothesis == "bias" and found.diagnosis.explained
    assert f"a constant current is missing or wrong in layer {DENSE} as simulated" in found.diagnosis.text
    assert words in found.diagnosis.text, found.diagnosis.text


def test_a_program_with_other_weights_is_no_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    found = simulated_with("pass_1.in0_kernel", lambda w: w + noise.normal(0, 0.3, w.shape), monkeypatch)
    assert found.diagnosis is not None and not found.diagnosis.explained
    assert "too far for rounding; try --backend numpy" in found.diagnosis.text


def test_a_program_that_rounds_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Membranes that stand on the threshold pass it."""
    found = simulated_with("layer_1.bias", lambda bias: bias + 1e-6, monkeypatch)
    assert found.mismatched_spikes > 0
    assert found.diagnosis is not None and found.diagnosis.text.startswith("rounding: "), found.diagnosis


NOISE = np.random.default_rng(0)
UNKNOWN = {
    CONV: conv(lambda w: w + NOISE.normal(0, 0.2, w.shape)),
    DENSE: dense(lambda w: w + NOISE.normal(0, 0.2, w.shape)),
    RECURRENT: projection(RECURRENT, RECURRENT, operator=Dense(NOISE.normal(0, 0.3, (10, 10)))),
}


@pytest.mark.parametrize("layer", UNKNOWN)
def test_random_weights_are_no_known_pattern(layer: str) -> None:
    found = verify(NET, IMAGES, UNKNOWN[layer], NUMPY)
    check_place(found, layer)
    assert found.diagnosis is not None and not found.diagnosis.explained and not found.diagnosis.hypothesis
    assert "no known pattern explains" in found.diagnosis.text and "from the threshold" in found.diagnosis.text


def test_rounding_is_called_so() -> None:
    """One weight is off in its last bits, so that a membrane on the threshold passes it."""
    single = nn.Sequential(HoldCurrent(2), nn.Linear(2, 1, bias=False), LIF(2), nn.Linear(1, 1), MeanOverSteps(2))
    single[1].weight.data.fill_(0.5)
    spec = convert(single, (2,))
    off = dataclasses.replace(spec.inputs("2")[0], operator=Dense(np.array([[0.5, 0.5 + 1e-15]])))
    found = verify(
        single,
        np.ones((1, 2)),
        dataclasses.replace(spec, projections=(off, *spec.inputs("4")[:0], spec.projections[1])),
        NUMPY,
    )
    assert found.diagnosis is not None and found.diagnosis.hypothesis == "rounding", str(found)


def test_state_carried_from_image_to_image() -> None:
    """Recorded from presentations without rest between them: one presentation of all images."""
    rows = np.repeat(IMAGES[None], STEPS, axis=0).swapaxes(0, 1).reshape(1, -1, 2, 5, 4)
    stimulus = dataclasses.replace(SPEC.stimulus, coding="sequence")
    long = dataclasses.replace(SPEC, stimuli=(stimulus,), steps=STEPS * len(IMAGES))
    spikes = {name: s.reshape(len(IMAGES), STEPS, -1) for name, s in simulate(long, rows, NUMPY).spikes.items()}
    found = compare(SPEC, Responses(spikes, RECORDED.logits), IMAGES, NUMPY)
    assert found.first_divergence is not None and found.first_divergence.image > 0
    assert found.diagnosis is not None and found.diagnosis.hypothesis == "carried state", str(found)


def test_spikes_that_are_late_for_no_known_reason() -> None:
    late = {name: np.roll(s, 1, axis=1) & (np.arange(STEPS)[:, None] > 0) for name, s in RECORDED.spikes.items()}
    diagnosis = diagnose(SPEC, Responses(late, RECORDED.logits), RECORDED, IMAGES, CONV)
    assert diagnosis.hypothesis == "timing" and "one step earlier" in diagnosis.text


@pytest.mark.parametrize("name", ["late", "graded", "adaptive threshold"])
def test_a_layer_by_itself_fires_as_in_its_network(name: str) -> None:
    """With recurrence, currents and delays; two copies side by side do not reach each other."""
    spec = network(NEURONS[name])
    images = shown(spec)
    spikes = simulate(spec, images, NUMPY).spikes
    sent = {k: v.reshape(3, 1, -1).repeat(spec.steps, 1) for k, v in images.items()} | dict(spikes)
    alone = isolate(spec, sent, "hidden", None)
    silent = alone.with_population("hidden", bias=np.full((4, 3, 3), -100.0))
    stacked, currents = stack([alone, silent])
    fired = simulate(stacked, currents, NUMPY).spikes["hidden"].reshape(3, spec.steps, 2, -1)
    assert np.array_equal(fired[:, :, 0], spikes["hidden"]) and not fired[:, :, 1].any()


def test_a_fault_that_comes_back_is_found_where_it_is() -> None:
    """A later layer reaches the first one with a delay: the first one differs, but is right."""
    spec = network(NEURONS["lif"])
    images = shown(spec, 6)
    wrong = spec.replace_neuron("behind", comparison=">=", reset="none")
    found = compare(wrong, simulate(spec, images, NUMPY), images, NUMPY)
    assert found.first_divergence is not None and found.first_divergence.layer == "hidden"
    assert found.diagnosis is not None and found.diagnosis.text.startswith("in layer behind, reset"), str(found)


def test_recorded_responses_are_compared_without_torch() -> None:
    assert compare(SPEC, RECORDED, IMAGES, NUMPY).agrees
    found = compare(tau(CONV, 2.0), RECORDED, IMAGES, NUMPY)
    assert found.first_divergence is not None and np.isnan(found.first_divergence.membrane_reference)
    assert "recorded" in str(found) and "torch" not in str(found) and "nan" not in str(found)
    assert found.diagnosis is not None and found.diagnosis.hypothesis == "decay"
    with pytest.raises(ValueError, match="lack the layer"):
        compare(SPEC, Responses({}, RECORDED.logits), IMAGES, NUMPY)
    with pytest.raises(ValueError, match="10 images, there are 4"):
        compare(SPEC, RECORDED, IMAGES[:4], NUMPY)
    code = "import sys; sys.modules['torch'] = None; from alade_brian.verification.verify import compare"
    subprocess.run([sys.executable, "-c", code], check=True)


class SecondOfTwo(nn.Module):
    """Its answer is the second of two tensors; its images are held, or a sequence of 4 steps."""

    def __init__(self, hold: bool) -> None:
        super().__init__()
        self.hold = HoldCurrent(4) if hold else nn.Flatten(0, 1)
        self.first, self.spikes, self.last, self.every = nn.Linear(6, 8), LIF(4), nn.Linear(8, 2), EveryStep(4)
        dyadic_(self, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.spikes(self.first(self.hold(images)))
        return hidden, self.every(self.last(hidden))


def test_several_outputs_and_every_step() -> None:
    found = verify(SecondOfTwo(hold=True), dyadic_images(5, 6), None, NUMPY, output=1)
    assert found.agrees and found.layers[0].spikes_reference > 0, str(found)
    assert found.logits_brian2.shape == (5, 4, 2) and found.prediction_agreement == 1.0


def test_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    held = convert(SecondOfTwo(hold=True), (6,), output=1)
    spec = dataclasses.replace(held, stimuli=(dataclasses.replace(held.stimulus, coding="sequence"),))
    images, asked = dyadic_images(5, 4, 6), {}

    def converted(model: nn.Module, shape: tuple[int, ...], **how: object) -> NetworkSpec:
        asked.update(shape=shape, **how)
        return spec

    monkeypatch.setattr("alade_brian.conversion.from_torch.convert.convert", converted)
    found = verify(SecondOfTwo(hold=False), images, None, NUMPY, sequence=True, output=1, readout="every_step")
    assert asked == {"shape": (6,), "steps": 4, "sequence": True, "output": 1, "readout": "every_step"}
    assert found.agrees and found.layers[0].spikes_reference > 0, str(found)
    wrong = verify(SecondOfTwo(hold=False), images, spec.replace_neuron("spikes", reset="none"), NUMPY, output=1)
    assert wrong.diagnosis is not None and wrong.diagnosis.hypothesis == "reset", str(wrong)


def test_values_agree_within_the_tolerance_of_logits() -> None:
    decided = dataclasses.replace(SPEC, readout=dataclasses.replace(SPEC.readout, decision="value"))
    near = Responses(RECORDED.spikes, RECORDED.logits + 1e-7)
    assert compare(decided, near, IMAGES, NUMPY).agrees
    far = RECORDED.logits.copy()
    far[0, 0] -= 100.0
    found = compare(decided, Responses(RECORDED.spikes, far), IMAGES, NUMPY)
    assert found.prediction_agreement == 0.9 and not found.agrees
    assert found.diagnosis is not None and found.diagnosis.text.startswith("the readout differs"), str(found)
    assert not found.diagnosis.explained and not found.diagnosis.hypothesis
    rows = dataclasses.replace(SPEC, readout=Readout("9", "every_step"))
    steps = np.broadcast_to(RECORDED.logits[:, None], (len(IMAGES), STEPS, 3))
    assert compare(rows, Responses(RECORDED.spikes, steps), IMAGES, NUMPY).logits_brian2.shape == steps.shape


def dense_readout(decoding: str, when: str = "before_reset") -> NetworkSpec:
    return dataclasses.replace(SPEC, readout=Readout(DENSE, decoding, sampled=when))  # type: ignore[arg-type]


# By name: the readout of the reference, the one that is compared with it, and what must be said.
READOUTS = {
    "last for mean": ("last_membrane", "mean_membrane", "last_membrane of 5 (before the reset) gives"),
    "mean for last": ("mean_membrane", "last_membrane", "mean_membrane of 5 (before the reset) gives"),
    "maximum for spikes": ("max_membrane", "spike_count", "max_membrane of 5 (before the reset) gives"),
    "count for rate": ("spike_count", "spike_rate", "spike_count of the spikes of 5 gives"),
    "first spike for count": ("first_spike", "spike_count", "first_spike of the spikes of 5 gives"),
}


@pytest.mark.parametrize("name", READOUTS)
def test_a_readout_that_differs_is_named_where_every_spike_agrees(name: str) -> None:
    theirs, ours, words = READOUTS[name]
    recorded = simulate(dense_readout(theirs), IMAGES, NUMPY)
    found = compare(dense_readout(ours), recorded, IMAGES, NUMPY)
    assert found.mismatched_spikes == 0 and not found.agrees and found.first_divergence is None
    assert found.diagnosis is not None and found.diagnosis.hypothesis == "readout", str(found)
    assert words in found.diagnosis.text and f"not {ours} of 5" in found.diagnosis.text
    assert str(found).splitlines()[-1] == f"diagnosis: {found.diagnosis}"


def test_a_readout_after_the_reset_and_one_of_another_population_are_named() -> None:
    late = simulate(dense_readout("mean_membrane", "after_reset"), IMAGES, NUMPY)
    found = compare(dense_readout("mean_membrane"), late, IMAGES, NUMPY).diagnosis
    assert found is not None and "mean_membrane of 5 (after the reset) gives" in found.text
    # Twelve neurons in groups of four give as many outputs as the readout behind them.
    grouped = dataclasses.replace(SPEC, readout=Readout(DENSE, "spike_count", 4))
    other = compare(SPEC, simulate(grouped, IMAGES, NUMPY), IMAGES, NUMPY).diagnosis
    assert (
        other is not None
        and "spike_count of the spikes of 5 gives" in other.text
        and "not mean_input of 9" in other.text
    )


def test_a_single_step_and_a_multiple_are_named() -> None:
    spikes = RECORDED.spikes[DENSE].astype(float)
    found = compare(dense_readout("spike_count"), Responses(RECORDED.spikes, spikes[:, 2]), IMAGES, NUMPY).diagnosis
    assert found is not None and found.text.startswith("readout: step 2 of the spikes of 5, which is no readout, gives")
    thrice = compare(SPEC, Responses(RECORDED.spikes, 3 * RECORDED.logits), IMAGES, NUMPY).diagnosis
    assert thrice is not None and thrice.explained and "are 3 times these" in thrice.text


def test_decisions_that_differ_by_rounding_alone_are_called_so() -> None:
    logits = np.zeros_like(RECORDED.logits)
    tied = dataclasses.replace(SPEC.inputs("9")[0], operator=Dense(np.zeros((3, 10))))
    others = tuple(p for p in SPEC.projections if p.target != "9")
    silent = dataclasses.replace(SPEC.replace_population("9", bias=None), projections=(*others, tied))
    logits[:, 1] = 1e-12
    found = compare(silent, Responses(RECORDED.spikes, logits), IMAGES, NUMPY)
    assert not found.agrees and found.diagnosis is not None and found.diagnosis.hypothesis == "rounding", str(found)
