"""Why a layer fires otherwise in Brian2 than in the network it was converted from.

The layer is simulated by itself, fed with the recorded spikes of its sources, once as it is and once for every known
fault put right. What makes it fire exactly as recorded is the diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alade_brian.conversion.connectivity import synapse_count
from alade_brian.conversion.diagnosis_layer import Isolated, alone, isolate, stack, structure
from alade_brian.conversion.diagnosis_patterns import (
    Hypothesis,
    decay_of,
    hypotheses,
    reset_said,
    said,
    snapped,
    with_reset,
)
from alade_brian.conversion.responses import Responses
from alade_brian.conversion.spec import NetworkSpec
from alade_brian.simulation.inner_state import record_states
from alade_brian.simulation.settings import SimulationSettings
from alade_brian.simulation.simulator import Images, arrays, simulate

# Bounds of the work: images and neurons looked at, neurons and synapses simulated at once, synapses of a layer.
IMAGES, NEURONS = 8, 1024
AT_ONCE = 400_000
LARGEST = 20_000_000
# Sums in another order differ by less than this, other numbers by more.
ROUNDING = 1e-9
# Values tried at once for a number that is estimated, and how often the best of them is looked at more closely.
GRID, ROUNDS = 61, 3


@dataclass(frozen=True)
class Diagnosis:
    """Why a layer fires otherwise, or why the logits differ.

    hypothesis   the pattern: timing, comparison, leak, reset, bias, input scale, channel order, kernel, decay, start,
                 threshold, carried state, rounding, readout; empty where no known one explains what differs
    explained    whether the recorded spikes, or where all agree the logits, come out exactly
    elsewhere    whether the layer itself is right, and fires otherwise because of what comes back to it
    """

    text: str
    hypothesis: str = ""
    explained: bool = False
    elsewhere: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class Case:
    """A layer by itself, and what it should fire: bool ``(images, steps, neurons)``."""

    layer: Isolated
    expected: np.ndarray


def diagnose(
    spec: NetworkSpec,
    torch_responses: Responses,
    brian2_responses: Responses,
    images: Images,
    layer: str,
    numbers: np.ndarray | None = None,
) -> Diagnosis:
    """Name the known fault that explains why a layer differs, if one does.

    torch_responses    as recorded from the network that was converted (or from any other, see `verify.compare`)
    brian2_responses   of `spec`, to the same images
    images             as `simulate` takes them
    layer              the first one whose spikes differ (ValueError where they do not)
    numbers            the images' places in the order in which they were shown (default: they follow each other)

    At most `IMAGES` images and `NEURONS` of the layer's neurons are looked at, in float64 on the numpy backend.
    """
    different = torch_responses.spikes[layer] != brian2_responses.spikes[layer]
    if not different.any():
        raise ValueError(f"layer {layer} fires alike in both networks: there is nothing to diagnose")
    if sum(synapse_count(p.operator, spec.shape(p.source)) for p in spec.inputs(layer)) > LARGEST:
        return Diagnosis(f"none was tried: layer {layer} has more than {LARGEST:,} synapses")
    chosen = np.flatnonzero(different.any((1, 2)))[:IMAGES]
    neurons = _neurons(spec, layer, different[chosen])
    case = _case(spec, torch_responses, images, layer, chosen, neurons)
    tried = [Hypothesis("", "", case.layer), *hypotheses(case.layer)]
    wrong = _mismatches(tried, case.expected)
    if not wrong[0].any():
        return _not_the_layer(case.layer, torch_responses, brian2_responses)
    found = [h for h, w in zip(tried, wrong, strict=True) if not w.any()]
    if not found:
        places = np.arange(len(different)) if numbers is None else numbers
        found = list(_shifts(torch_responses, brian2_responses, layer))
        found += _carried(spec, torch_responses, images, layer, places, different)
    found = found or _estimates(case)
    return _verdict(found, case, different[chosen] if neurons is None else different[chosen][:, :, neurons])


def _verdict(found: Sequence[Hypothesis], case: Case, different: np.ndarray) -> Diagnosis:
    margin = _margin(case, different)
    near = f"the membrane is {margin:.2g} from the threshold at the first divergence"
    # A last bit that tips a membrane over can look like any pattern; one exactly on its threshold speaks for a pattern.
    if margin < ROUNDING and not (found and margin == 0):
        perhaps = f" (or {found[0].pattern}: {found[0].text})" if found else ""
        return Diagnosis(f"rounding: {near}{perhaps}", "rounding", explained=True)
    if not found:
        return Diagnosis(f"no known pattern explains the spikes; {near}")
    first = found[0]
    patterns = dict.fromkeys(h.pattern for h in found if h.pattern != first.pattern)
    others = [next(h for h in found if h.pattern == pattern) for pattern in patterns]
    more = "".join(f"; so does {h.pattern}: {h.text}" for h in others[:3])
    images, _, neurons = case.expected.shape
    judged = f"{images} image(s) and {neurons:,} neuron(s)"
    text = f"{first.pattern}: {first.text} (makes the layer fire exactly as recorded, {judged}{more})"
    return Diagnosis(text, first.pattern, explained=True)


def _neurons(spec: NetworkSpec, layer: str, different: np.ndarray) -> np.ndarray | None:
    """The neurons looked at: as many as there is room for of those that differ, and some of those that do not."""
    if not alone(spec, layer) or different.shape[2] <= NEURONS:
        return None
    differ = different.any((0, 1))
    bad, good = np.flatnonzero(differ), np.flatnonzero(~differ)
    # The first divergence is among them whatever is left out.
    first = np.argwhere(different.transpose(1, 0, 2))[0][2:]
    bad = bad[:: -(-len(bad) * 4 // (NEURONS * 3))]
    good = good[:: max(1, -(-len(good) // (NEURONS - len(bad))))]
    return np.unique(np.concatenate([first, bad, good]))


def _case(
    spec: NetworkSpec,
    recorded: Responses,
    images: Images,
    layer: str,
    chosen: np.ndarray,
    neurons: np.ndarray | None,
) -> Case:
    sent = {name: array[chosen].astype(np.float64) for name, array in recorded.spikes.items()}
    for stimulus in spec.stimuli:
        shown = arrays(spec, images)[stimulus.name][chosen]
        rows = shown[:, None] if stimulus.coding == "direct" else shown
        sent[stimulus.name] = np.broadcast_to(
            rows.reshape(len(chosen), -1, stimulus.size), (len(chosen), spec.steps, stimulus.size)
        )
    expected = recorded.spikes[layer][chosen]
    by_itself = isolate(spec, sent, layer, neurons)
    return Case(by_itself, expected if neurons is None else expected[:, :, neurons])


def _mismatches(tried: Sequence[Hypothesis], expected: np.ndarray) -> list[np.ndarray]:
    """Of every variant the number of wrong entries by neuron, int64 ``(neurons,)``."""
    found: list[np.ndarray] = [np.zeros(0)] * len(tried)
    for numbers in _alike([h.layer for h in tried]):
        fired = _fired([tried[k].layer for k in numbers])
        for k, wrong in zip(numbers, (fired != expected[:, :, None]).sum((0, 1)), strict=True):
            found[k] = wrong
    return found


def _fired(layers: Sequence[Isolated]) -> np.ndarray:
    """Spikes of variants of one structure, bool ``(images, steps, variants, neurons)``."""
    spec, images = stack(layers)
    batch = max(1, min(layers[0].images, AT_ONCE // sum(p.size for p in spec.populations)))
    fired = simulate(spec, images, SimulationSettings(backend="numpy", batch=batch)).spikes[layers[0].layer]
    return fired.reshape(*fired.shape[:2], len(layers), -1)


def _alike(layers: Sequence[Isolated]) -> Iterator[list[int]]:
    """Numbers of layers that can be simulated as one network, as many at once as there is room for."""
    groups: dict[object, list[int]] = {}
    for number, layer in enumerate(layers):
        groups.setdefault(structure(layer), []).append(number)
    for numbers in groups.values():
        layer = layers[numbers[0]]
        size = sum(p.size for p in layer.populations) + sum(len(layer.synapses(p)[0]) for p in layer.inner)
        room = max(1, AT_ONCE // size)
        yield from (numbers[k : k + room] for k in range(0, len(numbers), room))


def _margin(case: Case, different: np.ndarray) -> float:
    """How far the simulated membrane is from the threshold where the layer diverges first; nan where the threshold is
    no constant."""
    step, image, neuron = np.argwhere(different.transpose(1, 0, 2))[0]
    if case.layer.neuron.threshold != "v_threshold":
        return float("nan")
    spec, images = stack([case.layer])
    one = {name: array[image : image + 1] for name, array in images.items()}
    name, variable = case.layer.layer, case.layer.neuron.membrane
    membrane = record_states(spec, one, {name: [variable]})[1][name][variable][0, step, neuron]
    threshold = case.layer.neuron.parameters["v_threshold"].value
    shape = case.layer.population(case.layer.layer).shape
    return abs(float(membrane - np.broadcast_to(threshold, shape).ravel()[neuron]))


def _not_the_layer(layer: Isolated, recorded: Responses, brian2: Responses) -> Diagnosis:
    """Fed with the recorded spikes the layer fires as recorded: what differs comes from elsewhere."""
    sources = dict.fromkeys(f.projection.source for f in layer.feeds if f.spikes)
    behind = [name for name in sources if not np.array_equal(recorded.spikes[name], brian2.spikes[name])]
    if behind:
        text = f"layer {layer.layer} is right: fed with the recorded spikes of {', '.join(behind)} it fires as recorded"
        return Diagnosis(text, elsewhere=True)
    text = f"rounding: by itself, in float64, layer {layer.layer} fires as recorded"
    return Diagnosis(text, "rounding", explained=True)


def _shifts(recorded: Responses, brian2: Responses, layer: str) -> Iterator[Hypothesis]:
    """Spikes that are the other network's, some step earlier or later, whatever the reason."""
    theirs, ours = recorded.spikes[layer], brian2.spikes[layer]
    for late, early, words in ((ours, theirs, "later"), (theirs, ours, "earlier")):
        if early[:, :-1].any() and not late[:, 0].any() and np.array_equal(late[:, 1:], early[:, :-1]):
            text = f"Brian2's spikes are the recorded ones, one step {words}"
            yield Hypothesis("timing", text, None)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Scan:
    """A number of a layer that is looked for between two ends.

    change   the layer with that number, or with one number per unit
    unit     by neuron, to which unit it belongs: each is looked for by itself
    words    what to say of the number that was found
    """

    pattern: str
    low: float
    high: float
    change: Callable[[np.ndarray], Isolated]
    unit: np.ndarray
    words: Callable[[str], str]

    @property
    def units(self) -> int:
        """How many numbers are looked for."""
        return int(self.unit.max()) + 1

    def wrong(self, by_neuron: Sequence[np.ndarray]) -> np.ndarray:
        """Wrong entries by variant and unit, from those by variant and neuron."""
        return np.stack([np.bincount(self.unit, each, self.units) for each in by_neuron])


