"""Layout of a presentation: the pixels of several stimuli, and the steps between presentations."""

from __future__ import annotations

from alade_brian.spec.network import NetworkSpec


def period_steps(spec: NetworkSpec) -> int:
    """Steps between the starts of two presentations: the length of one, plus a silent gap for spikes in transit."""
    return spec.steps + max((p.delay for p in spec.projections), default=0)


def pixel_offset(spec: NetworkSpec, source: str) -> int:
    """Offset of a stimulus among the pixels of all stimuli; 0 for a population."""
    if not spec.is_stimulus(source):
        return 0
    names = [s.name for s in spec.stimuli]
    return sum(s.size for s in spec.stimuli[: names.index(source)])
