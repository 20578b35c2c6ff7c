"""NetworkSpec -> a Brian2 script that a person can read, run and change without this package."""

from __future__ import annotations

import dataclasses
import io
import keyword
import re
from itertools import count
from pathlib import Path

import numpy as np

from alade_brian.conversion.to_brian2.text import (
    GroupText,
    group_text,
    maximum_places,
    maximum_text,
    network_values,
    projection_name,
    readout_slot,
    schedule,
    synapses_text,
)
from alade_brian.files import write_bytes, write_text
from alade_brian.spec import DECODINGS, NetworkSpec, NeuronEquations, Population, Stimulus
from alade_brian.spec.errors import require
from alade_brian.spec.presentation import period_steps, pixel_offset
from alade_brian.spec.readouts import expression, words
from alade_brian.spec.synapses import live_projections, projection_synapses, weighted_projections

_HEAD = '''"""A trained spiking network as a Brian2 model. Needs brian2 and numpy, and {numbers_text} beside this file.

    python {script} images.npz answers.npz

images.npz holds {inputs}, normalised as the network was trained on.
answers.npz then holds `logits` {logits}, and for every layer the neurons and steps of its spikes:
`<layer>_image`, `<layer>_step`, `<layer>_neuron`.
"""

import sys
from pathlib import Path

import numpy as np
from brian2 import (
    Network, NeuronGroup, SpikeMonitor, StateMonitor, Synapses, TimedArray, {linked}prefs, second,
)

prefs.codegen.target = "numpy"  # "cython" is faster and needs a C++ compiler

NUMBERS = np.load(Path(__file__).with_name({numbers!r}))
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


{reading}
network = Network()

# Within a time step: all states follow their equations (slot "groups"), then what is held comes in ("inputs"), then
# delayed spikes arrive ("delayed"), then layer by layer the neuron's own update, threshold, synapses, reset: a layer
# sees the spikes of the layer before it in the same step, as in PyTorch. Brian2's own slot names must stay in the list.
network.schedule = {schedule}

# {shown}
pixels = NeuronGroup({pixels}, "x : 1", dt=DT, name="pixels")
pixels.run_regularly("x = stimulus(t, i)", dt={every}, when="start")
network.add(pixels)
'''

_READING = {
    "direct": """given = np.load(sys.argv[1])
images = np.concatenate([given[name].reshape(len(given[name]), -1) for name in {names}], axis=1).astype(float)
stimulus = TimedArray(images, dt=PRESENTATION)""",
    "sequence": """given = np.load(sys.argv[1])
for name in {names}:
    if given[name].shape[1:2] != (STEPS,):
        sys.exit(f"{{name}} has the shape {{given[name].shape}}; give (images, {{STEPS}} steps, ...)")
images = np.concatenate([given[name].reshape(len(given[name]), STEPS, -1) for name in {names}], axis=2).astype(float)
silence = np.zeros((len(images), PERIOD - STEPS, images.shape[2]))
stimulus = TimedArray(np.concatenate([images, silence], axis=1).reshape(len(images) * PERIOD, -1), dt=DT)""",
}

_MONITORS = """

monitors = {{layer.name: SpikeMonitor(layer, when="end") for layer in [{spiking}]}}
network.add(*monitors.values())
"""

_ANSWER = """
# The readout's membrane in every step, taken {moment}.
answer = StateMonitor({readout}, "{membrane}", record=True, when="{slot}", dt=DT)
network.add(answer)
"""

_TAIL = """
if __name__ == "__main__":
    network.run(len(images) * PERIOD * DT)
    # Brian2 takes Ctrl-C for a wish to end early.
    if round(float(network.t / DT)) != len(images) * PERIOD:
        sys.exit("the run ended before all of its steps were done; nothing is written")
    spikes = {{}}
    results = {{}}
    for name, monitor in monitors.items():
        image, step = np.divmod(np.rint(np.asarray(monitor.t / DT)).astype(int), PERIOD)
        neuron = np.asarray(monitor.i)
        spikes[name] = np.zeros((len(images), STEPS, len(monitor.source)))
        spikes[name][image, step, neuron] = 1
        results |= {{f"{{name}}_image": image, f"{{name}}_step": step, f"{{name}}_neuron": neuron}}
    values = {values}
    results["logits"] = {logits}
    np.savez_compressed(sys.argv[2], **results)
    print({told})
"""


def write_script(spec: NetworkSpec, path: Path) -> Path:
    """Write ``path`` (a .py file) and its numbers beside it (the same name, .npz); returns the latter's path.

    The script presents one image after the other and gives the spikes of this package's own simulation.
    """
    numbers = path.with_suffix(".npz")
    text = script(spec, path.name, numbers.name)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **_numbers(spec))  # type: ignore[arg-type]
    write_bytes(numbers, buffer.getvalue())
    write_text(path, text)
    return numbers


