"""Run any NIR graph in Brian2.

    alade-brian run-nir model.nir --input input.npz --out out.npz --record-v

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

import argparse
from pathlib import Path

from alade_brian.commands.options import OUT, add_nir_reading, add_simulation, simulation_settings
from alade_brian.conversion.nir_graphs.arrays import match_inputs, named_answers, read_arrays, write_arrays
from alade_brian.conversion.nir_graphs.read import as_sequences, open_nir
from alade_brian.outputs import check_new_file
from alade_brian.simulation import simulate


def parser(prog: str = "alade-brian run-nir") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=Path, metavar="MODEL.nir", help="a NIR graph")
    p.add_argument("--input", type=Path, required=True, metavar="INPUT.npz", help="input arrays")
    OUT.add(p, required=True, metavar="OUT.npz")
    p.add_argument("--record-v", action="store_true", help="record membranes too")
    add_nir_reading(p, reset="model")
    add_simulation(p, workers=1)
    return p


def main(arguments: argparse.Namespace) -> int:
    """Read, simulate, write; the exit code."""
    check_new_file(arguments.out, "--out")
    settings = simulation_settings(arguments)
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
