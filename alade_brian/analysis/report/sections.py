"""The report's sections as HTML: verdict, headline numbers and tables, from the contents of metrics.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from alade_brian.analysis.metrics.incremental import average_incremental_accuracy
from alade_brian.analysis.metrics.verdict import agrees, differs, doubts
from alade_brian.analysis.report import html
from alade_brian.analysis.report.naming import Naming
from alade_brian.analysis.statistics.summary import STATISTICS, Statistic

Metrics = Mapping[str, Any]

NO_EPOCHS = "This run recorded nothing of its training epochs."
_PARTS = ("train", "build", "simulate")


def title(metrics: Metrics) -> str:
    """Method and dataset, as far as they are known."""
    method, dataset = metrics.get("method"), metrics.get("dataset")
    return " on ".join(str(name) for name in (method, dataset) if name) or "class-incremental run"


def progress(metrics: Metrics, content: str) -> str:
    """How far the run got, and over what; `content`: what was learnt, in a few words."""
    done, planned = len(metrics["tasks"]), metrics.get("tasks_planned") or len(metrics["tasks"])
    last = metrics["tasks"][-1]
    how = f"All {planned} tasks" if done >= planned > 1 else f"{done} of {planned} task{'s' if planned > 1 else ''}"
    unfinished = "" if done >= planned else " The run is unfinished; averages are over the finished tasks."
    kind = Naming.of(metrics).kind
    return f"{how} learnt: {content}, evaluated on {last['images']:,} {kind} images at the end.{unfinished}"


def verdict(metrics: Metrics, answer: str) -> str:
    """Whether the simulated network does what the trained one does, in one sentence, and where it first departs.

    `answer`: what an answer of the network is called, such as "prediction".
    """
    compared, wrong = _total(metrics, "spikes_compared"), _total(metrics, "mismatched_spikes")
    if agrees(metrics):
        return html.verdict_box(
            True,
            "Agreement",
            f"The Brian2 network spikes exactly as the trained PyTorch network: all {compared:,} entries (image, step,"
            f" neuron) that were compared are the same, and so is every {answer}.",
        )
    if not differs(metrics):
        return html.verdict_box(False, "Agreement not shown", f"{_sentences(doubts(metrics))}.")
    sentence = (
        f"The Brian2 network departs from the trained PyTorch network: in {wrong:,} of {compared:,} compared entries"
        " (image, step, neuron) exactly one of them spikes, and"
        f" {html.percent(agreement(metrics))} of the {answer}s are the same."
    )
    details = [*_first_divergence(metrics), *(f"{_sentences([doubt])}." for doubt in doubts(metrics))]
    return html.verdict_box(False, "No agreement", sentence, details)


def _sentences(doubts: Sequence[str]) -> str:
    return "; ".join(doubts)[:1].upper() + "; ".join(doubts)[1:]


def headline(
    metrics: Metrics, scores: Sequence[tuple[str, str, str]], agreement: Sequence[tuple[str, str, str]]
) -> str:
    """The tiles: `scores` of both networks, spikes, `agreement` of their answers, time."""
    parts = (*_PARTS, "compare")
    seconds = {part: sum(task["seconds"].get(part, 0.0) for task in metrics["tasks"]) for part in parts}
    split = ", ".join(f"{part} {html.duration(value)}" for part, value in seconds.items())
    wrong, compared = _total(metrics, "mismatched_spikes"), _total(metrics, "spikes_compared")
    return html.tiles(
        [
            *scores,
            ("Mismatched spikes", f"{wrong:,}", f"of {compared:,} entries compared"),
            *agreement,
            ("Total time", html.duration(sum(seconds.values())), split),
        ]
    )


def summary_table(metrics: Metrics) -> str:
    """Last accuracy, forgetting and backward transfer of both networks."""
    rows = [
        ["Average incremental accuracy", *(html.percent(average(metrics, name)) for name in ("torch", "brian2"))],
        ["Last accuracy", *(html.percent(metrics["tasks"][-1][f"accuracy_{name}"]) for name in ("torch", "brian2"))],
    ]
    for name, key in (("Forgetting", "forgetting"), ("Backward transfer", "backward_transfer")):
        rows.append([name, *(html.percent(metrics.get(f"{key}_{network}")) for network in ("torch", "brian2"))])
    caption = (
        "Forgetting: mean over all tasks but the last of the best accuracy before the end minus the accuracy at the"
        " end. Backward transfer: mean over the same tasks of the accuracy at the end minus that when learnt."
        " Both in percentage points."
    )
    return html.table(["", "PyTorch", "Brian2"], rows, caption)


def task_table(metrics: Metrics) -> str:
    """One row per task: its classes, and accuracies after it."""
    naming, seen = Naming.of(metrics), [0, *(task["classes_seen"] for task in metrics["tasks"])]
    columns = ["Task", "Its classes", "Classes seen", "Images", "PyTorch", "Brian2", "Same answer"]
    rows = [
        [
            str(task["task"]),
            ", ".join(naming.names(range(*ends))),
            html.number(task["classes_seen"]),
            html.number(task["images"]),
            html.percent(task["accuracy_torch"]),
            html.percent(task["accuracy_brian2"]),
            html.percent(task["prediction_agreement"]),
        ]
        for task, ends in zip(metrics["tasks"], pairwise(seen), strict=True)
    ]
    caption = (
        f"After each task: accuracy on the {naming.kind} images of all classes seen, share of equal answers. Classes"
        " stand in the order in which they were learnt."
    )
    return html.table(columns, rows, caption, text=2)


def comparison_table(metrics: Metrics) -> str:
    """One row per task: how far both networks are the same, and the time it took."""
    columns = ["Task", "Logit difference", "Entries compared", "Mismatched", "Train", "Build", "Simulate"]
    rows = [
        [
            str(task["task"]),
            html.number(task["logit_max_abs_difference"]),
            html.number(task["spikes_compared"]),
            html.number(task["mismatched_spikes"]),
            *(html.duration(task["seconds"].get(part)) for part in _PARTS),
        ]
        for task in metrics["tasks"]
    ]
    caption = (
        "After each task: largest absolute difference of a logit, spikes that occur in only one network, wall-clock"
        " time."
    )
    return html.table(columns, rows, caption, alarm="Mismatched")


def layer_table(metrics: Metrics) -> str:
    """One row per layer of the last task's network."""
    task = metrics["tasks"][-1]
    shown = _statistics("layers", task["layers"])
    columns = ["Layer", "Neurons", "Spikes PyTorch", "Spikes Brian2", "Mismatched", *(s.title for s in shown)]
    rows = [
        [
            str(layer["name"]),
            *(html.number(layer[key]) for key in ("neurons", "spikes_torch", "spikes_brian2", "mismatched_spikes")),
            *(_cell(statistic, layer) for statistic in shown),
        ]
        for layer in task["layers"]
    ]
    caption = (
        f"Layers after task {task['task']}, over {task['images']:,} {Naming.of(metrics).kind} images; statistics"
        f" of Brian2's spikes."
        f" {_captions(shown)}"
    )
    return html.table(columns, rows, caption, alarm="Mismatched")


