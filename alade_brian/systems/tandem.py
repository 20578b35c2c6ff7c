"""What progressive tandem learning rests on: converting a layer costs accuracy, and learning behind it wins that back.

A run of the method keeps its network after each stage (`alade_brian.learning.rules.tandem`). Here these networks answer
test images again, and so does the same analogue network with the same layers converted at once, without learning
(primitive conversion). Further runs of the same analogue network, at other steps or with rounded weights, are compared
with the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from alade_brian.analysis.figures import plot_conversion, plot_weight_bits, with_bits
from alade_brian.analysis.figures.style import new_grid
from alade_brian.config.run import RunConfig, config_from
from alade_brian.errors import UserError
from alade_brian.learning.architectures import build_network
from alade_brian.learning.checkpoint import load_checkpoint
from alade_brian.learning.rules.dsr import at_steps
from alade_brian.learning.rules.tandem import Tandem
from alade_brian.models import ExpandableNetwork
from alade_brian.models.kernels.kernels import reuse_freed_memory
from alade_brian.runs.folder import RunFolder, read_json
from alade_brian.runs.setup import make_scenario
from alade_brian.runs.subject import evaluated_images
from alade_brian.spikes.task_record import LayerRecord, load_record

STEPS = (4, 8, 16, 32)
IMAGES = 1000
BATCH = 50


def prove(folders: Sequence[RunFolder]) -> dict[str, Any]:
    """The accuracy of every stage of the runs, beside that of primitive conversion, on at most `IMAGES` test images;
    and what their simulations counted. JSON-ready.

    ``runs``: per run ``steps``, ``weight_bits``, ``accuracy`` (analogue, one layer converted, two, ..., all and the
    readout trained), ``accuracy_primitive`` (as many layers of the same analogue network converted at once; None behind
    the last), ``simulation`` (see `simulated`). ``by_steps``: the first run's network, and primitive conversion of all
    layers, at other numbers of steps than it was trained with.

    UserError where a run is of another analogue network than the first, or has not ended.
    """
    reuse_freed_memory()
    first, *others = [TandemRun(folder) for folder in folders]
    for other in others:
        if not other.shares_analogue(first):
            raise UserError(
                f"the run in {other.folder.path} began with another analogue network than that in {first.folder.path}; "
                "train it with the same `learning`, data and seed, and as many threads"
            )
    return {
        "images": len(first.labels),
        "layers": first.names,
        "runs": [run.record() for run in (first, *others)],
        "by_steps": {
            "steps": list(STEPS),
            "primitive": [first.primitive(len(first.names), steps) for steps in STEPS],
            "trained": [first.trained(steps) for steps in STEPS],
        },
    }


class TandemRun:
    """A finished run: its networks after each stage, its test images, and training images to calibrate with."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        state = folder.load_state()
        if state is None:
            raise UserError(f"the run in {folder.path} has not ended; resume it with --resume")
        checkpoint = folder.checkpoint(1)
        network, self.header = load_checkpoint(checkpoint)
        self.config: RunConfig = config_from(self.header["config"], str(checkpoint))
        dataset, images = evaluated_images(self.header, str(checkpoint), IMAGES)
        if images.targets is not None:
            raise UserError(
                f"the run in {folder.path} learnt values, but the proof counts classes; choose a run with classes"
            )
        self.final = network.state_dict()
        self.stages: list[dict[str, Tensor]] = state["method"]["stages"]
        self.images, self.labels = torch.from_numpy(images.images), images.labels
        scenario = make_scenario(self.config, dataset)
        self.training = torch.from_numpy(scenario.train_set(next(iter(scenario))).images)

    @property
    def names(self) -> list[str]:
        """The layers that are converted, from the input."""
        return [f"layers.{k}" for k in range(len(self.stages) - 1)]

    def shares_analogue(self, other: TandemRun) -> bool:
        """Whether both runs converted one analogue network."""
        own, its = self.stages[0], other.stages[0]
        # A threshold is no part of it: it is the configuration's until the layer is converted.
        compared = [name for name in own if not name.endswith("threshold")]
        return own.keys() == its.keys() and all(torch.equal(own[name], its[name]) for name in compared)

    def stage(self, number: int) -> Tandem:
        """The method as it stood after a stage: 0, the analogue network; k, with k spiking layers."""
        network = cast(ExpandableNetwork, build_network(self.header["architecture"]))
        method = Tandem(self.config, network)
        method.converted = number
        for layer in method.layers()[number:]:
            layer.add_norm()
        network.load_state_dict({**self.final, **self.stages[number]} if number else self.stages[0])
        return _still(method)

    def record(self) -> dict[str, Any]:
        """One run of `prove`."""
        count = len(self.names)
        return {
            "steps": self.config.network.steps,
            "weight_bits": self.config.tandem.weight_bits,
            "accuracy": [*(self.accuracy(self.stage(k)) for k in range(count + 1)), self.trained()],
            "accuracy_primitive": [*(self.primitive(k) for k in range(count + 1)), None],
            "simulation": simulated(self.folder),
        }

    def primitive(self, layers: int, steps: int | None = None) -> float:
        """The accuracy where so many layers of the analogue network are converted at once."""
        method = self.stage(0)
        method.convert_at_once(self.training, layers)
        return self.accuracy(_still(method), steps)

    def trained(self, steps: int | None = None) -> float:
        """The accuracy of the trained network."""
        network = cast(ExpandableNetwork, load_checkpoint(self.folder.checkpoint(1))[0])
        method = Tandem(self.config, network)
        method.converted = len(method.layers())
        return self.accuracy(_still(method), steps)

    def accuracy(self, method: Tandem, steps: int | None = None) -> float:
        """The fraction of the test images that a network classifies correctly, by default at its own steps."""
        with torch.no_grad(), at_steps(method.network.modules(), steps or self.config.network.steps):
            answers = [method.respond(part).argmax(-1) for part in self.images.split(BATCH)]
        return float((torch.cat(answers).numpy() == self.labels).mean())


