"""Numbers of a layer that are estimated: which ones, and between which bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alade_brian.verification.diagnosis.isolated_layer import Isolated
from alade_brian.verification.diagnosis.known_faults import CURRENT, decay_of, describe_reset, said, snapped, with_reset


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


def scans(layer: Isolated) -> Iterator[Scan]:
    """All numbers of a layer that are looked for."""
    parameters, level = layer.neuron.parameters, _level(layer)
    one = np.zeros(layer.population(layer.layer).size, np.int64)
    for key, parameter in parameters.items():
        if parameter.unit == "step":
            yield _decay_scan(layer, key, one)
    for kind in dict.fromkeys((layer.neuron.reset, "value", "subtract")):
        if kind != "none":
            yield _reset_scan(layer, kind, level, one)
    if "v_threshold" in parameters:
        yield _threshold_scan(layer, level, one)
    yield from bias_scan(layer, f"{CURRENT} in layer {layer.layer}: a bias per channel, {{}}, that Brian2 lacks")


def _level(layer: Isolated) -> float:
    """What membranes of a layer are as large as."""
    parameters = layer.neuron.parameters
    return float(np.max(np.abs(parameters["v_threshold"].value))) if "v_threshold" in parameters else 1.0


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
    return Scan("reset", -2 * level, 2 * level, change, one, (words + describe_reset(layer)).format)


def _threshold_scan(layer: Isolated, level: float, one: np.ndarray) -> Scan:
    threshold = layer.neuron.parameters["v_threshold"].value
    if np.ptp(threshold):
        change = lambda x: layer.with_values({"v_threshold": threshold * x[0]})  # noqa: E731
        return Scan("threshold", 0.0, 4.0, change, one, f"threshold times {{}}, which is {said(threshold)}".format)
    words = f"a threshold of {{}} instead of {said(threshold)}"
    return Scan("threshold", 0.0, 4 * level, lambda x: layer.with_values({"v_threshold": x[0]}), one, words.format)


def bias_scan(layer: Isolated, words: str) -> Iterator[Scan]:
    """A constant current per channel beside the layer's bias; none where channels reach each other."""
    if layer.inner:
        return
    population, bound = layer.population(layer.layer), 4 * _level(layer)
    now = np.zeros(population.shape) if population.bias is None else population.bias

    def change(values: np.ndarray) -> Isolated:
        return layer.with_population(layer.layer, bias=now + values[layer.channel].reshape(population.shape))

    beside = f" beside its bias of {said(now)}" if now.any() else ""
    yield Scan("bias", -bound, bound, change, layer.channel, f"{words}{beside}".format)
