"""Look into a trained network: variables of single neurons, step by step, in PyTorch and in Brian2.

    alade-brian trace runs/digits-alade-1993/checkpoints/task-05.safetensors --layer all
    alade-brian trace CHECKPOINT --layer NAME --neurons 0 5 9 --images 3 12 --variable v --out traces
    alade-brian trace CHECKPOINT --layer all --neurons all

Both networks are shown the images of these numbers (as in spikes/task-NN.npz) in float64, and each variable is
recorded as the threshold test sees it, before the reset. The folder then holds states.npz and, for each layer, variable
and image, a figure of the first few neurons chosen. What is printed is the largest difference between both networks
over all neurons of a layer; above 1e-12 the exit code is 1, and where nothing could be compared, since
PyTorch has none of the variables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alade_brian.analysis.figures import plot_inner_state
from alade_brian.analysis.figures.style import literal, new_axes, write_figure
from alade_brian.commands.options import (
    DATA_ROOT,
    IMAGE_NUMBERS,
    LAYER,
    NEURON_NUMBERS,
    OUT,
    add_checkpoint,
    add_simulation,
    simulation_settings,
)
from alade_brian.errors import UserError
from alade_brian.learning.checkpoint import check_of_run, load_checkpoint
from alade_brian.outputs import check_not_locked, is_unused, writing_to
from alade_brian.runs.subject import read_trained_network
from alade_brian.simulation.states import variables
from alade_brian.spec import NetworkSpec
from alade_brian.spikes.class_names import class_phrase
from alade_brian.spikes.state_record import StateRecord, save_states
from alade_brian.spikes.states import InnerState
from alade_brian.verification.inner_states import TOLERANCE, inner_states

ALL = "all"
# So many lines can be told apart in one figure.
NEURONS_DRAWN = 6
# More figures than that are not read; states.npz holds everything.
FIGURES = 24


def parser(prog: str = "alade-brian trace") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint(p)
    LAYER.add(p, "or: all", required=True)
    NEURON_NUMBERS.add(p, default=["0", "1", "2"])
    IMAGE_NUMBERS.add(p, "of those that the run was evaluated on", default=[0])
    p.add_argument(
        "--variable", nargs="+", default=["v"], metavar="NAME", help="variables of the neurons' equations (default: v)"
    )
    DATA_ROOT.add(p, "default: as in training")
    OUT.add(p, "default: runs/trace-RUN")
    add_simulation(p, workers=1, backend="numpy", connectivity="explicit")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Record, compare, write; the exit code."""
    out = arguments.out or Path("runs") / f"trace-{arguments.checkpoint.resolve().parent.parent.name}"
    check_not_locked(out)
    _check_unused(out)
    settings = simulation_settings(arguments)
    network, header = load_checkpoint(arguments.checkpoint)
    check_of_run(header, arguments.checkpoint)
    # As many images as the run was verified with, so that they have the numbers they have there.
    subject = read_trained_network(arguments.checkpoint, header["config"].get("verify_images"), arguments.data_root)
    images = chosen("--images", arguments.images, len(subject.images))
    wanted = {name: list(dict.fromkeys(arguments.variable)) for name in layers(subject.spec, arguments.layer)}
    for name, names in wanted.items():
        known, missing = variables(subject.spec, name), set(names) - set(variables(subject.spec, name))
        if missing:
            raise UserError(f"layer {name} has no variable '{min(missing)}'; its neurons have {', '.join(known)}")
    neurons = {name: chosen_neurons(subject.spec, name, arguments.neurons) for name in wanted}
    found = inner_states(network, subject.spec, subject.images.images[images], wanted, settings)
    states = tuple(state.of(neurons[state.layer]) for state in found)
    record = StateRecord(subject.spec.dt, images, subject.images.labels[images], states, subject.class_names)
    try:
        with writing_to(out):
            _check_unused(out)
            save_states(out / "states.npz", record)
            figures = write_figures(out, record)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}); choose another with --out") from None
    print("\n".join(table(found)))
    print(f"images: {', '.join(shown_images(record))}")
    print(f"wrote {out}: states.npz and {figures} figures")
    differences = [state.largest_difference for state in found if state.largest_difference is not None]
    if not differences:
        print("nothing was compared: PyTorch has none of these variables")
    return 0 if differences and all(difference <= TOLERANCE for difference in differences) else 1


def _check_unused(out: Path) -> None:
    if not is_unused(out):
        raise UserError(f"{out} already holds files; choose another --out")


def layers(spec: NetworkSpec, names: Sequence[str]) -> list[str]:
    """The layers asked for; 'all' are those that spike. UserError where one does not exist."""
    if ALL in names:
        spiking = [p.name for p in spec.spiking]
        if not spiking:
            raise UserError(f"no layer spikes; name some with --layer: {', '.join(p.name for p in spec.populations)}")
        return spiking
    for name in names:
        variables(spec, name)
    return list(dict.fromkeys(names))


def chosen_neurons(spec: NetworkSpec, layer: str, wanted: Sequence[str]) -> np.ndarray:
    """Numbers of neurons of a layer; UserError where one is none, or not there."""
    size = spec.population(layer).size
    if ALL in wanted:
        return np.arange(size)
    if not all(number.isdigit() for number in wanted):
        raise UserError(f"--neurons {' '.join(wanted)}: use numbers from 0 to {size - 1}, or all")
    return chosen(f"--neurons (layer {layer})", [int(number) for number in wanted], size)


def chosen(what: str, numbers: Sequence[int], count: int) -> np.ndarray:
    """These numbers, each once and rising; UserError where one is not from 0 to count - 1."""
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong:
        raise UserError(f"{what}: there is no number {wrong[0]}; use 0 to {count - 1}")
    return np.unique(numbers)


def write_figures(out: Path, record: StateRecord) -> int:
    """One figure per layer, variable and image, at most `FIGURES`; how many were written."""
    every = [(state, row) for state in record.states for row in range(len(record.images))][:FIGURES]
    for state, row in every:
        _, ax = new_axes(7.0, 3.6)
        plot_inner_state(state.of(range(min(NEURONS_DRAWN, len(state.neurons)))), row, record.dt, ax)
        ax.set_title(f"{literal(state.layer)}, image {literal(shown_images(record)[row])}", fontsize=10)
        write_figure(ax, out / f"{state.layer}-{state.variable}-image-{record.images[row]}")
    return len(every)


def shown_images(record: StateRecord) -> list[str]:
    """Number of each image, and its class if it has one."""
    shown = []
    for number, label in zip(record.images, record.labels, strict=True):
        phrase = class_phrase(record.class_names, int(label))
        shown.append(f"{number} ({phrase})" if phrase else str(number))
    return shown


def table(found: Sequence[InnerState]) -> list[str]:
    """A line per layer and variable: the largest difference between both networks."""
    width = max(len(state.layer) for state in found)
    lines = [f"{'layer':<{width}}  variable  neurons  largest difference"]
    for state in found:
        difference = state.largest_difference
        said = "not known in PyTorch" if difference is None else f"{difference:.1e}"
        lines.append(f"{state.layer:<{width}}  {state.variable:<8}  {state.brian2.shape[2]:7,}  {said}")
    return lines
