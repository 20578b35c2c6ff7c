"""A growing network as independent extractors and the head that reads them all.

A frozen extractor answers to an image as it always did; simulated by itself, its answer can be kept. The head is shown
the extractors' spikes as its stimuli.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alade_brian.spec.network import NetworkSpec, Population, Projection, Readout, Stimulus


@dataclass(frozen=True, eq=False)
class Parts:
    """extractors   independent networks, each of which receives all stimuli of the whole network
    head         what reads them; its stimuli are spikes, named by the populations that they come from
    """

    extractors: tuple[NetworkSpec, ...]
    head: NetworkSpec


def split(spec: NetworkSpec) -> Parts | None:
    """The parts of a network, or None where it has none: where its readout does not read spikes of other populations
    alone, in the step in which they are fired, each counting 1."""
    head = _head(spec)
    branches = _branches(spec, head)
    into = [p for p in spec.projections if p.target in head and p.source not in head]
    parted = all(spec.sends_spikes(p.source) and p.delay == 0 and _counts_one(spec, p.source) for p in into)
    if not branches or not into or not parted or spec.stimulus.coding == "spikes":
        return None
    feeds = {p.source for p in into}
    return Parts(tuple(_extractor(spec, branch, feeds) for branch in branches), _reader(spec, head, feeds))


def repeated(spec: NetworkSpec, count: int) -> NetworkSpec:
    """A network of one extractor with `count` of them, all of the same numbers, which are not copied.

    What reads the first reads the others in the same way, as in a network that grew.
    """
    head = _head(spec)
    own = [p for p in spec.populations if p.name not in head]
    names = {p.name for p in own}
    populations: list[Population] = []
    within: list[Projection] = []
    to_head: list[Projection] = []
    for number in range(count):
        new = {name: name if number == 0 else f"{name} ({number + 1})" for name in names}
        populations += [replace(p, name=new[p.name]) for p in own]
        for p in spec.projections:
            if p.target in names:
                within.append(replace(p, source=new.get(p.source, p.source), target=new[p.target]))
            elif p.source in names:
                to_head.append(replace(p, source=new[p.source]))
    rest = [p for p in spec.projections if not names & {p.source, p.target}]
    readers = [p for p in spec.populations if p.name in head]
    return replace(spec, populations=(*populations, *readers), projections=(*within, *to_head, *rest))


def _counts_one(spec: NetworkSpec, name: str) -> bool:
    return bool(np.all(spec.population(name).amplitude == 1))


def _head(spec: NetworkSpec) -> set[str]:
    """The readout's population and all that it reaches: nothing of it comes back to the extractors."""
    found, waiting = set(), [spec.readout.population]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [p.target for p in spec.projections if p.source == name]
    return found


def _branches(spec: NetworkSpec, head: set[str]) -> list[set[str]]:
    """The other populations, those together that are connected."""
    branches: list[set[str]] = []
    for population in spec.populations:
        if population.name in head:
            continue
        ends = [{p.source, p.target} for p in spec.projections if population.name in (p.source, p.target)]
        linked = {population.name}.union(*ends) - head - {s.name for s in spec.stimuli}
        touching = [branch for branch in branches if branch & linked]
        branches = [branch for branch in branches if not branch & linked] + [linked.union(*touching)]
    return branches


def _within(spec: NetworkSpec, names: set[str]) -> tuple[tuple[Population, ...], tuple[Projection, ...]]:
    populations = tuple(p for p in spec.populations if p.name in names)
    return populations, tuple(p for p in spec.projections if p.target in names)


def _extractor(spec: NetworkSpec, branch: set[str], feeds: set[str]) -> NetworkSpec:
    populations, projections = _within(spec, branch)
    last = next(p.name for p in reversed(populations) if p.name in feeds)
    return replace(
        spec, populations=populations, projections=projections, readout=Readout(last, "spike_count", decision="value")
    )


def _reader(spec: NetworkSpec, head: set[str], feeds: set[str]) -> NetworkSpec:
    populations, projections = _within(spec, head)
    sources = [p for p in spec.populations if p.name in feeds]
    stimuli = tuple(Stimulus(p.shape, p.name, "spikes") for p in sources)
    return replace(spec, stimuli=stimuli, populations=populations, projections=projections)
