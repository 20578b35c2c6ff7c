"""Why a layer fires otherwise in Brian2 than in the network it was converted from.

The layer is simulated by itself, fed with the recorded spikes of its sources, once as it is and once for every known
fault put right. What makes it fire exactly as recorded is the diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alade_brian.simulation.settings import SimulationSettings
from alade_brian.simulation.simulator import Images, arrays, simulate
from alade_brian.simulation.states import record_states, threshold_needs, thresholds
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.responses import Responses
from alade_brian.verification.diagnosis.isolated_layer import (
    Isolated,
    alone,
    can_isolate,
    held_values,
    isolate,
    stack,
    structure,
)
from alade_brian.verification.diagnosis.known_faults import CURRENT, Hypothesis, bias_variants, hypotheses, said
from alade_brian.verification.diagnosis.scans import Scan, bias_scan, scans

# Bounds of the work: images and neurons looked at, neurons and synapses simulated at once, synapses of a layer.
IMAGES, NEURONS = 8, 1024
AT_ONCE = 400_000
LARGEST = 20_000_000
# Sums in another order differ by less than this, other numbers by more.
ROUNDING = 1e-9
# The same in single precision, for what a program may have simulated with it.
SINGLE_ROUNDING = 1e-4
# Values tried at once for a number that is estimated, and how often the best of them is looked at more closely.
GRID, ROUNDS = 61, 3


@dataclass(frozen=True)
class Diagnosis:
    """Why a layer fires otherwise, or why the logits differ.

    hypothesis   the pattern: timing, comparison, leak, reset, bias, input scale, channel order, kernel, decay, start,
                 threshold, carried state, rounding, readout; empty where no known one explains what differs
    explained    whether what was recorded (spikes, or where all agree the logits) comes out exactly, or what was
                 simulated does, where the simulation is at fault
    elsewhere    whether the layer itself is right, and fires otherwise because of what comes back to it
    """

    text: str
    hypothesis: str = ""
    explained: bool = False
    elsewhere: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class DiagnosisCase:
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
    if spec.synapse_count(*spec.inputs(layer)) > LARGEST:
        return Diagnosis(f"none was tried: layer {layer} has more than {LARGEST:,} synapses")
    if not can_isolate(spec, layer):
        return Diagnosis(f"none was tried: layer {layer} reads the maximum of membranes that have a memory")
    chosen = np.flatnonzero(different.any((1, 2)))[:IMAGES]
    neurons = _neurons(spec, layer, different[chosen])
    case = _case(spec, torch_responses, images, layer, chosen, neurons)
    tried = [Hypothesis("", "", case.layer), *hypotheses(case.layer)]
    wrong = _mismatches(tried, case.expected)
    if not wrong[0].any():
        simulated = _case(spec, brian2_responses, images, layer, chosen, neurons)
        return _not_the_layer(simulated, torch_responses, brian2_responses)
    found = [h for h, w in zip(tried, wrong, strict=True) if not w.any()]
    if not found:
        places = np.arange(len(different)) if numbers is None else numbers
        found = list(_shifts(torch_responses, brian2_responses, layer))
        found += _carried(spec, torch_responses, images, layer, places, different)
    found = found or _estimates(case, scans(case.layer))
    return _verdict(found, case, different[chosen] if neurons is None else different[chosen][:, :, neurons])


def _verdict(found: Sequence[Hypothesis], case: DiagnosisCase, different: np.ndarray) -> Diagnosis:
    margin = float(_margins(case, different)[0])
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
) -> DiagnosisCase:
    sent = {name: array[chosen].astype(np.float64) for name, array in recorded.spikes.items()}
    for stimulus in spec.stimuli:
        shown = arrays(spec, images)[stimulus.name][chosen]
        rows = shown[:, None] if stimulus.coding == "direct" else shown
        sent[stimulus.name] = np.broadcast_to(
            rows.reshape(len(chosen), -1, stimulus.size), (len(chosen), spec.steps, stimulus.size)
        )
    sent |= held_values(spec, sent)
    expected = recorded.spikes[layer][chosen]
    by_itself = isolate(spec, sent, layer, neurons)
    return DiagnosisCase(by_itself, expected if neurons is None else expected[:, :, neurons])


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


def _margins(case: DiagnosisCase, different: np.ndarray) -> np.ndarray:
    """How far the simulated membrane is from the threshold where the layer diverges first, for every image in which it
    does; the earliest divergence comes first."""
    images = np.flatnonzero(different.any((1, 2)))
    firsts = sorted((*np.argwhere(different[image])[0].tolist(), row) for row, image in enumerate(images))
    spec, shown = stack([case.layer])
    name, membrane = case.layer.layer, case.layer.neuron.membrane
    wanted = list(dict.fromkeys([membrane, *threshold_needs(spec, name)]))
    states = record_states(spec, {key: array[images] for key, array in shown.items()}, {name: wanted})[1][name]
    levels = thresholds(spec, name, states)
    if case.layer.neuron.threshold == "v_threshold":
        # The layer's own: `stack` writes another one for '>='.
        whole = np.broadcast_to(case.layer.neuron.parameters["v_threshold"].value, case.layer.population(name).shape)
        levels = np.broadcast_to(whole.ravel(), states[membrane].shape)
    assert levels is not None
    distance = np.abs(states[membrane] - levels)
    return np.array([distance[row, step, neuron] for step, neuron, row in firsts])


def _not_the_layer(case: DiagnosisCase, recorded: Responses, brian2: Responses) -> Diagnosis:
    """Fed with the recorded spikes the layer fires as recorded: what differs comes from elsewhere, or the
    simulation does not do what the specification says.

    case   the layer fed with what Brian2's sources sent, and what it fired there
    """
    layer = case.layer
    different = _fired([layer])[:, :, 0] != case.expected
    if different.any():
        return _not_as_specified(case, different)
    sources = dict.fromkeys(origin for f in layer.feeds for origin in f.origins)
    behind = [name for name in sources if not np.array_equal(recorded.spikes[name], brian2.spikes[name])]
    text = f"layer {layer.layer} is right: fed with the recorded spikes of {', '.join(behind)} it fires as recorded"
    return Diagnosis(text, elsewhere=True)


def _not_as_specified(case: DiagnosisCase, different: np.ndarray) -> Diagnosis:
    """Simulated by itself, in float64, the layer fires as recorded; in the simulation that is judged it did not."""
    layer, margins = case.layer, _margins(case, different)
    near = f"the membrane is up to {margins.max():.2g} from the threshold where its images diverge first"
    alone = f"by itself, in float64, layer {layer.layer} fires as recorded; {near}"
    if margins.max() < SINGLE_ROUNDING:
        return Diagnosis(f"rounding: {alone}", "rounding", explained=True)
    variants = list(bias_variants(layer))
    wrong = _mismatches([Hypothesis("bias", "", changed) for *_, changed in variants], case.expected)
    for (name, now, factor, _), mismatched in zip(variants, wrong, strict=True):
        if not mismatched.any():
            became = {0.0: "missing", 2.0: "twice that", 0.5: "half that"}[factor]
            text = f"{CURRENT} in layer {name} as simulated: it fires as if its bias, {now}, were {became}"
            return Diagnosis(f"bias: {text} ({alone})", "bias", explained=True)
    words = f"{CURRENT} in layer {layer.layer} as simulated: it fires as if it had a current per channel, {{}},"
    found = _estimates(case, bias_scan(layer, words))
    if found:
        return Diagnosis(f"bias: {found[0].text} ({alone})", "bias", explained=True)
    return Diagnosis(f"no known pattern explains the spikes: {alone}, too far for rounding; try --backend numpy")


def _shifts(recorded: Responses, brian2: Responses, layer: str) -> Iterator[Hypothesis]:
    """Spikes that are the other network's, some step earlier or later, whatever the reason."""
    theirs, ours = recorded.spikes[layer], brian2.spikes[layer]
    for late, early, words in ((ours, theirs, "later"), (theirs, ours, "earlier")):
        if early[:, :-1].any() and not late[:, 0].any() and np.array_equal(late[:, 1:], early[:, :-1]):
            text = f"Brian2's spikes are the recorded ones, one step {words}"
            yield Hypothesis("timing", text, None)  # type: ignore[arg-type]