def response_table(metrics: Metrics) -> str:
    """One row per layer of the last task's network, of its responses' statistics; empty if none is known."""
    task = metrics["tasks"][-1]
    shown = _statistics("responses", task["layers"])
    known = [layer for layer in task["layers"] if any(statistic.key in layer for statistic in shown)]
    if not known:
        return ""
    rows = [[str(layer["name"]), *(_cell(statistic, layer) for statistic in shown)] for layer in known]
    images = f"{task['images']:,} {Naming.of(metrics).kind} images"
    caption = f"Brian2's spikes after task {task['task']}, over {images}. {_captions(shown)}"
    return html.table(["Layer", *(s.title for s in shown)], rows, caption)


def _statistics(table: str, layers: Sequence[Mapping[str, Any]]) -> list[Statistic]:
    """Those of a table; of classes only if the images had some."""
    every = [statistic for statistic in STATISTICS.values() if statistic.table == table]
    return [each for each in every if not each.of_classes or any(each.key in layer for layer in layers)]


def _cell(statistic: Statistic, layer: Mapping[str, Any]) -> str:
    value = layer.get(statistic.key)
    return html.percent(value) if statistic.percent else html.number(value)


def _captions(shown: list[Statistic]) -> str:
    return " ".join(statistic.caption for statistic in shown if statistic.caption)


def training(has_epochs: bool, has_gap: bool) -> str:
    """What the figure of training is read for, by what was recorded."""
    if not has_epochs:
        return NO_EPOCHS
    if not has_gap:
        return (
            "No gap between the logits of old and new classes was measured: only one task has been learnt, or the"
            " method keeps no images of old classes."
        )
    return (
        "Classes with many training images get larger logits than old ones of which few exemplars are left: the gap is"
        " then above zero, the rows of new classes in the classifier are longer, and answers lean towards new classes."
        " A method that aligns logits adds gamma to the new classes' logits while it trains, so that the classifier"
        " itself learns smaller ones; gamma is not there at test time."
    )


