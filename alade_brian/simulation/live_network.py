"""A specification as Brian2 objects to experiment with: monitors, further synapses and populations can be added."""

from __future__ import annotations

from dataclasses import dataclass

import brian2 as b2

from alade_brian.conversion.to_brian2.network import BatchLayout, BrianNetwork, build_network
from alade_brian.simulation.separate.decoding import decode
from alade_brian.simulation.separate.runtime import recorded_by
from alade_brian.simulation.simulator import Images, arrays, check_images, pixels
from alade_brian.spec import NetworkSpec
from alade_brian.spec.presentation import period_steps
from alade_brian.spikes.responses import Responses


@dataclass(frozen=True, eq=False)
class LiveNetwork:
    """A network in Brian2 that is shown its images one after another when `network` runs for `duration`.

    network    holds all objects; what is added is simulated with them
    groups     the `NeuronGroup` of every population, by its name in the specification
    spikes     the `SpikeMonitor` of every population that spikes, by its name
    pixels     the group whose variable x is the stimulus
    duration   of all presentations, a Brian2 quantity that shows in ms
    dt         one time step, a Brian2 quantity; clocks of what is added should tick as often
    period     from one presentation to the next; the network's own neurons begin each at rest
    """

    spec: NetworkSpec
    images: int
    network: b2.Network
    groups: dict[str, b2.NeuronGroup]
    spikes: dict[str, b2.SpikeMonitor]
    pixels: b2.NeuronGroup
    duration: b2.Quantity
    dt: b2.Quantity
    period: b2.Quantity
    _built: BrianNetwork

    def responses(self) -> Responses:
        """Spikes and logits of the run, as `simulate` gives them.

        Raises RuntimeError where the network has not run for its duration, neither less nor more.
        """
        done, wanted = (round(float(time / self.dt)) for time in (self.network.t, self.duration))
        if done != wanted:
            raise RuntimeError(f"the network has run {done} of {wanted} steps: run it for its duration, once")
        return decode(self.spec, BatchLayout(1, self.images), self.images, recorded_by(self._built))


def to_brian2(spec: NetworkSpec, images: Images) -> LiveNetwork:
    """The network as a live `brian2.Network` of `NeuronGroup` and `Synapses` objects, in this process.

    images   as `simulate` takes them; they are shown one after another to one copy of the network

    Brian2's own preferences hold: its code generation target, and float64 unless `core.default_float_dtype` says
    otherwise. Run as it is built, the network spikes as `simulate` says. Within a step the layers follow each other;
    what is added acts in Brian2's standard slots (`thresholds`, `synapses`, `resets`) behind the last layer, so that
    spikes of an added population reach the network in the next step. Raises UserError where the images do not fit.

    >>> import brian2 as b2, numpy as np
    >>> from torch import nn
    >>> from alade_brian import convert, simulate, to_brian2
    >>> from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
    >>> from alade_brian.simulation import SimulationSettings
    >>> b2.prefs.codegen.target = "numpy"
    >>> model = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))
    >>> spec, images = convert(model, (6,)), np.ones((2, 6))
    >>> live = to_brian2(spec, images)
    >>> live.duration
    8. * msecond
    >>> membrane = b2.StateMonitor(live.groups["2"], "v", record=[0, 1], dt=live.dt)
    >>> live.network.add(membrane)
    >>> live.network.run(live.duration)
    >>> membrane.v.shape
    (2, 8)
    >>> wanted = simulate(spec, images, SimulationSettings(backend="numpy"))
    >>> bool(np.array_equal(live.responses().spikes["2"], wanted.spikes["2"]))
    True
    """
    shown = arrays(spec, images)
    check_images(spec, shown)
    count = len(next(iter(shown.values())))
    built = build_network(spec, pixels(spec, shown), BatchLayout(1, count))
    return LiveNetwork(
        spec,
        count,
        built.network,
        built.groups,
        built.spikes,
        next(part for part in built.network.objects if part.name == "pixels"),
        built.duration * b2.second,
        spec.dt * b2.second,
        period_steps(spec) * spec.dt * b2.second,
        built,
    )