def _still(method: Tandem) -> Tandem:
    method.network.eval().requires_grad_(False)
    return method


def draw(found: Mapping[str, Any]) -> Any:
    """The figure of what `prove` found: accuracies by converted layers, and by weight bits where runs round weights."""
    panels = 2 if with_bits(found) else 1
    _, axes = new_grid(6.0, 4.0, panels, panels)
    plot_conversion(found, axes[0])
    if panels == 2:
        plot_weight_bits(found, axes[1])
    return axes[0]


def table(found: Mapping[str, Any]) -> str:
    """The text of what `prove` found."""
    spiking = [f"{k + 1} spiking" for k in range(len(found["layers"]))]
    lines = [f"accuracy on {found['images']} test images, learnt / converted at once:"]
    lines.append(f"{'steps':>5}{'bits':>6}" + "".join(f"{name:>18}" for name in ("analogue", *spiking, "readout")))
    for run in found["runs"]:
        pairs = zip(run["accuracy"], run["accuracy_primitive"], strict=True)
        cells = [f"{a:.4f}" + (f" / {b:.4f}" if b is not None else "") for a, b in pairs]
        lines.append(f"{run['steps']:>5}{run['weight_bits'] or '-':>6}" + "".join(f"{cell:>18}" for cell in cells))
    by = found["by_steps"]
    lines.append("the first run's network at other steps, learnt / converted at once:")
    for steps, learnt, at_once in zip(by["steps"], by["trained"], by["primitive"], strict=True):
        lines.append(f"{steps:>5}      {learnt:.4f} / {at_once:.4f}")
    lines.append("simulated in Brian2, per image:")
    for run in found["runs"]:
        s = run["simulation"]
        lines.append(
            f"{run['steps']:>5}{run['weight_bits'] or '-':>6}  {s['synaptic_operations']:,.0f} synaptic operations, "
            f"{s['input_macs']:,} multiply-accumulates of the image; analogue: {s['analogue_macs']:,} "
            f"multiply-accumulates; {s['mismatched_spikes']} spikes mismatched, {s['different_counts']} spike counts "
            f"differ ({s['images']} images, {s['neurons']:,} neurons)"
        )
    return "\n".join(lines)


def simulated(folder: RunFolder) -> dict[str, Any]:
    """What the simulation of a run counted.

    images, accuracy           of the simulation
    neurons, different_counts  spiking neurons, and how many (image, neuron) pairs have another spike count in PyTorch
    mismatched_spikes          entries (image, step, neuron) in which exactly one of the two fired
    synaptic_operations        per image: spikes that arrived at synapses, in the simulation
    input_macs                 per image: multiply-accumulates of the image in the first layer, once
    analogue_macs              per image: multiply-accumulates of the analogue network
    """
    (task,) = read_json(folder.metrics)["tasks"]
    record, energy = load_record(folder.spikes(1)), task["energy"]
    pairs = [_different_counts(layer) for layer in record.layers.values()]
    first = next(iter(record.layers))
    of_layer = {layer["name"]: layer for layer in energy["layers"]}
    return {
        "images": task["images"],
        "accuracy": task["accuracy_brian2"],
        "prediction_agreement": task["prediction_agreement"],
        "neurons": sum(layer.shape[2] for layer in record.layers.values()),
        "different_counts": sum(pairs),
        "mismatched_spikes": task["mismatched_spikes"],
        "synaptic_operations": energy["synaptic_events_per_image"],
        "input_macs": of_layer[first]["macs_per_image_relu"],
        "analogue_macs": energy["macs_per_image_relu"],
    }


def _different_counts(layer: LayerRecord, batch: int = 100) -> int:
    """How many (image, neuron) pairs of a layer spiked another number of times in PyTorch."""
    parts = [slice(k, k + batch) for k in range(0, layer.shape[0], batch)]
    return sum(int((layer.torch(part).sum(1) != layer.brian2(part).sum(1)).sum()) for part in parts)
