"""Run any NIR graph in Brian2.

    python experiments/run_nir.py model.nir --input input.npz --out out.npz --record-v

INPUT.npz holds `input`, (time, ...) or (batch, time, ...), where the dots stand for the shape of the graph's Input; one
array per Input by its name where there are several. OUT.npz then holds, with the same leading axes,

    <node>      bool: the spikes of every spiking node (in a sub-graph: sub-graph.node)
    v:<node>    float64: with --record-v the membrane of every neuron at the end of each step, behind the reset
    output      float64: what the (first) Output node shows; where there are several, each by its name too

A step: an input x at step t is a current of weight * x held during that step. euler is v += dt/tau*(v_leak - v + r*I),
exact the solution for a held current; then z = v > v_threshold, then the reset. A feed-forward edge acts in the same
step. In a cycle the spikes that leave a spiking node arrive one step later, so an affine node in the cycle gives its
bias from the first step on. A synaptic current is updated before the membrane of its step.

A file of snnTorch whose neurons reset by subtraction runs as in snnTorch with --discretisation euler --reset subtract
--reset-timing next-step: the export says none of this. Its step of 0.1 ms is taken from its constants.
"""

from __future__ import annotations

# Before the heavy imports: from here on, Ctrl-C is a sentence.
from alade_brian.cli import run_command  # isort: split

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np

from alade_brian.conversion.nir_neurons import Method
from alade_brian.conversion.nir_read import NirNetwork, Reset, ResetTiming, as_sequences, open_nir
from alade_brian.errors import UserError
from alade_brian.files import replacing
from alade_brian.outputs import check_new_file
from alade_brian.simulation import BACKENDS, SimulationSettings, simulate
from alade_brian.spec.network import Shape
from alade_brian.spikes.responses import Responses


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="run_nir.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("model", type=Path, metavar="MODEL.nir", help="a NIR graph")
    p.add_argument("--input", type=Path, required=True, metavar="INPUT.npz", help="what is shown")
    p.add_argument("--out", type=Path, required=True, metavar="OUT.npz", help="where the answers go")
    step = "time step in ms (default: what the file says or its constants show, else 1)"
    p.add_argument("--dt", type=float, metavar="MS", help=step)
    p.add_argument("--discretisation", choices=get_args(Method), help="default: what the file says, else exact")
    p.add_argument("--reset", choices=get_args(Reset), default="model", help="default: each node's own")
    p.add_argument(
        "--reset-timing",
        choices=get_args(ResetTiming),
        help="whether a reset acts in the step of its spike, or in the next one behind the leak, as snnTorch's does "
        "(default: what the file says, else same-step)",
    )
    p.add_argument("--backend", choices=BACKENDS, default=SimulationSettings().backend, help="Brian2 backend")
    p.add_argument("--record-v", action="store_true", help="keep the membranes too")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Read, simulate, write; the exit code."""
    check_new_file(arguments.out, "--out")
    settings = SimulationSettings(backend=arguments.backend)
    settings.check()
    shown = read_arrays(arguments.input)
    dt = None if arguments.dt is None else arguments.dt * 1e-3
    # How long the graph is shown is known only when its inputs are.
    network = open_nir(arguments.model, 1, dt, arguments.discretisation, arguments.reset, arguments.reset_timing)
    inputs, batched = match_inputs(network, shown, arguments.input)
    network = as_sequences(network, next(iter(inputs.values())).shape[1])
    populations = [*network.neurons.values()] if arguments.record_v else []
    responses = simulate(network.spec, inputs, settings, traces=[*populations, *network.outputs.values()])
    answers = named_answers(network, responses, arguments.record_v)
    write_arrays(arguments.out, {name: array if batched else array[0] for name, array in answers.items()})
    spikes = sum(int(array.sum()) for array in answers.values() if array.dtype == bool)
    count, spec = len(responses.logits), network.spec
    print(
        f"wrote {arguments.out}: {len(answers)} arrays, {spikes:,} spikes in {count} "
        f"presentation{'s' * (count > 1)} of {spec.steps} steps of {spec.dt * 1e3:.6g} ms"
    )
    return 0


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file (UserError where it is none)."""
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UserError(f"{path} is a single array; write an .npz with numpy.savez(path, input=...)")
        with file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"there is no file {path}: check the path") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is no readable .npz file ({reason}); write it with numpy.savez") from None


