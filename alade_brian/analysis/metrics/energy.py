"""Energy of one image, from operations: accumulates that were counted in the simulation, multiply-accumulates of the
analogue layers, and all operations of the same network with ReLU units in the place of its spiking neurons.

What is counted: a spike that arrives at a synapse is one accumulate (its weight is added). A number that goes through a
connection (an image, a membrane, an activation) is one multiply-accumulate; where the operator is pooling or one-to-one
it is one accumulate, because such factors belong to the weights around them. A number that a maximum compares is one
accumulate too. Connections are those that exist: at a border a kernel has fewer. Operators are those of the
specification, for both networks: where pooling was merged into the weights behind it, the merged ones are counted.

What is not counted: the neurons' own updates, biases, and memory, which on most hardware takes more than arithmetic
does. The comparison by operations is that of Rueckauer et al., Frontiers in Neuroscience 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alade_brian.errors import UserError
from alade_brian.spec import NetworkSpec, Projection

HOROWITZ = (
    "32-bit floating point in 45 nm at 0.9 V: addition 0.9 pJ, multiplication 3.7 pJ (Horowitz, ISSCC 2014); neuron"
    " updates and memory are not counted"
)


@dataclass(frozen=True)
class Operations:
    """Numbers of operations; they add up."""

    macs: float = 0
    accumulates: float = 0

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.macs + other.macs, self.accumulates + other.accumulates)


@dataclass(frozen=True)
class Prices:
    """Joule of an accumulate and of a multiply-accumulate, and who measured them.

    Source of the defaults: Horowitz, Computing's Energy Problem, ISSCC 2014.
    """

    accumulate: float = 0.9e-12
    mac: float = 4.6e-12
    source: str = HOROWITZ

    def joule(self, operations: Operations) -> float:
        return operations.accumulates * self.accumulate + operations.macs * self.mac


def current_operations(
    spec: NetworkSpec, synapses: Sequence[int], input_every_step: bool = False
) -> dict[str, Operations]:
    """What one image costs, by target layer, in the projections that send numbers and not spikes.

    synapses           connections of each of the specification's projections
    input_every_step   whether an image that is held is sent through its weights in every step, as on hardware that
                       keeps no currents; if not, once, as this package's simulation does

    A sequence, and the membranes of neurons that do not spike, are sent in every step.
    """
    found = {p.name: Operations() for p in spec.populations}
    for projection, connections in zip(spec.projections, synapses, strict=True):
        if not _sends_spikes(spec, projection):
            held = spec.is_stimulus(projection.source) and spec.stimulus.coding == "direct"
            times = 1 if held and not input_every_step else spec.steps
            found[projection.target] += _numbers(projection, connections * times)
    return found


def relu_operations(spec: NetworkSpec, synapses: Sequence[int]) -> dict[str, Operations]:
    """What one image costs, by target layer, where every neuron is a ReLU unit and all layers are computed once."""
    found = {p.name: Operations() for p in spec.populations}
    for projection, connections in zip(spec.projections, synapses, strict=True):
        found[projection.target] += _numbers(projection, connections)
    return found


def energy_metrics(
    spec: NetworkSpec,
    synapses: Sequence[int],
    events_per_layer: Mapping[str, int],
    images: int,
    input_every_step: bool = False,
    prices: Prices | None = None,
) -> dict[str, Any]:
    """The energy of one image in joule, averaged over images, beside that of the ReLU network; JSON-ready.

    synapses           connections of each projection (`synapses_per_projection` of alade_brian/spec/cost_table.py)
    events_per_layer   synaptic events by target layer, added up over `images` images
    input_every_step   see `current_operations`: what ``joule_per_image`` and ``ratio`` stand for;
                       ``joule_per_image_input_once`` and ``joule_per_image_input_every_step`` say both
    prices             default: Horowitz, ISSCC 2014

    ``ratio`` is the spiking network's energy over the ReLU network's; None where the latter computes nothing. Raises
    UserError where there is no image, or an event at a layer that does not exist.
    """
    if images < 1:
        raise UserError("The energy of an image needs at least one simulated image.")
    unknown = set(events_per_layer) - {p.name for p in spec.populations}
    if unknown:
        raise UserError(f"There are synaptic events at '{min(unknown)}', which is no layer of this network.")
    prices, relu = prices or Prices(), relu_operations(spec, synapses)
    arrived = {p.name: events_per_layer.get(p.name, 0) / images for p in spec.populations}
    once, every = (_with_events(current_operations(spec, synapses, each), arrived) for each in (False, True))
    spiking = every if input_every_step else once
    total, total_relu = _total(spiking), _total(relu)
    joule, joule_relu = prices.joule(total), prices.joule(total_relu)
    return {
        "synaptic_events_per_image": sum(arrived.values()),
        "joule_per_synaptic_event": prices.accumulate,
        "joule_per_mac": prices.mac,
        "source": prices.source,
        "input_every_step": input_every_step,
        "accumulates_per_image": total.accumulates,
        "macs_per_image": total.macs,
        "joule_per_image": joule,
        "joule_per_image_input_once": prices.joule(_total(once)),
        "joule_per_image_input_every_step": prices.joule(_total(every)),
        "accumulates_per_image_relu": total_relu.accumulates,
        "macs_per_image_relu": total_relu.macs,
        "joule_per_image_relu": joule_relu,
        "ratio": joule / joule_relu if joule_relu else None,
        "layers": [
            {
                "name": name,
                "synaptic_events_per_image": arrived[name],
                "accumulates_per_image": spent.accumulates,
                "macs_per_image": spent.macs,
                "joule_per_image": prices.joule(spent),
                "accumulates_per_image_relu": relu[name].accumulates,
                "macs_per_image_relu": relu[name].macs,
                "joule_per_image_relu": prices.joule(relu[name]),
            }
            for name, spent in spiking.items()
        ],
    }


def _with_events(operations: Mapping[str, Operations], arrived: Mapping[str, float]) -> dict[str, Operations]:
    return {name: found + Operations(accumulates=arrived[name]) for name, found in operations.items()}


def _total(operations: Mapping[str, Operations]) -> Operations:
    return sum(operations.values(), Operations())


def _sends_spikes(spec: NetworkSpec, projection: Projection) -> bool:
    shown = spec.is_stimulus(projection.source) and spec.stimulus.coding == "spikes"
    return shown or spec.sends_spikes(projection.source)


def _numbers(projection: Projection, connections: int) -> Operations:
    """Operations of numbers that go through so many connections."""
    if projection.operator.has_weights:
        return Operations(macs=connections)
    return Operations(accumulates=connections)
