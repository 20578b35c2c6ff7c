"""Why logits differ although every spike agrees: the readout reads something else than the reference's answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from alade_brian.simulation.settings import SimulationSettings
from alade_brian.simulation.simulator import Images, arrays, simulate
from alade_brian.simulation.states import record_states
from alade_brian.spec import DECODINGS, NetworkSpec, Readout, SpecError
from alade_brian.spec.readouts import Reads
from alade_brian.spikes.responses import read_out
from alade_brian.verification.comparison import LOGIT_TOLERANCE
from alade_brian.verification.diagnosis.diagnose import IMAGES, LARGEST, Diagnosis

# What a forward may return that no readout of these values reads.
_OTHERS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {"sum": lambda v: v.sum(1), "mean": lambda v: v.mean(1), "maximum": lambda v: v.max(1)}
)


@dataclass(frozen=True, eq=False)
class _Source:
    """What can be read from a population: float64 ``(images, steps, neurons)``."""

    words: str
    readout: Readout
    decodings: tuple[str, ...]
    values: np.ndarray


def diagnose_readout(spec: NetworkSpec, images: Images, reference: np.ndarray, ours: np.ndarray) -> Diagnosis:
    """Name the readout that gives the reference's logits, if one does.

    images      as `simulate` takes them
    reference   the reference's logits, ``(images, outputs)`` or ``(images, steps, outputs)``; `ours` alike: of `spec`

    At most `IMAGES` of the images whose logits differ are simulated again, on the numpy backend.
    """
    tolerance = LOGIT_TOLERANCE * max(1.0, float(np.abs(reference).max()))
    apart = np.abs(reference - ours).reshape(len(ours), -1).max(1)
    if apart.max() <= tolerance:
        text = "rounding: the logits agree within rounding, and the largest two of an image are as near to each other"
        return Diagnosis(text, "rounding", explained=True)
    if spec.synapse_count(*spec.projections) > LARGEST:
        return Diagnosis(f"the readout differs; none other was tried: the network has more than {LARGEST:,} synapses")
    chosen = np.sort(np.argsort(-apart, kind="stable")[:IMAGES])
    shown, wanted = {name: array[chosen] for name, array in arrays(spec, images).items()}, reference[chosen]
    found: list[str] = []
    for source in _sources(spec, shown, wanted.shape[-1]):
        for readout in _readouts(spec, source):
            if _near(read_out(readout, source.values), wanted, tolerance):
                found.append(f"{readout.decoding} of {source.words}")
        if not found and (other := next((w for w, v in _unread(source) if _near(v, wanted, tolerance)), None)):
            found.append(f"{other} of {source.words}, which is no readout,")
    if not found:
        return _scaled(wanted, ours[chosen], tolerance)
    more = "".join(f"; so does {each}" for each in found[1:3])
    now = f"{spec.readout.decoding} of {spec.readout.population}"
    text = f"readout: {found[0]} gives the reference's logits, not {now} ({len(chosen)} image(s){more})"
    return Diagnosis(text, "readout", explained=True)


def _scaled(reference: np.ndarray, ours: np.ndarray, tolerance: float) -> Diagnosis:
    """Logits that are a multiple of the others, or that differ for no known reason."""
    factor = float((reference * ours).sum() / (ours * ours).sum()) if ours.any() else 0.0
    if factor and _near(factor * ours, reference, tolerance):
        return Diagnosis(f"readout: the reference's logits are {factor:.6g} times these", "readout", explained=True)
    return Diagnosis("the readout differs: every spike agrees, and no known readout gives the reference's logits")


def _near(found: np.ndarray, reference: np.ndarray, tolerance: float) -> bool:
    return found.shape == reference.shape and bool(np.all(np.abs(found - reference) <= tolerance))


def _sources(spec: NetworkSpec, images: Mapping[str, np.ndarray], outputs: int) -> Iterator[_Source]:
    """What can be read: of the readout's own population first, then of others with as many neurons."""
    fitting = [p for p in spec.populations if p.size % outputs == 0]
    fitting.sort(key=lambda p: p.name != spec.readout.population)
    responses, states = record_states(spec, images, {p.name: [p.neuron.membrane] for p in fitting})
    ends = simulate(spec, images, SimulationSettings(backend="numpy"), [p.name for p in fitting]).traces
    for population in fitting:
        name = population.name
        plain = Readout(name, "every_step", population.size // outputs)
        if population.neuron.spiking:
            spikes = responses.spikes[name] * population.amplitude.ravel()
            yield _Source(f"the spikes of {name}", plain, _reading("spikes", "firing", "output"), spikes)
        membranes = _reading("membrane", "input")
        decodings = membranes if population.neuron.spiking else (*membranes, *_reading("output"))
        before, after = states[name][population.neuron.membrane], ends[name]
        differ = not np.array_equal(before, after)
        yield _Source(f"{name} (before the reset)" if differ else name, plain, decodings, before)
        if differ:
            late = replace(plain, sampled="after_reset")
            yield _Source(f"{name} (after the reset)", late, decodings, after)


def _reading(*what: Reads) -> tuple[str, ...]:
    """The decodings that read the first of these, then those that read the next."""
    return tuple(name for each in what for name, decoding in DECODINGS.items() if decoding.reads == each)


def _readouts(spec: NetworkSpec, source: _Source) -> Iterator[Readout]:
    """The readouts that a specification may have."""
    for decoding in source.decodings:
        try:
            yield replace(spec, readout=replace(source.readout, decoding=decoding)).readout
        except SpecError:
            continue


def _unread(source: _Source) -> Iterator[tuple[str, np.ndarray]]:
    """What else a forward may return: other reductions over the steps, and single steps."""
    images, steps, _ = source.values.shape
    grouped = source.values.reshape(images, steps, -1, source.readout.neurons_per_output).mean(-1)
    for words, reduce in _OTHERS.items():
        yield f"{words} over the steps", reduce(grouped)
    for step in range(steps):
        yield f"step {step}", grouped[:, step]