def energy_sentence(metrics: Metrics) -> str | None:
    """The estimate of energy and what it rests on; None when there is none."""
    energy = metrics.get("energy") or {}
    if energy.get("joule_per_image") is None:
        return None
    sentence = f"Estimated energy: {html.number(energy['joule_per_image'])} J per image"
    if energy.get("synaptic_events_per_image") is not None:
        sentence += f", from {html.number(energy['synaptic_events_per_image'], 6)} synaptic events per image"
    if energy.get("joule_per_synaptic_event") is not None:
        sentence += f" at {html.number(energy['joule_per_synaptic_event'])} J each"
    if energy.get("macs_per_image") is not None:
        sentence += (
            f" and {html.number(energy['macs_per_image'])} multiply-accumulates at"
            f" {html.number(energy['joule_per_mac'])} J each"
        )
    if energy.get("ratio") is not None:
        sentence += f"; {html.percent(energy['ratio'])} of the same network with ReLU units"
    return sentence + (f" (source: {energy['source']})." if energy.get("source") else ".")


def energy_tables(metrics: Metrics) -> list[str]:
    """The whole network three ways, and layer by layer; empty where only the total is known."""
    energy = metrics["energy"]
    if not energy.get("layers"):
        return []
    relu = energy["joule_per_image_relu"]
    ways = [
        ("Spiking, image through its weights once", energy["joule_per_image_input_once"]),
        ("Spiking, in every step", energy["joule_per_image_input_every_step"]),
        ("ReLU", relu),
    ]
    rows = [[name, html.number(joule), html.percent(joule / relu if relu else None)] for name, joule in ways]
    caption = (
        "Energy of one image after the last task, averaged over the simulated images. Both networks are counted by the"
        " same rule: one accumulate for a spike at a synapse and for a connection of pooling or a shortcut, one"
        " multiply-accumulate for a number at any other connection."
    )
    total = html.table(["", "J per image", "of ReLU"], rows, caption)
    columns = ["Layer", "Events", "Accumulates", "MACs", "J", "Accumulates, ReLU", "MACs, ReLU", "J, ReLU"]
    counts = ("accumulates", "macs")
    layers = [
        [
            str(layer["name"]),
            html.number(round(layer["synaptic_events_per_image"])),
            *(html.number(round(layer[f"{key}_per_image"])) for key in counts),
            html.number(layer["joule_per_image"]),
            *(html.number(round(layer[f"{key}_per_image_relu"])) for key in counts),
            html.number(layer["joule_per_image_relu"]),
        ]
        for layer in energy["layers"]
    ]
    return [total, html.table(columns, layers, "The same layer by layer: what arrives at it, for one image.")]


def environment_table(environment: Mapping[str, Any]) -> str:
    """Versions and machine, nested entries with dotted names."""
    rows = [[name, value] for name, value in _flat(environment)]
    return html.table(["Entry", "Value"], rows, "What the run was made with.", text=2)


def _total(metrics: Metrics, key: str) -> int:
    return sum(int(task[key]) for task in metrics["tasks"])


def average(metrics: Metrics, network: str) -> float:
    """Average incremental accuracy of ``torch`` or ``brian2``."""
    stored = metrics.get(f"average_incremental_accuracy_{network}")
    if stored is not None:
        return float(stored)
    return average_incremental_accuracy([task[f"accuracy_{network}"] for task in metrics["tasks"]])


def agreement(metrics: Metrics) -> float | None:
    """Share of equal answers over the tested images of all tasks, exactly 1.0 only when every task says so; None
    where no image was tested."""
    tasks = metrics["tasks"]
    images = sum(task["images"] for task in tasks)
    if images == 0:
        return None
    if all(task["prediction_agreement"] == 1.0 for task in tasks):
        return 1.0
    return sum(task["prediction_agreement"] * task["images"] for task in tasks) / images


def _first_divergence(metrics: Metrics) -> Iterator[str]:
    for task in metrics["tasks"]:
        place = task.get("first_divergence")
        if place:
            yield (
                f"First departure: task {task['task']}, layer {place['layer']}, image {place['image']},"
                f" step {place['step']}, neuron {place['neuron']}."
            )
            if place.get("membrane_torch") is not None and place.get("membrane_brian2") is not None:
                yield (
                    f"Membrane there: PyTorch {html.number(place['membrane_torch'], 9)}, Brian2"
                    f" {html.number(place['membrane_brian2'], 9)}; distance to the threshold"
                    f" {html.number(place.get('distance_to_threshold'))}."
                )
            return


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(str(each) for each in value)
        else:
            yield f"{prefix}{name}", "–" if value is None else str(value)
