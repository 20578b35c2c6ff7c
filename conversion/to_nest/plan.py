"""A whole specification in NEST's words: its neurons, and how many steps late each population lives.

In NEST a spike needs a step at least from one neuron to the next, where a specification lets a layer see the spikes of
the same step. So every population has a clock of its own: what a specification does in step s, the population does in
NEST's step ``s + lead``, and a projection's delay is the specification's plus what its target is later than its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alade_brian.conversion.to_nest.neurons import NestNeurons, nest_neurons, refusal
from alade_brian.errors import UserError
from alade_brian.spec import NetworkSpec, Projection
from alade_brian.spec.presentation import period_steps

# A generator's spike arrives one step later at the earliest: whatever is shown at step s acts in step s + 1.
FIRST = 1


@dataclass(frozen=True, eq=False)
class NestPlan:
    """neurons   by population
    lead      by population, in steps: the populations that nothing but stimuli reach are 1 step late, the next 2, ...
    period    steps from one presentation to the next: its length, and a gap in which delayed spikes run out
    """

    neurons: Mapping[str, NestNeurons]
    lead: Mapping[str, int]
    period: int

    def delay(self, projection: Projection) -> int:
        """Delay of a projection in NEST, in steps; of one from a stimulus that of its generators."""
        source = self.lead.get(projection.source, 0)
        return projection.delay + self.lead[projection.target] - source


def nest_plan(spec: NetworkSpec) -> NestPlan:
    """How NEST simulates the specification; UserError, naming the place, where it cannot do so exactly."""
    for projection in spec.projections:
        if not projection.operator.linear:
            raise UserError(
                f"NEST cannot simulate the projection {projection.name} exactly: it takes the maximum of every window, "
                "and NEST's neurons add up what reaches them"
            )
    neurons = {p.name: nest_neurons(p, spec.dt) for p in spec.populations}
    for projection in spec.projections:
        if not (spec.is_stimulus(projection.source) or spec.sends_spikes(projection.source)):
            raise UserError(
                f"NEST cannot simulate the projection {projection.name} exactly: its source sends its membrane, and "
                "NEST's neurons send nothing but spikes"
            )
        if projection.release is not None:
            raise UserError(
                f"NEST cannot simulate the projection {projection.name} exactly: its synapses fail by chance, and no "
                "two simulators draw the same"
            )
    readout = spec.population(spec.readout.population)
    if readout.neuron.spiking and not spec.answers_in_spikes:
        late = readout.neuron.leak == "before_reset"
        if spec.readout.sampled == "before_reset" or late:
            raise refusal(readout, "its membrane is read before the reset, which NEST does not show")
    return NestPlan(neurons, _leads(spec), period_steps(spec))


def _leads(spec: NetworkSpec) -> dict[str, int]:
    """The earliest clocks by which every delay is one step or more: longest paths, by relaxation."""
    lead = {p.name: FIRST for p in spec.populations}
    into: dict[str, Projection] = {}
    grown = ""
    for _ in range(len(spec.populations) + 1):
        grown = ""
        for projection in spec.projections:
            needed = lead.get(projection.source, 0) + 1 - projection.delay
            if needed > lead[projection.target]:
                lead[projection.target], into[projection.target] = needed, projection
                grown = projection.target
        if not grown:
            return lead
    raise UserError(_loop_refusal(into, grown))


def _loop_refusal(into: Mapping[str, Projection], grown: str) -> str:
    """The sentence about a loop that is too fast; the way back from a population that still grows ends in it."""
    name = grown
    for _ in into:
        name = into[name].source
    round_trip = [into[name]]
    while round_trip[-1].source != name:
        round_trip.append(into[round_trip[-1].source])
    names = [p.source for p in reversed(round_trip)]
    return (
        f"NEST cannot simulate the projections {' -> '.join([*names, names[0]])} exactly: round the loop it takes "
        f"{sum(p.delay for p in round_trip)} step(s), and NEST needs one for each of the {len(names)}"
    )
