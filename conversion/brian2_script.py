"""NetworkSpec -> a Brian2 script that a person can read, run and change without this package."""

from __future__ import annotations

import io
from math import prod
from pathlib import Path

import numpy as np

from alade_brian.conversion.brian2_text import (
    GroupText,
    current_text,
    group_text,
    is_held,
    network_values,
    period_steps,
    projection_name,
    schedule,
    synapses_text,
)
from alade_brian.conversion.connectivity import projection_synapses
from alade_brian.conversion.spec import NetworkSpec, NeuronEquations
from alade_brian.files import write_bytes, write_text

_HEAD = '''"""A trained spiking network as a Brian2 model. Needs brian2 and numpy, and {numbers} beside this file.

    python {script} images.npz answers.npz

images.npz holds `images` of the shape (n, {shape}), normalised as the network was trained on.
answers.npz then holds `logits` (n, {classes}), and for every layer the neurons and steps of its spikes:
`<layer>_image`, `<layer>_step`, `<layer>_neuron`.
"""

import sys
from pathlib import Path

import numpy as np
from brian2 import (
    Network, NeuronGroup, SpikeMonitor, StateMonitor, Synapses, TimedArray, prefs, second,
)

prefs.codegen.target = "numpy"  # "cython" is faster and needs a C++ compiler

NUMBERS = np.load(Path(__file__).with_name("{numbers}"))
DT = {dt!r} * second
STEPS = {steps}  # of one presentation
PERIOD = {period}  # from one presentation to the next: longer where spikes are delayed
PRESENTATION = PERIOD * DT


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


images = np.load(sys.argv[1])["images"].astype(float)
stimulus = TimedArray(images.reshape(len(images), -1), dt=PRESENTATION)
network = Network()

# Within a time step: all states follow their equations (slot "groups"), then held input is added ("inputs"), then
# delayed spikes arrive ("delayed"), then layer by layer threshold, synapses, reset: a layer sees the spikes of the
# layer before it in the same step, as in PyTorch. Brian2's own slot names must stay in the list.
network.schedule = {schedule}

# The image: its values are held for a whole presentation.
pixels = NeuronGroup({pixels}, "x : 1", dt=DT, name="pixels")
pixels.run_regularly("x = stimulus(t, i)", dt=PRESENTATION, when="start")
network.add(pixels)
'''

_TAIL = """

# The answer is recorded where a presentation begins, before the reset: what the one before it left.
answer = StateMonitor({readout}, "{membrane}", record=True, dt=PRESENTATION, when="before_start")
monitors = {{layer.name: SpikeMonitor(layer, when="end") for layer in [{spiking}]}}
network.add(answer, *monitors.values())

if __name__ == "__main__":
    # One step more than the presentations, in which the last answer is recorded.
    network.run((len(images) * PERIOD + 1) * DT)
    results = {{"logits": answer.{membrane}[:, 1:].T / STEPS}}  # mean over the steps
    for name, monitor in monitors.items():
        presentation, step = np.divmod(np.rint(np.asarray(monitor.t / DT)).astype(int), PERIOD)
        real = presentation < len(images)
        results[name + "_image"] = presentation[real]
        results[name + "_step"] = step[real]
        results[name + "_neuron"] = np.asarray(monitor.i)[real]
    np.savez_compressed(sys.argv[2], **results)
    print("predictions:", results["logits"].argmax(1))
"""


def write_script(spec: NetworkSpec, path: Path) -> Path:
    """Write ``path`` (a .py file) and its numbers beside it (the same name, .npz); returns the latter's path.

    The script presents one image after the other and gives the spikes of this package's own simulation.
    """
    numbers = path.with_suffix(".npz")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **_numbers(spec))  # type: ignore[arg-type]
    write_bytes(numbers, buffer.getvalue())
    write_text(path, script(spec, path.name, numbers.name))
    return numbers