def match_inputs(
    network: NirNetwork, shown: Mapping[str, np.ndarray], path: Path
) -> tuple[dict[str, np.ndarray], bool]:
    """Every stimulus's array ``(batch, time, ...)``, and whether the file's had a batch axis."""
    nodes = list(network.inputs)
    names = {node: "input" if len(nodes) == 1 and node not in shown else node for node in nodes}
    if not set(names.values()) <= set(shown):
        wanted, held = (", ".join(f"'{name}'" for name in some) for some in (names.values(), shown))
        raise UserError(f"{path} holds {held or 'nothing'}; the graph takes {wanted}: name the arrays so")
    arrays = {node: shown[name] for node, name in names.items()}
    batched = {node: _check(node, array, network, path) for node, array in arrays.items()}
    if len(set(batched.values())) > 1:
        raise UserError(f"{path}: some inputs have a batch axis and some have none; give all of them one, or none")
    with_batch = {node: array if batched[node] else array[None] for node, array in arrays.items()}
    if len({array.shape[:2] for array in with_batch.values()}) > 1:
        listed = ", ".join(f"'{node}' {array.shape}" for node, array in arrays.items())
        raise UserError(f"{path}: the inputs differ in batch or time ({listed}); give all as many")
    return {network.inputs[n]: a.astype(np.float64) for n, a in with_batch.items()}, next(iter(batched.values()))


def _check(node: str, array: np.ndarray, network: NirNetwork, path: Path) -> bool:
    """Whether an input has a batch axis; UserError where it is not what the node takes."""
    shape = network.spec.shape(network.inputs[node])
    axes = ", ".join(map(str, shape))
    if array.dtype.kind not in "buif":
        raise UserError(f"{path}: the input '{node}' has the type {array.dtype}; write real numbers")
    if array.ndim - len(shape) not in (1, 2) or array.shape[array.ndim - len(shape) :] != shape:
        raise UserError(
            f"{path}: the input '{node}' has the shape {array.shape}; give it (time, {axes}) or (batch, time, {axes})"
        )
    if 0 in array.shape:
        raise UserError(f"{path}: the input '{node}' of shape {array.shape} is empty; give it at least one step")
    if not np.all(np.isfinite(array)):
        raise UserError(f"{path}: the input '{node}' holds values that are not finite; remove them")
    return array.ndim == len(shape) + 2


def named_answers(network: NirNetwork, responses: Responses, membranes: bool) -> dict[str, np.ndarray]:
    """What is written, by name: ``(batch, time, ...)``."""
    spec = network.spec
    found: dict[str, np.ndarray] = {}

    def add(name: str, values: np.ndarray, shape: Shape) -> None:
        if name in found:
            raise UserError(f"two arrays would be called '{name}'; rename the node '{name}' of the graph")
        found[name] = values.reshape(*values.shape[:2], *shape)

    for node, population in network.neurons.items():
        if spec.population(population).neuron.spiking:
            add(node, responses.spikes[population], spec.shape(population))
    if membranes:
        for node, population in network.neurons.items():
            add(f"v:{node}", responses.traces[population], spec.shape(population))
    for node, population in network.outputs.items():
        at_once = population == spec.readout.population
        values = responses.logits if at_once else responses.traces[population]
        if len(network.outputs) > 1 and node != "output":
            add(node, values, spec.shape(population))
        if node == "output" or (at_once and "output" not in network.outputs):
            add("output", values, spec.shape(population))
    return found


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz file, whole or not at all; numpy's own writer cannot take every name."""
    try:
        with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another folder") from None


if __name__ == "__main__":
    run_command(parser(), main)
