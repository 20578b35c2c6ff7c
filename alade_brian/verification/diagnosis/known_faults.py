"""Known faults of a conversion, each as the variant of a layer in which it is put right, simplest first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from math import prod

import numpy as np

from alade_brian.spec import Dense, constant
from alade_brian.verification.diagnosis.isolated_layer import Feed, Isolated

FACTORS = (2, 3, 4, 5, 10, 20, 50, 100, 1000)
# Long enough that a step's decay is 1 in floating point.
NO_LEAK = 1e30
CURRENT = "a constant current is missing or wrong"


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A fault and the layer without it; `text` says what the other network has instead of what Brian2 has."""

    pattern: str
    text: str
    layer: Isolated


def hypotheses(layer: Isolated) -> Iterator[Hypothesis]:
    """Everything that is tried on a layer, the simplest first."""
    for pattern in (_timing, _comparison, _leak, _reset, _bias, _scale, _order, _decay, _start, _late_reset):
        yield from pattern(layer)


def _timing(layer: Isolated) -> Iterator[Hypothesis]:
    """Every way in (all together, and each alone) a step earlier or later."""
    ways = [(f"feed {k}", f.projection, f.delay, 0) for k, f in enumerate(layer.feeds)]
    ways += [(f"inner {k}", p, p.delay, 1) for k, p in enumerate(layer.inner) if p.source == layer.layer]
    if len(layer.feeds) > 1:
        for change in (-1, 1):
            moved = {k: replace(f, delay=f.delay + change) for k, f in enumerate(layer.feeds)}
            if all(f.delay >= 0 for f in moved.values()):
                yield Hypothesis(
                    "timing",
                    f"{_steps(change)}: {'less' if change < 0 else 'more'} delay on all inputs",
                    layer.with_feeds(moved),
                )
    for key, projection, delay, least in ways:
        for change in (-1, 1):
            if delay + change >= least:
                text = f"{_steps(change)}: a delay of {delay + change} instead of {delay} from {projection.source}"
                yield Hypothesis("timing", text, _delayed(layer, key, delay + change))


def _steps(change: int) -> str:
    return "Brian2 is one step late" if change < 0 else "Brian2 is one step early"


def _delayed(layer: Isolated, key: str, delay: int) -> Isolated:
    kind, number = key.split()
    if kind == "feed":
        return layer.with_feeds({int(number): replace(layer.feeds[int(number)], delay=delay)})
    inner = [replace(p, delay=delay) if k == int(number) else p for k, p in enumerate(layer.inner)]
    return replace(layer, inner=tuple(inner))


def _comparison(layer: Isolated) -> Iterator[Hypothesis]:
    now = layer.neuron.comparison
    other = {">": ">=", ">=": ">"}[now]
    yield Hypothesis(
        "comparison", f"a threshold passed at '{other}' instead of '{now}'", layer.with_neuron(comparison=other)
    )


def _leak(layer: Isolated) -> Iterator[Hypothesis]:
    if layer.neuron.reset != "none":
        yield Hypothesis("leak", f"{_moment(_other(layer))}; instead of {_moment(layer)}", _other(layer))


def _other(layer: Isolated) -> Isolated:
    other = {"after_reset": "before_reset", "before_reset": "after_reset"}[layer.neuron.leak]
    return layer.with_neuron(leak=other)


def _moment(layer: Isolated) -> str:
    if layer.neuron.leak == "after_reset":
        return "the reset at once and the leak after it"
    return "the leak before the reset, which is delayed until the next step"


def _reset(layer: Isolated) -> Iterator[Hypothesis]:
    """Other kinds and amounts of the reset, at the same moment."""
    now = describe_reset(layer)
    for kind, amount in _resets(layer):
        changed = with_reset(layer, kind, amount)
        if describe_reset(changed) != now:
            yield Hypothesis("reset", f"{describe_reset(changed)} instead of {now}", changed)


