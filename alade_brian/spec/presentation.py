"""How a presentation is laid out: the pixels of several stimuli, and the steps from one to the next."""

from __future__ import annotations

from alade_brian.spec.network import NetworkSpec


def period_steps(spec: NetworkSpec) -> int:
    """Steps from one presentation to the next: its length, and a silent gap in which delayed spikes run out."""
    return spec.steps + max((p.delay for p in spec.projections), default=0)


def pixel_offset(spec: NetworkSpec, source: str) -> int:
    """Where a stimulus begins among the pixels of all stimuli; 0 for a population."""
    if not spec.is_stimulus(source):
        return 0
    names = [s.name for s in spec.stimuli]
    return sum(s.size for s in spec.stimuli[: names.index(source)])