def _estimates(case: DiagnosisCase, looked_for: Iterable[Scan]) -> list[Hypothesis]:
    """Numbers of the layer for which it fires as expected, found by trying; all of them in one simulation a round."""
    scanned = list(looked_for)
    ends = [(np.full(scan.units, scan.low), np.full(scan.units, scan.high)) for scan in scanned]
    for _ in range(ROUNDS):
        grids = [low + (high - low) * np.linspace(0, 1, GRID)[:, None] for low, high in ends]
        tried = [scan.change(values) for scan, grid in zip(scanned, grids, strict=True) for values in grid]
        every = _mismatches([Hypothesis("", "", layer) for layer in tried], case.expected)
        found = []
        for number, (scan, grid) in enumerate(zip(scanned, grids, strict=True)):
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


def _number(
    case: DiagnosisCase, scan: Scan, around: tuple[np.ndarray, np.ndarray], fits: tuple[np.ndarray, np.ndarray]
) -> str:
    """The number that was found in words: the one with the fewest digits in the neighbourhood, if it fits too."""
    low, high = float(fits[0].max()), float(fits[1].min())
    if low > high:
        # No number fits all units: of each the smallest that does.
        return said(np.clip(0, *fits))
    outer = float(around[0].max()), float(around[1].min())
    short = next(
        number
        for digits in range(18)
        if outer[0] < (number := round((low + high) / 2, digits)) < outer[1] or digits > 16
    )
    exact = _mismatches([Hypothesis("", "", scan.change(np.full(scan.units, short)))], case.expected)[0]
    return f"{(low + high) / 2 if exact.any() else short:.6g} ({low:.4g} to {high:.4g} fit)"


def _best(wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last row of the first run of smallest entries in every column of ``(rows, columns)``."""
    smallest = wrong == wrong.min(0)
    first = smallest.argmax(0)
    ended = ~smallest & (np.arange(len(wrong))[:, None] > first)
    return first, np.where(ended.any(0), ended.argmax(0), len(wrong)) - 1


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