def _late_reset(layer: Isolated) -> Iterator[Hypothesis]:
    """Another reset at another moment: two changes, so they come last."""
    for found in _reset(layer):
        if found.layer.neuron.reset != "none":
            moment = _moment(_other(found.layer))
            yield Hypothesis("reset", f"{found.text}; and {moment}", _other(found.layer))


def _resets(layer: Isolated) -> Iterator[tuple[str, np.ndarray]]:
    parameters = layer.neuron.parameters
    zero = np.zeros(())
    amounts = [parameters[key].value for key in ("v_threshold", "v_reset") if key in parameters]
    starts = [parameters[key].value for key in ("v_initial", "v_reset") if key in parameters]
    for amount in amounts:
        if np.any(amount != 0):
            yield "subtract", amount
    for value in (zero, *(v for v in starts if np.any(v != 0))):
        yield "value", value
    yield "none", zero


def with_reset(layer: Isolated, kind: str, amount: np.ndarray) -> Isolated:
    """The layer with another reset."""
    parameters = {**layer.neuron.parameters, "v_reset": constant(amount)}
    return layer.with_neuron(reset=kind, parameters=parameters)


def describe_reset(layer: Isolated) -> str:
    """A neuron's reset in words."""
    neuron = layer.neuron
    if neuron.reset == "none":
        return "no reset"
    amount = said(neuron.parameters["v_reset"].value)
    return f"a reset to {amount}" if neuron.reset == "value" else f"a reset by subtracting {amount}"


def _bias(layer: Isolated) -> Iterator[Hypothesis]:
    for name, now, factor, changed in bias_variants(layer):
        text = {
            0.0: "no bias (Brian2 adds one)",
            2.0: "twice the bias",
            0.5: "half the bias (Brian2 adds it twice)",
        }[factor]
        yield Hypothesis("bias", f"{CURRENT} in layer {name}: {text}; it is {now} in Brian2", changed)


def bias_variants(layer: Isolated) -> Iterator[tuple[str, str, float, Isolated]]:
    """The layer with one population's bias multiplied: that population, its bias in words, the factor, the layer."""
    for population in layer.populations:
        bias = population.bias
        if bias is None or not np.any(bias):
            continue
        for factor in (0.0, 2.0, 0.5):
            yield population.name, said(bias), factor, layer.with_population(population.name, bias=bias * factor)


def _of(layer: Isolated, name: str) -> str:
    return "" if name == layer.layer else f" of {name}"


def membrane_tau(layer: Isolated, name: str = "") -> str | None:
    """Name of the parameter that is the membrane's time constant; None where the membrane does not leak."""
    neuron = layer.population(name or layer.layer).neuron
    line = re.search(rf"d{neuron.membrane}/dt\s*=(.*)", neuron.model)
    times = [key for key, p in neuron.parameters.items() if p.unit == "step"]
    return next((key for key in times if line and re.search(rf"\b{key}\b", line[1])), None)


def decay_of(layer: Isolated, tau: np.ndarray, name: str = "") -> np.ndarray:
    """What is left of a membrane after one step, with that time constant in steps."""
    euler = layer.population(name or layer.layer).neuron.method == "euler"
    return np.asarray(1 - 1 / tau if euler else np.exp(-1 / tau))


def _scale(layer: Isolated) -> Iterator[Hypothesis]:
    """Input with or without the factor 1 - decay, pixels up to 255 or up to 1."""
    parameters, key = layer.neuron.parameters, membrane_tau(layer)
    if "gain" in parameters:
        text = f"an input that is not scaled (Brian2 multiplies it by {said(parameters['gain'].value)})"
        yield Hypothesis("input scale", text, layer.with_values({"gain": np.ones(())}))
    if key is not None:
        lost = 1 - decay_of(layer, parameters[key].value)
        flat = np.broadcast_to(lost, layer.population(layer.layer).shape).ravel() if lost.ndim else lost
        for bias, rest in ((True, ""), (False, ", its bias apart")):
            yield Hypothesis("input scale", f"an input multiplied by 1 - decay{rest}", layer.scaled(flat, bias))
            yield Hypothesis("input scale", f"an input divided by 1 - decay{rest}", layer.scaled(1 / flat, bias))
    shown = [k for k, f in enumerate(layer.feeds) if not f.origins]
    for text, factor in (("multiplied", 255.0), ("divided", 1 / 255)):
        feeds = {k: replace(layer.feeds[k], current=layer.feeds[k].current * factor) for k in shown}
        if feeds:
            yield Hypothesis("input scale", f"an input image {text} by 255", layer.with_feeds(feeds))