def script(spec: NetworkSpec, name: str = "model.py", numbers: str = "model.npz") -> str:
    """The script's text. SpecError where synapses fail by chance, which no script can say by itself."""
    require(all(p.release is None for p in spec.projections), "a script has no synapses that fail by chance")
    texts = [group_text(spec, index) for index in range(len(spec.populations))]
    names = _variables(spec, [text.name for text in texts])
    parts = [_head(spec, name, numbers)]
    for text, population in zip(texts, spec.populations, strict=True):
        parts.append(_group(text, names[population.name], population))
    for index, _ in live_projections(spec):
        parts.append(_projection(spec, index, names))
    return "\n".join(part.strip("\n") + "\n" for part in [*parts, *_tail(spec, names)])


def _variables(spec: NetworkSpec, groups: list[str]) -> dict[str, str]:
    """The script's variable for every population: its group's name, unless Python or the script uses that itself."""
    templates = [_HEAD, *_READING.values(), _MONITORS, _ANSWER, _TAIL]
    reserved = {*keyword.kwlist, *re.findall(r"[A-Za-z_]\w*", " ".join(templates))}.union(*map(words, DECODINGS))
    reserved |= {projection_name(spec, index) for index in range(len(spec.projections))}
    if _reads_windows(spec):
        reserved |= {"linked_var", "place", "read"}
    taken, names = {*reserved, *groups}, {}
    for population, group in zip(spec.populations, groups, strict=True):
        name = group
        if group in reserved:
            name = next(n for n in (f"{group}_{k}" for k in count(2)) if n not in taken)
        taken.add(name)
        names[population.name] = name
    return names


def _prose(text: str) -> str:
    """Text from outside for a comment or a docstring: nothing in it ends either of them or is an escape."""
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return plain.replace("\\", "\\\\").replace('"', "'")


def _head(spec: NetworkSpec, name: str, numbers: str) -> str:
    direct = spec.stimulus.coding == "direct"
    axes = "n" if direct else "n, steps"
    inputs = " and ".join(
        f"`{_prose(s.name)}` of the shape ({axes}, {', '.join(map(str, s.shape))})" for s in _named(spec)
    )
    outputs = spec.population(spec.readout.population).size // spec.readout.neurons_per_output
    return _HEAD.format(
        script=_prose(name),
        numbers=numbers,
        numbers_text=_prose(numbers),
        inputs=inputs,
        logits=f"(n, {outputs})" if not DECODINGS[spec.readout.decoding].by_step else f"(n, steps, {outputs})",
        dt=spec.dt,
        steps=spec.steps,
        period=period_steps(spec),
        reading=_READING["direct" if direct else "sequence"].format(names=[s.name for s in _named(spec)]),
        schedule=_list(schedule(spec)),
        shown="The image: its values are held for a whole presentation." if direct else "The input of every step.",
        pixels=sum(s.size for s in spec.stimuli),
        every="PRESENTATION" if direct else "DT",
        linked="linked_var, " if _reads_windows(spec) else "",
    )


def _named(spec: NetworkSpec) -> tuple[Stimulus, ...]:
    """The stimuli under the names that the script reads; a single one is called `images`."""
    return spec.stimuli if len(spec.stimuli) > 1 else (dataclasses.replace(spec.stimulus, name="images"),)


def _tail(spec: NetworkSpec, names: dict[str, str]) -> list[str]:
    readout, population = spec.readout, spec.population(spec.readout.population)
    name, membrane = names[population.name], population.neuron.membrane
    decoding = DECODINGS[readout.decoding]
    parts = [_MONITORS.format(spiking=", ".join(names[p.name] for p in spec.spiking))]
    values = f"spikes[{name}.name]"
    if spec.answers_in_spikes and "amplitude" in population.neuron.parameters:
        values += f" * np.asarray({name}.amplitude_)"
        values += " != 0" * (decoding.reads == "firing")
    if not spec.answers_in_spikes:
        moment = "behind the reset" if readout.sampled == "after_reset" else "before the reset"
        parts.append(_ANSWER.format(readout=name, membrane=membrane, slot=readout_slot(spec), moment=moment))
        values = f"np.asarray(answer.{membrane}).T.reshape(len(images), PERIOD, -1)[:, :STEPS]"
    logits = expression(readout.decoding, "STEPS")
    if readout.neurons_per_output > 1:
        logits = f"({logits}).reshape(*({logits}).shape[:-1], -1, {readout.neurons_per_output}).{decoding.group}(-1)"
    elif decoding.note:
        logits += f"  # {decoding.note}"
    told = '"predictions:", results["logits"].argmax(-1)' if readout.decision == "class" else 'results["logits"]'
    return [*parts, _TAIL.format(values=values, logits=logits, told=told)]


def _numbers(spec: NetworkSpec) -> dict[str, np.ndarray]:
    arrays = {f"{owner}:{variable}": array for (owner, variable), array in network_values(spec).items()}
    for index, projection in weighted_projections(spec):
        found, first = projection_synapses(spec, projection), pixel_offset(spec, projection.source)
        arrays[f"{projection_name(spec, index)}:pre"] = (found.pre + first).astype(np.int32)
        arrays[f"{projection_name(spec, index)}:post"] = found.post.astype(np.int32)
    for index, projection in enumerate(spec.projections):
        if not projection.operator.linear:
            arrays[f"{projection_name(spec, index)}:places"] = maximum_places(spec, index)
    return arrays