def script(spec: NetworkSpec, name: str = "model.py", numbers: str = "model.npz") -> str:
    """The script's text."""
    readout = spec.population(spec.readout.population)
    texts = [group_text(spec, index) for index in range(len(spec.populations))]
    names = {population.name: text.name for population, text in zip(spec.populations, texts, strict=True)}
    head = _HEAD.format(
        script=name,
        numbers=numbers,
        shape=", ".join(map(str, spec.stimulus.shape)),
        classes=readout.size,
        dt=spec.dt,
        steps=spec.steps,
        period=period_steps(spec),
        schedule=_list(schedule(spec)),
        pixels=prod(spec.stimulus.shape),
    )
    parts = [head]
    for text, population in zip(texts, spec.populations, strict=True):
        parts.append(_group(text, population.size, f"{population.name}, shape {population.shape}", population.neuron))
    for index in range(len(spec.projections)):
        parts.append(_projection(spec, index, names))
    spiking = ", ".join(names[p.name] for p in spec.spiking)
    parts.append(_TAIL.format(readout=names[readout.name], membrane=readout.neuron.membrane, spiking=spiking))
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _numbers(spec: NetworkSpec) -> dict[str, np.ndarray]:
    arrays = {f"{owner}:{variable}": array for (owner, variable), array in network_values(spec).items()}
    for index, projection in enumerate(spec.projections):
        found = projection_synapses(spec, projection)
        arrays[f"{projection_name(spec, index)}:pre"] = found.pre.astype(np.int32)
        arrays[f"{projection_name(spec, index)}:post"] = found.post.astype(np.int32)
    return arrays


def _group(text: GroupText, size: int, title: str, neuron: NeuronEquations) -> str:
    lines = ["", f"# {title}", f"# {_conventions(neuron)}", f"{text.name} = NeuronGroup(", f"    {size},", '    """']
    lines += [f"    {line}" for line in text.equations.splitlines()] + ['    """,']
    if text.threshold is not None:
        lines.append(f"    threshold={text.threshold!r},")
        lines.append(f"    reset={text.reset!r},")
    lines += ['    method="exact",', "    dt=DT,", f'    name="{text.name}",', ")"]
    if text.threshold is not None:
        lines.append(f'{text.name}.thresholder["spike"].when = "{text.threshold_slot}"')
        lines.append(f'{text.name}.resetter["spike"].when = "{text.reset_slot}"')
    if text.input:
        lines.append(f'{text.name}.run_regularly({text.input!r}, when="inputs")')
    lines.append(f'{text.name}.run_regularly({text.rest!r}, dt=PRESENTATION, when="start")  # begins at rest')
    return "\n".join([*lines, f"give_numbers({text.name})", f"network.add({text.name})"])


def _conventions(neuron: NeuronEquations) -> str:
    if not neuron.spiking:
        return "Adds up its input; never spikes."
    resets = {"value": "to v_reset", "subtract": "by subtraction of v_reset", "none": "none"}
    order = (
        "the leak acts on what the reset left"
        if neuron.leak == "after_reset"
        else "the reset acts behind the next leak"
    )
    return f"Fires where v {neuron.comparison} v_threshold; reset {resets[neuron.reset]}; {order}."


def _projection(spec: NetworkSpec, index: int, names: dict[str, str]) -> str:
    projection = spec.projections[index]
    kind = type(projection.operator).__name__.lower()
    title = f"# {projection.name}: {kind}"
    if is_held(spec, projection):
        name, target = projection_name(spec, index), names[projection.target]
        return "\n".join(
            [
                "",
                f"{title} of the image, summed once per presentation and held",
                f'{name} = Synapses(pixels, {target}, {current_text(index)!r}, dt=PRESENTATION, name="{name}")',
                f"connect({name})",
                f"network.add({name})",
            ]
        )
    text = synapses_text(spec, index)
    late = f", {projection.delay} step(s) late" if projection.delay else ", in the step of the spike"
    return "\n".join(
        [
            "",
            title + late,
            f"{text.name} = Synapses(",
            f'    {names[projection.source]}, {names[projection.target]}, "w : 1 (constant)",',
            f'    on_pre="{text.on_pre}", delay={text.delay} * DT, dt=DT, name="{text.name}",',
            ")",
            f'{text.name}.pre.when = "{text.slot}"',
            f"connect({text.name})",
            f"network.add({text.name})",
        ]
    )


def _list(names: list[str]) -> str:
    """A list over several lines, three layers' worth a line."""
    rows = [names[k : k + 6] for k in range(0, len(names), 6)]
    return "[\n" + "".join("    " + ", ".join(f'"{n}"' for n in row) + ",\n" for row in rows) + "]"
