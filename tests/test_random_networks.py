"""Property: random networks over the whole grammar, with dyadic weights, spike alike in PyTorch, numpy and Brian2.

Most examples are held against a plain simulation of their specification in numpy; a share of them runs in each engine,
as one network that has them all in it, so that an engine builds one program.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from grammar import networks
from hypothesis import HealthCheck, given, seed, settings
from networks import CPP, NUMPY, convert, dyadic_images
from reference import reference
from torch import nn

from alade_brian.models import NEURONS, HoldCurrent
from alade_brian.models.neurons.latency import LatencyEncoder, RelPspIF
from alade_brian.models.neurons.quantal import QuantalNeuron
from alade_brian.simulation import SimulationSettings
from alade_brian.simulation.simulator import simulate
from alade_brian.spec import DECODINGS, NetworkSpec
from alade_brian.spikes.responses import read_out
from alade_brian.verification.torch_reference import record

# CI draws 3,000; ALADE_BRIAN_RANDOM_NETWORKS=30000 python -m pytest tests/test_random_networks.py draws more.
EXAMPLES = int(os.environ.get("ALADE_BRIAN_RANDOM_NETWORKS", "1000"))
SEEDS = 4
# With this step, Euler's steps of the drawn time constants are free of rounding.
DT = 2.0**-10
# Networks in one program, and their steps: a program has one number of steps.
JOINED, STEPS = 12, 4

Drawn = tuple[nn.Module, tuple[int, ...]]


def examples(number: int, count: int, check: Callable[[Drawn], None]) -> None:
    """Draw networks from a seed and check each."""
    quiet = settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    seed(number)(quiet(given(networks())(check)))()


def logits(spec: NetworkSpec, spikes: dict[str, np.ndarray], membranes: dict[str, np.ndarray]) -> np.ndarray:
    """The answer, of what the population that is read did."""
    population, reads = spec.population(spec.readout.population), DECODINGS[spec.readout.decoding].reads
    sent = spikes[population.name] * population.amplitude.ravel() if population.neuron.spiking else None
    of_membrane = sent is None or reads in ("membrane", "input")
    return read_out(spec.readout, membranes[population.name] if of_membrane else sent)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(SEEDS))
def test_random_networks_spike_alike(number: int) -> None:
    """Every sum is exact, so equality holds at the threshold itself; equality of silence would prove nothing."""
    seen: Counter[str] = Counter()

    def check(drawn: Drawn) -> None:
        net, image = drawn
        spec, shown = convert(net, image, dt=DT), dyadic_images(2, *image)
        found = record(net, shown, spec)
        spikes, membranes = reference(spec, {spec.stimulus.name: shown})
        for population in spec.spiking:
            assert np.array_equal(spikes[population.name], found.spikes[population.name]), f"{population.name} of {net}"
            seen["silent"] += not found.spikes[population.name].any()
        assert np.abs(logits(spec, spikes, membranes) - found.logits).max() < 1e-9, net
        seen["layers"] += len(spec.spiking)
        seen.update({type(module).__name__ for module in net.modules()})
        seen.update({module.merge for module in net.modules() if hasattr(module, "merge")})
        seen["maxima of currents"] += any(not p.operator.linear for p in spec.projections)

    examples(number, EXAMPLES // SEEDS, check)
    assert seen["silent"] <= 0.25 * seen["layers"], seen
    # Quantal neurons are IF and LIF, with constants that follow from the threshold; behind neurons that fire once,
    # most of what is drawn would be silent.
    drawn = [cls for cls in NEURONS.values() if not issubclass(cls, QuantalNeuron | LatencyEncoder | RelPspIF)]
    assert all(seen[cls.__name__] for cls in drawn), seen
    assert all(seen[merge] for merge in ("residual", "wide", "again", "product")), seen
    assert seen["maxima of currents"] >= 0.2 * (EXAMPLES // SEEDS), seen


def joined(specs: Sequence[NetworkSpec]) -> NetworkSpec:
    """Networks side by side as one, each with a stimulus of its own; the last one's answer is read."""

    def named(number: int, name: str) -> str:
        return f"{number}/{name}"

    each = list(enumerate(specs))
    return NetworkSpec(
        tuple(replace(s, name=named(k, s.name)) for k, spec in each for s in spec.stimuli),
        tuple(replace(p, name=named(k, p.name)) for k, spec in each for p in spec.populations),
        tuple(
            replace(p, source=named(k, p.source), target=named(k, p.target))
            for k, spec in each
            for p in spec.projections
        ),
        replace(specs[-1].readout, population=named(len(specs) - 1, specs[-1].readout.population)),
        steps=STEPS,
        dt=DT,
    )


def delayed(spec: NetworkSpec, seed: int) -> NetworkSpec:
    """The network with spikes that travel for up to two steps more, another number for every projection."""
    steps = np.random.default_rng(seed).integers(0, 3, len(spec.projections))
    spiking = {p.name for p in spec.spiking}
    each = zip(spec.projections, steps, strict=True)
    return replace(
        spec, projections=tuple(replace(p, delay=p.delay + int(n)) if p.source in spiking else p for p, n in each)
    )


@cache
def with_steps() -> list[tuple[NetworkSpec, np.ndarray, Mapping[str, np.ndarray], np.ndarray]]:
    """Networks of one number of steps, with images, and the spikes and answers of torch.

    Of every other one there is, before it, a network with delays, which torch does not have: as numpy has it.
    """
    found: list[tuple[NetworkSpec, np.ndarray, Mapping[str, np.ndarray], np.ndarray]] = []

    def keep(drawn: Drawn) -> None:
        net, image = drawn
        steps = next(m.steps for m in net.modules() if isinstance(m, HoldCurrent))
        if steps != STEPS or len(found) >= JOINED:
            return
        spec, shown = convert(net, image, dt=DT), dyadic_images(2, *image)
        if len(found) % 3 == 0:
            late = delayed(spec, len(found))
            spikes, membranes = reference(late, {spec.stimulus.name: shown})
            found.append((late, shown, spikes, logits(late, spikes, membranes)))
        right = record(net, shown, spec)
        found.append((spec, shown, right.spikes, right.logits))

    examples(SEEDS, 20 * JOINED, keep)
    assert len(found) >= JOINED and any(p.delay > 1 for spec, *_ in found for p in spec.projections)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", [NUMPY, CPP, replace(CPP, connectivity="explicit")], ids=["numpy", "cpp", "explicit"]
)
def test_random_networks_spike_alike_in_one_program(engine: SimulationSettings) -> None:
    drawn = with_steps()
    whole = joined([spec for spec, *_ in drawn])
    shown = {f"{k}/{spec.stimulus.name}": images for k, (spec, images, *_) in enumerate(drawn)}
    found = simulate(whole, shown, engine)
    for k, (spec, _, spikes, _) in enumerate(drawn):
        for population in spec.spiking:
            name = f"{k}/{population.name}"
            assert np.array_equal(found.spikes[name], spikes[population.name]), name
    assert np.abs(found.logits - drawn[-1][3]).max() < 1e-9
    assert sum(spikes.any() for spikes in found.spikes.values()) > 0.75 * len(found.spikes)