def _estimates(case: Case) -> list[Hypothesis]:
    """Numbers of the layer for which it fires as recorded, found by trying; all of them in one simulation a round."""
    scans = list(_scans(case.layer))
    ends = [(np.full(scan.units, scan.low), np.full(scan.units, scan.high)) for scan in scans]
    for _ in range(ROUNDS):
        grids = [low + (high - low) * np.linspace(0, 1, GRID)[:, None] for low, high in ends]
        tried = [scan.change(values) for scan, grid in zip(scans, grids, strict=True) for values in grid]
        every = _mismatches([Hypothesis("", "", layer) for layer in tried], case.expected)
        found = []
        for number, (scan, grid) in enumerate(zip(scans, grids, strict=True)):
            wrong = scan.wrong(every[number * GRID : (number + 1) * GRID])
            first, last = _best(wrong)
            units = np.arange(scan.units)
            ends[number] = grid[np.maximum(first - 1, 0), units], grid[np.minimum(last + 1, GRID - 1), units]
            if not wrong.min(0).any():
                fits = grid[first, units], grid[last, units]
                found.append(Hypothesis(scan.pattern, scan.words(_number(case, scan, ends[number], fits)), case.layer))
        if found:
            return found
    return []


def _number(case: Case, scan: Scan, around: tuple[np.ndarray, np.ndarray], fits: tuple[np.ndarray, np.ndarray]) -> str:
    """The number that was found in words: the one with the fewest digits in the neighbourhood, if it fits too."""
    low, high = (float(x[0]) for x in fits)
    if scan.units > 1:
        return f"{said((fits[0] + fits[1]) / 2)}"
    outer = float(around[0][0]), float(around[1][0])
    short = next(
        number
        for digits in range(18)
        if outer[0] < (number := round((low + high) / 2, digits)) < outer[1] or digits > 16
    )
    exact = _mismatches([Hypothesis("", "", scan.change(np.array([short])))], case.expected)[0]
    return f"{(low + high) / 2 if exact.any() else short:.6g} ({low:.4g} to {high:.4g} fit)"


