"""What learning by spike times rests on: simulated neurons fire when the closed form says, to within a time step.

Training computes the times of spikes without steps (`alade_brian.learning.rules.relpsp`); the simulation has steps of a
length dt. The same trained network is simulated with ever shorter ones:

- A neuron fires in the first step at or after the time that the closed form gives for the spikes which it received:
  the difference lies between 0 and dt, in every layer.
- From layer to layer the roundings add up. The difference from the closed form of the whole network, in which nothing
  is rounded, has no such bound, but falls as dt does.

A rate-coded network of the same size is simulated beside it (`alade_brian.systems.rate_coding`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from alade_brian.analysis.figures.spike_times import plot_decisions, plot_latencies, plot_time_errors
from alade_brian.analysis.figures.style import new_grid
from alade_brian.config.run import config_from
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.errors import UserError
from alade_brian.learning.checkpoint import load_checkpoint
from alade_brian.learning.rules.relpsp import first_spike_times, latency_net, spike_times, timed_layers
from alade_brian.models import ExpandableNetwork
from alade_brian.models.neurons.latency import NEVER, WINDOW_SECONDS, LatencyEncoder, RelPspIF
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.incremental_run import evenly_spaced
from alade_brian.runs.setup import make_scenario, simulation_settings
from alade_brian.runs.subject import evaluated_images
from alade_brian.simulation import SimulationSettings, open_simulator
from alade_brian.systems.rate_coding import simulated_rates

# Steps in a window of latencies; of 10 ms, steps of 1, 0.1, 0.01 and 0.001 ms. And at most so many images with each.
WINDOWS = {10: 1000, 100: 1000, 1000: 100, 10000: 10}
# Windows that the rate-coded network is run for, in steps.
RATE_STEPS = (4, 8, 16, 32, 64)


def prove(folders: Sequence[RunFolder]) -> dict[str, Any]:
    """Simulated against closed-form spike times of a run's trained network, by the length of a step; JSON-ready.

    ``windows``: see `measure`. ``slope``: of the mean difference from the closed form of the whole network against dt,
    both logarithmic. ``rate_coded``: see `simulated_rates`.
    """
    folder, *others = folders
    if others:
        raise UserError(f"the proof of relpsp measures one run, not {len(folders)}; name one")
    checkpoint = folder.checkpoint(1)
    network, header = load_checkpoint(checkpoint)
    dataset, images = evaluated_images(header, str(checkpoint), max(WINDOWS.values()))
    config = config_from(header["config"], str(checkpoint))
    settings = simulation_settings(config)
    found = []
    for window, count in WINDOWS.items():
        shown = evenly_spaced(images, count)
        found.append(measure(cast(ExpandableNetwork, network), shown.images, shown.labels, window, settings))
    scenario = make_scenario(config, dataset)
    training = scenario.train_set(next(iter(scenario)))
    rates = simulated_rates(cast(ExpandableNetwork, network), training, images, RATE_STEPS, settings)
    errors = [each["mean_error_ms"] for each in found]
    slope = float(np.polyfit(np.log([each["dt_ms"] for each in found]), np.log(errors), 1)[0])
    return {"windows": found, "slope": slope, "rate_coded": rates}


def measure(
    network: ExpandableNetwork, images: np.ndarray, labels: np.ndarray, window: int, settings: SimulationSettings
) -> dict[str, Any]:
    """A trained network in eval mode, simulated with this number of steps in a window, against the closed form.

    dt_ms, images, accuracy, accuracy_closed_form
    layers           by name: ``max_error_steps`` and ``min_error_steps``, the simulated time less the closed form's for
                     the layer's simulated input; ``other_neurons``, how many fired in one of both alone
    max_error_ms, mean_error_ms, other_neurons   the same of absolute differences from the closed form of the whole
                     network, over all neurons that fire in both
    class_flips      the part of the images for which another output fires first than in the closed form
    ties, silent     the part of the images for which several outputs fire first in the same step, or none fires
    latency_ms       mean time of the first output's spike; latency_closed_form_ms
    spikes           mean per image; spikes_to_decision: up to the first output's; most_spikes: of one neuron
    """
    stepped = with_window(network, window).double()
    shown = torch.from_numpy(images).double()
    with torch.no_grad():
        closed = spike_times(stepped, shown)
    simulated = _Simulated.of(stepped, images, settings)
    times = [torch.from_numpy(each) for each in simulated.times]
    dt_ms = 1e3 * WINDOW_SECONDS / window
    first, ideal = times[-1].min(1).values, closed[-1].min(1).values
    both = [(a < NEVER) & (b < NEVER) for a, b in zip(times, closed, strict=True)]
    errors = torch.cat([(a - b).abs()[c] for a, b, c in zip(times, closed, both, strict=True)])
    answers = times[-1].argmin(1)
    fired = torch.cat(times, 1)
    return {
        "dt_ms": dt_ms,
        "images": len(images),
        "accuracy": float((answers.numpy() == labels).mean()),
        "accuracy_closed_form": float((closed[-1].argmin(1).numpy() == labels).mean()),
        "layers": _by_layer(stepped, shown, times, simulated.names, window),
        "max_error_ms": float(errors.max()) * 1e3 * WINDOW_SECONDS,
        "mean_error_ms": float(errors.mean()) * 1e3 * WINDOW_SECONDS,
        "other_neurons": _others(times, closed),
        "class_flips": float((answers != closed[-1].argmin(1)).double().mean()),
        "ties": float(((times[-1] == first[:, None]).sum(1) > 1)[first < NEVER].double().sum()) / len(images),
        "silent": float((first >= NEVER).double().mean()),
        "latency_ms": float(first[first < NEVER].mean()) * 1e3 * WINDOW_SECONDS,
        "latency_closed_form_ms": float(ideal[ideal < NEVER].mean()) * 1e3 * WINDOW_SECONDS,
        "spikes": float((fired < NEVER).sum()) / len(images),
        "spikes_to_decision": float(((fired < NEVER) & (fired <= first[:, None])).sum()) / len(images),
        "most_spikes": simulated.most_spikes,
    }


def with_window(network: ExpandableNetwork, window: int) -> ExpandableNetwork:
    """A copy of a network with another number of steps in a window, and as many windows in a presentation."""
    changed = copy.deepcopy(network)
    own = latency_net(network).encoder
    steps = round(own.steps * window / own.window)
    for module in changed.modules():
        if hasattr(module, "steps"):
            module.steps = steps  # type: ignore[assignment]
        if isinstance(module, LatencyEncoder | RelPspIF):
            module.window = window
    return changed


@dataclass(frozen=True, eq=False)
class _Simulated:
    """names, times   of the layers from the pixels on; ``(images, neurons)`` in windows, `NEVER` where none is fired
    most_spikes    of any neuron for any image
    """

    names: list[str]
    times: list[np.ndarray]
    most_spikes: int

    @staticmethod
    def of(network: ExpandableNetwork, images: np.ndarray, settings: SimulationSettings) -> _Simulated:
        window = latency_net(network).encoder.window
        spec = convert(network, images.shape[1:], dt=WINDOW_SECONDS / window)
        names = [p.name for p in spec.spiking]
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        most = 0
        for _, found in open_simulator(spec, settings).chunks(images):
            for name in names:
                spikes = found.spikes[name]
                times = np.where(spikes.any(1), spikes.argmax(1) / window, NEVER)
                parts[name].append(times)
                most = max(most, int(spikes.sum(1).max()))
        return _Simulated(names, [np.concatenate(parts[name]) for name in names], most)


def _by_layer(
    network: ExpandableNetwork, images: Tensor, times: Sequence[Tensor], names: Sequence[str], window: int
) -> dict[str, dict[str, float]]:
    """Every layer against the closed form for the spikes that it received."""
    layers = timed_layers(network)
    horizon = (layers[0][1].steps - 1) / window
    with torch.no_grad():
        expected = [latency_net(network).input_times(images)]
        for (linear, neuron), given in zip(layers, times, strict=False):
            expected.append(first_spike_times(given, linear.weight, float(neuron.threshold), horizon))
    found = {}
    for name, simulated, wanted in zip(names, times, expected, strict=True):
        late = ((simulated - wanted) * window)[(simulated < NEVER) & (wanted < NEVER)]
        found[name] = {
            "min_error_steps": float(late.min()),
            "max_error_steps": float(late.max()),
            "other_neurons": _others([simulated], [wanted]),
        }
    return found


def _others(one: Sequence[Tensor], other: Sequence[Tensor]) -> int:
    """How many (image, neuron) pairs fired in one of both alone."""
    return sum(int(((a < NEVER) != (b < NEVER)).sum()) for a, b in zip(one, other, strict=True))


def draw(found: Mapping[str, Any]) -> Any:
    """The figure of what `prove` found, by dt: differences of spike times, the answers, and when they come."""
    _, axes = new_grid(4.5, 4.0, 3, 3)
    for plot, ax in zip((plot_time_errors, plot_decisions, plot_latencies), axes, strict=True):
        plot(found, ax)
    return axes[0]


def table(found: Mapping[str, Any]) -> str:
    """The text of what `prove` found."""
    lines = [
        f"{'dt (ms)':>8}{'images':>8}{'accuracy':>10}{'flips':>8}{'ties':>8}{'silent':>8}{'latency':>9}"
        f"{'layer max':>11}{'mean error':>12}{'max error':>11}{'spikes':>8}{'decided':>9}"
    ]
    for each in found["windows"]:
        most = max(layer["max_error_steps"] for layer in each["layers"].values())
        lines.append(
            f"{each['dt_ms']:>8g}{each['images']:>8}{each['accuracy']:>10.4f}{each['class_flips']:>8.4f}"
            f"{each['ties']:>8.4f}{each['silent']:>8.4f}{each['latency_ms']:>9.3f}{most:>9.5f}dt"
            f"{each['mean_error_ms']:>12.5f}{each['max_error_ms']:>11.5f}{each['spikes']:>8.1f}"
            f"{each['spikes_to_decision']:>9.1f}"
        )
    most_spikes = max(each["most_spikes"] for each in found["windows"])
    lines.append(f"slope of the mean error: {found['slope']:.3f}; no neuron fired more than {most_spikes} time(s)")
    lines.append("rate-coded, the same size:")
    lines += [
        f"{each['steps']:>8} steps: accuracy {each['accuracy']:.4f}, {each['spikes']:.1f} spikes per image"
        for each in found["rate_coded"]["by_steps"]
    ]
    return "\n".join(lines)
