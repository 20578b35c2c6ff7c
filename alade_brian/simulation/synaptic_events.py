"""Synaptic events: how many synapses carried a spike, projection by projection.

An event is the arrival of one spike at one synapse within the spike's presentation; what a delay carries beyond the
last step arrives nowhere. Fused passes count while they deliver; here the same is counted from recorded spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from alade_brian.simulation.gather import degrees
from alade_brian.spec import NetworkSpec, Projection
from alade_brian.spec.presentation import pixel_offset
from alade_brian.spec.release import draw, synapse_number
from alade_brian.spec.synapses import projection_synapses
from alade_brian.spikes.responses import Responses


def sends(spec: NetworkSpec, source: str) -> bool:
    """Whether a source sends spikes: a layer that spikes, or a stimulus of spikes."""
    return spec.sends_spikes(source) or (spec.is_stimulus(source) and spec.stimulus.coding == "spikes")


@dataclass(frozen=True, eq=False)
class _Failing:
    """Synapses that fail by chance.

    numbers   what chance knows each by, those of a source neuron one behind the other
    first     where those of each source neuron begin
    """

    numbers: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, spec: NetworkSpec, projection: Projection) -> _Failing:
        found = projection_synapses(spec, projection)
        neurons = np.arange(prod(spec.shape(projection.source)) + 1)
        return cls(synapse_number(found.pre, found.post), np.searchsorted(found.pre, neurons))

    def of_neurons(self, fired: np.ndarray) -> np.ndarray:
        """The numbers of all synapses of some neurons."""
        begin, count = self.first[fired], self.first[fired + 1] - self.first[fired]
        shift = np.repeat(begin - np.concatenate([[0], np.cumsum(count)[:-1]]), count)
        return self.numbers[shift + np.arange(count.sum())]


class EventCounter:
    """Counts the synaptic events of one network; what every neuron reaches is found out once."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self._degrees = {k: degrees(spec, p) for k, p in enumerate(spec.projections) if sends(spec, p.source)}
        self._failing = {k: _Failing.of(spec, p) for k, p in enumerate(spec.projections) if p.release}

    def count(self, responses: Responses, shown: np.ndarray | None = None) -> np.ndarray:
        """Events of every image, int64 ``(images, projections)``: a column for each projection of the specification,
        zeros where it sends a current.

        shown   what was shown, pixels ``(images, rows, pixels of all stimuli)``; needed where stimuli are spikes, or
                synapses fail by chance
        """
        spikes = {**responses.spikes, **self._given(shown)}
        events = np.zeros((len(responses.logits), len(self.spec.projections)), np.int64)
        for column, reached in self._degrees.items():
            projection = self.spec.projections[column]
            arrive = max(0, self.spec.steps - projection.delay)
            came = spikes[projection.source][:, :arrive]
            if column in self._failing:
                events[:, column] = self._passed(projection, self._failing[column], came, shown)
            else:
                events[:, column] = came.sum(1, dtype=np.int64) @ reached
        return events

    def _passed(
        self, projection: Projection, synapses: _Failing, came: np.ndarray, shown: np.ndarray | None
    ) -> np.ndarray:
        """How many synapses passed a spike on, of every image."""
        assert projection.release is not None
        if shown is None:
            raise ValueError("synapses fail by chance: their events are counted from the tickets that were shown")
        tickets = shown[:, projection.delay :, pixel_offset(self.spec, projection.release.ticket)]
        passed = np.zeros(len(came), np.int64)
        for image, step in np.argwhere(came.any(2)):
            draws = draw(tickets[image, step], synapses.of_neurons(np.flatnonzero(came[image, step])))
            passed[image] += np.count_nonzero(draws < projection.release.probability)
        return passed

    def _given(self, shown: np.ndarray | None) -> Mapping[str, np.ndarray]:
        """The spikes of the stimuli by their names."""
        if self.spec.stimulus.coding != "spikes":
            return {}
        if shown is None:
            raise ValueError("the stimuli are spikes: their events are counted from the pixels that were shown")
        ends = np.cumsum([s.size for s in self.spec.stimuli])[:-1]
        parts = zip(self.spec.stimuli, np.split(shown, ends, axis=2), strict=True)
        return {stimulus.name: part != 0 for stimulus, part in parts}


def synaptic_events(spec: NetworkSpec, responses: Responses, shown: np.ndarray | None = None) -> int:
    """All synaptic events of all images, see `EventCounter.count`."""
    return int(EventCounter(spec).count(responses, shown).sum())
