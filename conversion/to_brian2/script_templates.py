"""The text of an exported Brian2 script, with places for what differs from network to network."""

from __future__ import annotations

HEAD = '''"""A trained spiking network as a Brian2 model. Needs brian2 and numpy, and {numbers_text} beside this file.

    python {script} {options}images.npz answers.npz

images.npz holds {inputs}, normalised as the network was trained on{or_raw}.
answers.npz then holds `logits` {logits}, and for every layer the neurons and steps of its spikes:
`<layer>_image`, `<layer>_step`, `<layer>_neuron`.

Imported, it simulates nothing by itself: `run(images)` gives what answers.npz holds, `build(images)` the network and
its monitors{also}.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from brian2 import (
    Network, NeuronGroup, SpikeMonitor, StateMonitor, Synapses, TimedArray, {linked}prefs, second,
)

NUMBERS = np.load(Path(__file__).with_name({numbers!r}))
DT = {dt!r} * second
STEPS = {steps}  # of one presentation
PERIOD = {period}  # from one presentation to the next: longer where spikes are delayed
PRESENTATION = PERIOD * DT
# Of the outputs, in their order; empty where they are not known.
CLASS_NAMES = {class_names}
'''

NORMALISATION = '''
# Of the images that the network was trained on: pixels are divided by SCALE; then MEAN and STD of each channel.
SCALE = {scale!r}
MEAN = {mean!r}
STD = {std!r}


def normalise(raw):
    """Raw images (..., channels, height, width), such as bytes, as the network takes them."""
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))
    return ((np.asarray(raw, dtype=float) / SCALE - mean) / std).astype(np.float32)
'''

BUILD = '''

def give_numbers(owner):
    """Weights, biases and parameters of one object; the underscore gives a number without its unit."""
    for key in NUMBERS.files:
        name, variable = key.rsplit(":", 1)
        if name == owner.name and variable not in ("pre", "post"):
            value = NUMBERS[key]
            setattr(owner, variable + "_", value if value.ndim else float(value))


def connect(synapses):
    """One synapse per (pre, post) pair."""
    synapses.connect(i=NUMBERS[synapses.name + ":pre"], j=NUMBERS[synapses.name + ":post"])
    give_numbers(synapses)


def named(images):
    """Images by the names of their arrays; an array alone is of the first name."""
    return images if isinstance(images, Mapping) else {{{first!r}: np.asarray(images)}}


def as_stimulus(given):
    """What is shown of all pixels, one presentation after the other."""
{reading}


def build(images):
    """The network for these normalised images{by_name}, its monitors by layer, and what its answer is read from."""
    stimulus = as_stimulus(named(images))
    network = Network()

    # Within a time step: all states follow their equations (slot "groups"), then what is held comes in ("inputs"), then
    # delayed spikes arrive ("delayed"), then layer by layer the neuron's own update, threshold, synapses, reset: a
    # layer sees the spikes of the layer before it in the same step, as in PyTorch. Brian2's own slot names must stay.
    network.schedule = {schedule}

    # {held}
    pixels = NeuronGroup({pixels}, "x : 1", dt=DT, name="pixels", namespace={{"stimulus": stimulus}})
    pixels.run_regularly("x = stimulus(t, i)", dt={every}, when="start")
    network.add(pixels)
'''

READING = {
    "direct": """    parts = [np.asarray(given[name], dtype=float) for name in {names}]
    values = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    return TimedArray(values, dt=PRESENTATION)""",
    "sequence": """    parts = {{name: np.asarray(given[name], dtype=float) for name in {names}}}
    for name, part in parts.items():
        if part.shape[1:2] != (STEPS,):
            sys.exit(f"{{name}} has the shape {{part.shape}}; give (images, {{STEPS}} steps, ...)")
    values = np.concatenate([part.reshape(len(part), STEPS, -1) for part in parts.values()], axis=2)
    silence = np.zeros((len(values), PERIOD - STEPS, values.shape[2]))
    return TimedArray(np.concatenate([values, silence], axis=1).reshape(len(values) * PERIOD, -1), dt=DT)""",
}

MONITORS = """

monitors = {{layer.name: SpikeMonitor(layer, when="end") for layer in [{spiking}]}}
network.add(*monitors.values())
"""

ANSWER = """
# The readout's membrane in every step, taken {moment}.
answer = StateMonitor({readout}, "{membrane}", record=True, when="{slot}", dt=DT)
network.add(answer)
return network, monitors, answer
"""

ANSWER_IN_SPIKES = """
return network, monitors, {readout}
"""

TAIL = '''

def run(images):
    """The answers to normalised images{by_name}: logits and spikes, by the names that answers.npz has."""
    network, monitors, answer = build(images)
    count = len(named(images)[{first!r}])
    network.run(count * PERIOD * DT, namespace={{}})
    # Brian2 takes Ctrl-C for a wish to end early.
    if round(float(network.t / DT)) != count * PERIOD:
        sys.exit("the run ended before all of its steps were done; nothing is written")
    spikes = {{}}
    results = {{}}
    for name, monitor in monitors.items():
        image, step = np.divmod(np.rint(np.asarray(monitor.t / DT)).astype(int), PERIOD)
        neuron = np.asarray(monitor.i)
        spikes[name] = np.zeros((count, STEPS, len(monitor.source)))
        spikes[name][image, step, neuron] = 1
        results |= {{f"{{name}}_image": image, f"{{name}}_step": step, f"{{name}}_neuron": neuron}}
    values = {values}
    results["logits"] = {logits}
    return results


if __name__ == "__main__":
    prefs.codegen.target = "numpy"  # "cython" is faster and needs a C++ compiler
    {main}
    np.savez_compressed(sys.argv[-1], **results)
    print({told})
'''

PLAIN_MAIN = """results = run(dict(np.load(sys.argv[1])))"""
RAW_MAIN = """images = np.load(sys.argv[-2])["images"]
    results = run(normalise(images) if sys.argv[1] == "--raw" else images)"""