def _group(text: GroupText, name: str, population: Population) -> str:
    """The code of a population whose group the script calls `name`."""
    title = _prose(f"{population.name}, shape {population.shape}")
    lines = ["", f"# {title}", f"# {_prose(_conventions(population.neuron))}", f"{name} = NeuronGroup("]
    lines += [f"    {population.size},", '    """']
    lines += [f"    {line}" for line in text.equations.splitlines()] + ['    """,']
    if text.threshold is not None:
        lines.append(f"    threshold={text.threshold!r},")
        lines.append(f"    reset={text.reset!r},")
    lines += [f'    method="{text.method}",', "    dt=DT,", f'    name="{text.name}",', ")"]
    if text.threshold is not None:
        lines.append(f'{name}.thresholder["spike"].when = "{text.slots.threshold}"')
        if text.reset:
            lines.append(f'{name}.resetter["spike"].when = "{text.slots.reset}"')
    if text.input:
        lines.append(f'{name}.run_regularly({text.input!r}, when="inputs", dt=DT)')
    if text.update:
        lines.append(f'{name}.run_regularly({text.update!r}, when="{text.slots.update}", dt=DT)')
    lines.append(f'{name}.run_regularly({text.rest!r}, dt=PRESENTATION, when="start")  # begins at rest')
    return "\n".join([*lines, f"give_numbers({name})", f"network.add({name})"])


def _conventions(neuron: NeuronEquations) -> str:
    if not neuron.spiking:
        return f"Never spikes; {neuron.membrane} is what it passes on. Input arrives in {neuron.input_variable}."
    resets = {"value": "to v_reset", "subtract": "by subtraction of v_reset", "none": "none"}
    order = (
        "the leak acts on what the reset left"
        if neuron.leak == "after_reset"
        else "the reset acts behind the next leak"
    )
    return (
        f"Fires where {neuron.membrane} {neuron.comparison} {neuron.threshold}; reset {resets[neuron.reset]}; {order}; "
        f"input arrives in {neuron.input_variable}."
    )


def _projection(spec: NetworkSpec, index: int, names: dict[str, str]) -> str:
    if not spec.projections[index].operator.linear:
        return _maximum(spec, index, names)
    projection, text = spec.projections[index], synapses_text(spec, index)
    source = "pixels" if spec.is_stimulus(projection.source) else names[projection.source]
    target = names[projection.target]
    title = f"# {_prose(projection.name)}: {type(projection.operator).__name__.lower()}"
    every = "PRESENTATION" if text.held else "DT"
    head = f'{text.name} = Synapses(\n    {source}, {target},\n    """{_indented(text.equations)}""",'
    if text.current:
        title += " of the image, summed once per presentation and held" if text.held else ", a current in every step"
        lines = [head, f'    dt={every}, name="{text.name}",', ")"]
        lines.append(f'{text.name}.summed_updaters["{text.current}"].when = "{text.slot}"')
    else:
        title += f", {projection.delay} step(s) late" if projection.delay else ", in the step of the spike"
        lines = [head, f'    on_pre="{text.on_pre}", delay={text.delay} * DT, dt=DT, name="{text.name}",', ")"]
        lines.append(f'{text.name}.pre.when = "{text.slot}"')
    return "\n".join(["", title, *lines, f"connect({text.name})", f"network.add({text.name})"])


def _reads_windows(spec: NetworkSpec) -> bool:
    """Whether a population takes the largest values of windows."""
    return not all(p.operator.linear for p in spec.projections)


def _maximum(spec: NetworkSpec, index: int, names: dict[str, str]) -> str:
    """The code of a group that gives a population the largest value of every window of another one."""
    projection, text = spec.projections[index], maximum_text(spec, index)
    source, target = names[projection.source], names[projection.target]
    title = f"# {_prose(projection.name)}: the largest value of every window, a current in every step"
    head = f'{text.name} = NeuronGroup(\n    len({target}),\n    """\n    {_indented(text.equations)}\n    """,'
    return "\n".join([
        "", title, head, f'    dt=DT, name="{text.name}",', ")",
        f'for place, read in enumerate(NUMBERS["{text.name}:places"]):',
        f'    setattr({text.name}, f"place_{{place}}", linked_var({source}, "{text.variable}", index=read))',
        f'{text.name}.largest = linked_var({target}, "{text.written}")',
        f'{text.name}.run_regularly("{text.code}", when="{text.slot}", dt=DT)',
        f"network.add({text.name})",
    ])  # fmt: skip


def _indented(equations: str) -> str:
    return equations.replace("\n", "\n    ")


def _list(names: list[str]) -> str:
    """A list over several lines, two layers' worth a line."""
    rows = [names[k : k + 8] for k in range(0, len(names), 8)]
    return "[\n" + "".join("    " + ", ".join(f'"{n}"' for n in row) + ",\n" for row in rows) + "]"
