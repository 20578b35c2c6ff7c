"""NetworkSpec -> a Brian2 script that a person can read, run and change without this package."""

from __future__ import annotations

import dataclasses
import io
import keyword
import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from textwrap import indent

import numpy as np

from alade_brian.conversion.to_brian2 import script_templates as templates
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


@dataclass(frozen=True)
class Normalisation:
    """How images were brought to the form that a network was trained on: ``(raw / scale - mean) / std``; mean and std
    for each channel."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class TrainedOn:
    """What a specification does not hold of what its network was trained on.

    class_names     of the outputs, in their order; empty if they are not known
    normalisation   of the images; None if it is not known
    """

    class_names: tuple[str, ...] = ()
    normalisation: Normalisation | None = None


def write_script(spec: NetworkSpec, path: Path, trained_on: TrainedOn | None = None) -> Path:
    """Write ``path`` (a .py file) and its numbers beside it (the same name, .npz); returns the latter's path.

    The script presents one image after the other and gives the spikes of this package's own simulation; imported, it
    gives functions that do so.
    """
    numbers = path.with_suffix(".npz")
    text = script(spec, path.name, numbers.name, trained_on)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **_numbers(spec))  # type: ignore[arg-type]
    write_bytes(numbers, buffer.getvalue())
    write_text(path, text)
    return numbers


def script(
    spec: NetworkSpec, name: str = "model.py", numbers: str = "model.npz", trained_on: TrainedOn | None = None
) -> str:
    """The script's text. SpecError where synapses fail by chance, which no script can say by itself, or the number of
    class names is not that of the outputs."""
    require(all(p.release is None for p in spec.projections), "a script has no synapses that fail by chance")
    known = trained_on or TrainedOn()
    require(
        len(known.class_names) in (0, _outputs(spec)),
        f"there are {len(known.class_names)} class names, and the network has {_outputs(spec)} outputs",
    )
    texts = [group_text(spec, index) for index in range(len(spec.populations))]
    names = _variables(spec, [text.name for text in texts])
    parts = []
    for text, population in zip(texts, spec.populations, strict=True):
        parts.append(_group(text, names[population.name], population))
    for index, _ in live_projections(spec):
        parts.append(_projection(spec, index, names))
    body = "\n".join(part.strip("\n") + "\n" for part in [*parts, *_monitors(spec, names)])
    head, tail = _head(spec, name, numbers, known), _tail(spec, known)
    return f"{head}\n{indent(body, '    ')}\n\n{tail.strip()}\n"


def _variables(spec: NetworkSpec, groups: list[str]) -> dict[str, str]:
    """The script's variable for every population: its group's name, unless Python or the script uses that itself."""
    texts = [text for name, text in vars(templates).items() if name.isupper() and isinstance(text, str)]
    texts += templates.READING.values()
    reserved = {*keyword.kwlist, *re.findall(r"[A-Za-z_]\w*", " ".join(texts))}.union(*map(words, DECODINGS))
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


def _head(spec: NetworkSpec, name: str, numbers: str, known: TrainedOn) -> str:
    """Everything before the populations."""
    direct, stimuli, raw = spec.stimulus.coding == "direct", _named(spec), known.normalisation is not None
    axes = "n" if direct else "n, steps"
    inputs = " and ".join(f"`{_prose(s.name)}` of the shape ({axes}, {', '.join(map(str, s.shape))})" for s in stimuli)
    outputs = _outputs(spec)
    head = templates.HEAD.format(
        script=_prose(name),
        options="[--raw] " if raw else "",
        or_raw=", or raw with --raw" if raw else "",
        also=";\n`normalise(raw)` brings raw images into the form that both take" if raw else "",
        numbers=numbers,
        numbers_text=_prose(numbers),
        inputs=inputs,
        logits=f"(n, {outputs})" if not DECODINGS[spec.readout.decoding].by_step else f"(n, steps, {outputs})",
        dt=spec.dt,
        steps=spec.steps,
        period=period_steps(spec),
        class_names=list(known.class_names),
        linked="linked_var, " if _reads_windows(spec) else "",
    )
    names, every = [s.name for s in stimuli], "PRESENTATION" if direct else "DT"
    build = templates.BUILD.format(
        first=names[0],
        reading=templates.READING["direct" if direct else "sequence"].format(names=names),
        by_name=_by_name(spec),
        schedule=indent(_list(schedule(spec)), "    ").lstrip(),
        held="The image: its values are held for a whole presentation." if direct else "The input of every step.",
        pixels=sum(s.size for s in stimuli),
        every=every,
    )
    if known.normalisation is None:
        return head + build
    how = known.normalisation
    return head + templates.NORMALISATION.format(scale=how.scale, mean=list(how.mean), std=list(how.std)) + build


def _outputs(spec: NetworkSpec) -> int:
    return spec.population(spec.readout.population).size // spec.readout.neurons_per_output


def _by_name(spec: NetworkSpec) -> str:
    """Where there are several inputs, how they are given."""
    return ", by the names above" if len(spec.stimuli) > 1 else ""


def _named(spec: NetworkSpec) -> tuple[Stimulus, ...]:
    """The stimuli under the names that the script reads; a single one is called `images`."""
    return spec.stimuli if len(spec.stimuli) > 1 else (dataclasses.replace(spec.stimulus, name="images"),)


def _monitors(spec: NetworkSpec, names: dict[str, str]) -> list[str]:
    """What records the spikes and the answer."""
    readout, population = spec.readout, spec.population(spec.readout.population)
    monitors = templates.MONITORS.format(spiking=", ".join(names[p.name] for p in spec.spiking))
    if spec.answers_in_spikes:
        return [monitors, templates.ANSWER_IN_SPIKES.format(readout=names[population.name])]
    moment = "behind the reset" if readout.sampled == "after_reset" else "before the reset"
    return [
        monitors,
        templates.ANSWER.format(
            readout=names[population.name], membrane=population.neuron.membrane, slot=readout_slot(spec), moment=moment
        ),
    ]


def _tail(spec: NetworkSpec, known: TrainedOn) -> str:
    """The run, and the program."""
    readout, population = spec.readout, spec.population(spec.readout.population)
    decoding = DECODINGS[readout.decoding]
    if not spec.answers_in_spikes:
        values = f"np.asarray(answer.{population.neuron.membrane}).T.reshape(count, PERIOD, -1)[:, :STEPS]"
    elif "amplitude" in population.neuron.parameters:
        values = "spikes[answer.name] * np.asarray(answer.amplitude_)" + " != 0" * (decoding.reads == "firing")
    else:
        values = "spikes[answer.name]"
    logits = expression(readout.decoding, "STEPS")
    if readout.neurons_per_output > 1:
        logits = f"({logits}).reshape(*({logits}).shape[:-1], -1, {readout.neurons_per_output}).{decoding.group}(-1)"
    elif decoding.note:
        logits += f"  # {decoding.note}"
    told = 'results["logits"]'
    if readout.decision == "class":
        told = '"predictions:", results["logits"].argmax(-1)'
        if known.class_names:
            told = '"predictions:", [CLASS_NAMES[k] for k in results["logits"].argmax(-1).ravel()]'
    return templates.TAIL.format(
        values=values, logits=logits, told=told, by_name=_by_name(spec), first=_named(spec)[0].name,
        main=templates.PLAIN_MAIN if known.normalisation is None else templates.RAW_MAIN,
    )  # fmt: skip


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