def _order(layer: Isolated) -> Iterator[Hypothesis]:
    """Other orders of the axes in front of a dense layer; kernels that are flipped."""
    for number, feed in enumerate(layer.feeds):
        operator, source = feed.projection.operator, feed.projection.source
        weight, flipped = operator.full_weight, operator.flipped()
        if weight is not None:
            for text, changed in _flattened(feed, weight):
                yield Hypothesis("channel order", f"{text}, from {source}", layer.with_feeds({number: changed}))
        if flipped is not None:
            turned = layer.with_feeds({number: feed.through(flipped)})
            yield Hypothesis("kernel", f"kernels flipped in both axes, from {source}", turned)


def _flattened(feed: Feed, full_weight: np.ndarray) -> Iterator[tuple[str, Feed]]:
    """The feed read with its source's axes in other orders, behind the pooling that was merged with it too."""
    if len(feed.shape) == 1:
        return
    letters = "CHW" if len(feed.shape) == 3 else "CL"
    plain = tuple(range(len(feed.shape)))
    done: set[bytes] = set()
    for weight, values, shape in _pooled(feed, full_weight):
        for axes in permutations(plain):
            there = np.arange(prod(shape)).reshape(shape).transpose(axes).ravel()
            named, flat = (f"({', '.join(letters[a] for a in each)})" for each in (axes, plain))
            for order, text in (
                (there, f"weights in the order {named} instead of {flat}"),
                (np.argsort(there), f"weights in the order {flat} taken for {named}"),
            ):
                key = order.tobytes()
                if key not in done and not np.array_equal(order, np.arange(len(order))):
                    done.add(key)
                    yield text, feed.through(Dense(weight), values[:, :, order], shape)


def _pooled(feed: Feed, full_weight: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[int, ...]]]:
    """Weight, values and shape of a dense feed; and again with the windows summed over which the weight is the same."""
    yield full_weight, feed.values, feed.shape
    if len(feed.shape) != 3:
        return
    channels, rows, columns = feed.shape
    weight = full_weight.reshape(-1, channels, rows, columns)
    values = feed.values.reshape(*feed.values.shape[:2], channels, rows, columns)
    for ky, kx in ((k, k) for k in range(min(rows, columns), 1, -1)):
        high, wide = rows // ky, columns // kx
        windows = weight[:, :, : high * ky, : wide * kx].reshape(-1, channels, high, ky, wide, kx)
        first = windows[:, :, :, 0, :, 0]
        beyond = np.count_nonzero(weight) - np.count_nonzero(windows)
        if not beyond and np.array_equal(windows, np.broadcast_to(first[:, :, :, None, :, None], windows.shape)):
            inside = values[..., : high * ky, : wide * kx].reshape(*values.shape[:3], high, ky, wide, kx)
            summed = inside.sum((4, 6)).reshape(*values.shape[:2], -1)
            yield first.reshape(len(weight), -1), summed, (channels, high, wide)
            return