def _best(wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last row of the first run of smallest entries in every column of ``(rows, columns)``."""
    smallest = wrong == wrong.min(0)
    first = smallest.argmax(0)
    ended = ~smallest & (np.arange(len(wrong))[:, None] > first)
    return first, np.where(ended.any(0), ended.argmax(0), len(wrong)) - 1


def _scans(layer: Isolated) -> Iterator[Scan]:
    population, parameters = layer.population(layer.layer), layer.neuron.parameters
    one = np.zeros(population.size, np.int64)
    level = float(np.max(np.abs(parameters["v_threshold"].value))) if "v_threshold" in parameters else 1.0
    for key, parameter in parameters.items():
        if parameter.unit == "step":
            yield _decay_scan(layer, key, one)
    for kind in dict.fromkeys((layer.neuron.reset, "value", "subtract")):
        if kind != "none":
            yield _reset_scan(layer, kind, level, one)
    if "v_threshold" in parameters:
        yield _threshold_scan(layer, level, one)
    if not layer.inner and (population.bias is None or not population.bias.any()):
        yield _bias_scan(layer, level)


def _decay_scan(layer: Isolated, key: str, one: np.ndarray) -> Scan:
    tau, method = layer.neuron.parameters[key].value, layer.neuron.method
    if np.ptp(tau):
        words = f"{key} times {{}}, which is {said(tau)} steps"
        return Scan("decay", 0.05, 10.0, lambda x: layer.with_values({key: tau * x[0]}), one, words.format)

    def changed(decay: np.ndarray) -> Isolated:
        steps = 1 / (1 - decay[0]) if method == "euler" else snapped(-1 / np.log(decay[0]), method)
        return layer.with_values({key: np.asarray(steps)})

    now = said(decay_of(layer, tau))
    return Scan("decay", 0.005, 0.995, changed, one, lambda x: f"a decay of {x} per step by {key} instead of {now}")


def _reset_scan(layer: Isolated, kind: str, level: float, one: np.ndarray) -> Scan:
    words = {"value": "a reset to {} instead of ", "subtract": "a reset by subtracting {} instead of "}[kind]
    change = lambda x: with_reset(layer, kind, x[0])  # noqa: E731
    return Scan("reset", -2 * level, 2 * level, change, one, (words + reset_said(layer)).format)


def _threshold_scan(layer: Isolated, level: float, one: np.ndarray) -> Scan:
    threshold = layer.neuron.parameters["v_threshold"].value
    if np.ptp(threshold):
        change = lambda x: layer.with_values({"v_threshold": threshold * x[0]})  # noqa: E731
        return Scan("threshold", 0.0, 4.0, change, one, f"threshold times {{}}, which is {said(threshold)}".format)
    words = f"a threshold of {{}} instead of {said(threshold)}"
    return Scan("threshold", 0.0, 4 * level, lambda x: layer.with_values({"v_threshold": x[0]}), one, words.format)


def _bias_scan(layer: Isolated, level: float) -> Scan:
    shape = layer.population(layer.layer).shape

    def change(values: np.ndarray) -> Isolated:
        return layer.with_population(layer.layer, bias=values[layer.channel].reshape(shape))

    words = "a bias per channel, {}, that Brian2 lacks"
    return Scan("bias", -4 * level, 4 * level, change, layer.channel, words.format)


def _carried(
    spec: NetworkSpec,
    recorded: Responses,
    images: Images,
    layer: str,
    places: np.ndarray,
    wrong: np.ndarray,
) -> Iterator[Hypothesis]:
    """Presentations that do not begin at rest: some that follow each other, shown as a single long one."""
    first = int(np.flatnonzero(wrong.any((1, 2)))[0])
    runs = np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) != 1) + 1)
    run = next(run for run in runs if first in run)
    begin = max(run[0], first - IMAGES // 2)
    chosen = np.arange(begin, min(begin + IMAGES, run[-1] + 1))
    # Without the image before it nothing can be said about one.
    known = 0 if places[begin] == 0 else first - begin
    if first == begin or len(chosen) < 2:
        return
    case = _case(spec, recorded, images, layer, chosen, _neurons(spec, layer, wrong[chosen]))
    feeds = tuple(replace(f, current=_in_a_row(f.current)) for f in case.layer.feeds)
    long = replace(case.layer, feeds=feeds, images=1, steps=len(chosen) * spec.steps)
    expected, start = _in_a_row(case.expected), known * spec.steps
    fired = _fired([long])[:, :, 0]
    if np.array_equal(fired[:, start:], expected[:, start:]):
        text = "presentations that do not begin at rest: the state of the image before is carried over"
        yield Hypothesis("carried state", text, long)


def _in_a_row(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, -1, *values.shape[2:])