def _decay(layer: Isolated) -> Iterator[Hypothesis]:
    for population in layer.populations:
        parameters = population.neuron.parameters
        times = {key: p.value for key, p in parameters.items() if p.unit == "step"}
        groups = [[key] for key in times] + ([list(times)] if len(times) > 1 else [])
        for keys in groups:
            for factor in [f for k in FACTORS for f in (float(k), 1 / k)]:
                new = {key: snapped(times[key] * factor, population.neuron.method) for key in keys}
                text = f"{' and '.join(keys)} {_times(factor)}{_of(layer, population.name)}: {_decays(times, new)}"
                yield from _with_decay(layer, population.name, text, new)
            yield from _other_method(layer, population.name, {key: times[key] for key in keys})
            for key in keys if len(keys) == 1 else ():
                new = {key: np.full(times[key].shape, NO_LEAK)}
                yield Hypothesis("decay", f"no leak by {key}", layer.with_values(new, population.name))


def _with_decay(layer: Isolated, name: str, text: str, new: dict[str, np.ndarray]) -> Iterator[Hypothesis]:
    """Other time constants; and the gain 1 - decay along with them, where the neuron has it."""
    if layer.population(name).neuron.method == "euler" and any(np.any(tau <= 0.5) for tau in new.values()):
        return  # such a step would not decay at all
    changed = layer.with_values(new, name)
    yield Hypothesis("decay", text, changed)
    key, parameters = membrane_tau(layer, name), layer.population(name).neuron.parameters
    if key in new and "gain" in parameters:
        if np.allclose(parameters["gain"].value, 1 - decay_of(layer, parameters[key].value, name)):
            gain = 1 - decay_of(layer, new[key], name)
            yield Hypothesis("decay", f"{text}, and the gain with it", changed.with_values({"gain": gain}, name))


def _other_method(layer: Isolated, name: str, times: dict[str, np.ndarray]) -> Iterator[Hypothesis]:
    if layer.population(name).neuron.method == "euler":
        new = {key: 1 / -np.expm1(-1 / tau) for key, tau in times.items()}
        text = "exp(-dt/tau) instead of 1 - dt/tau"
    elif all(np.all(tau > 1) for tau in times.values()):
        new = {key: snapped(-1 / np.log1p(-1 / tau), "exact") for key, tau in times.items()}
        text = "1 - dt/tau instead of exp(-dt/tau)"
    else:
        return
    yield from _with_decay(layer, name, f"{' and '.join(times)}{_of(layer, name)} stepped by {text}", new)


def _times(factor: float) -> str:
    return f"{factor:g} times as long" if factor > 1 else f"{1 / factor:g} times shorter"


def _decays(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{said(value)} steps instead of {said(old[key])}" for key, value in new.items())


def _start(layer: Isolated) -> Iterator[Hypothesis]:
    parameters = layer.neuron.parameters
    if "v_initial" in parameters and np.any(parameters["v_initial"].value):
        now = said(parameters["v_initial"].value)
        yield Hypothesis(
            "start", f"a membrane that begins at 0 instead of {now}", layer.with_values({"v_initial": np.zeros(())})
        )
    elif "v_reset" in parameters and layer.neuron.reset == "value" and np.any(parameters["v_reset"].value):
        value = parameters["v_reset"].value
        text = f"a membrane that begins at its reset value {said(value)} instead of 0"
        yield Hypothesis("start", text, layer.with_values({"v_initial": value}))


def snapped(tau: np.ndarray, method: str) -> np.ndarray:
    """A time constant whose decay is a number with few digits wherever one of its neighbours has such a decay.

    A product like 14.4 * 0.1 is off by the last bit, which would move membranes that stand on the threshold.
    """
    if method == "euler":
        return np.asarray(np.round(tau, 12))
    near = [tau]
    for toward in (0.0, np.inf):
        for _ in range(4):
            near.append(np.nextafter(near[-1] if len(near) not in (1, 5) else tau, toward))
    candidates = np.stack(near)
    decays = np.exp(-1 / candidates)
    best = np.abs(decays - np.round(decays, 12)).argmin(0)
    return np.asarray(np.take_along_axis(candidates, best[None], 0)[0])


def said(value: np.ndarray) -> str:
    """A parameter in words: its number, or from where to where it goes."""
    low, high = float(np.min(value)), float(np.max(value))
    return f"{low:.6g}" if low == high else f"{low:.4g} to {high:.4g}"
