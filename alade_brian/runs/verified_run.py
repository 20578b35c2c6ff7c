"""Convert a trained network, simulate it, compare every spike, and keep the results: for any network and images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alade_brian.analysis.metrics.energy import energy_metrics
from alade_brian.analysis.problems import PROBLEMS, Problem
from alade_brian.analysis.statistics.summary import layer_summary
from alade_brian.conversion.from_torch.convert import convert
from alade_brian.conversion.nir_graphs.write import NotInNIR, write_nir
from alade_brian.data import ImageSet
from alade_brian.runs.folder import RunFolder
from alade_brian.runs.membranes import record_membranes
from alade_brian.runs.progress import progress_bar
from alade_brian.simulation import SimulationSettings, advice
from alade_brian.spec import NetworkSpec
from alade_brian.spec.cost_table import format_rows, lowering_table, synapses_per_projection
from alade_brian.spikes.task_record import LayerRecord, TaskRecord, save_record
from alade_brian.verification.comparison import NO_SPIKES
from alade_brian.verification.verify import LayerAgreement, Verification, verify

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class VerifiedTask:
    """A converted network and how its simulation compares with torch on the test images.

    number   of the task, from 1
    """

    number: int
    spec: NetworkSpec
    test: ImageSet
    found: Verification

    @property
    def problem(self) -> Problem:
        """What the network learnt: classes, or values."""
        return PROBLEMS.find(self.test.problem)

    def metrics(self) -> dict[str, Any]:
        """The part of a task's entry in `metrics.json` that does not depend on how the network learns, JSON-ready.

        `seconds` holds build, simulate and compare; whoever trained adds `train`.
        """
        found, spec, events = self.found, self.spec, self.found.synaptic_events_per_layer
        return {
            "task": self.number,
            "images": found.images,
            "prediction_agreement": found.prediction_agreement,
            self.problem.difference: found.logit_max_abs_difference,
            "spikes_compared": found.spikes_compared,
            "mismatched_spikes": found.mismatched_spikes,
            "agrees": found.agrees,
            "synaptic_events": found.synaptic_events,
            "synaptic_events_per_layer": events,
            "energy": energy_metrics(spec, synapses_per_projection(spec), events, found.images),
            "first_divergence": found.first_divergence.record() if found.first_divergence else None,
            "seconds": dict(found.seconds),
            "layers": [self._layer_metrics(layer) for layer in found.layers],
            "readout_layers": readout_layers(spec),
        }

    def record(self) -> TaskRecord:
        """Every spike, logit and prediction of both networks; target values where these were learnt."""
        found, test = self.found, self.test
        return TaskRecord(
            dt=self.spec.dt, labels=test.labels, tasks=test.tasks,
            predictions_torch=self.problem.predictions(found.logits_reference),
            predictions_brian2=self.problem.predictions(found.logits_brian2),
            logits_torch=found.logits_reference, logits_brian2=found.logits_brian2,
            layers={layer.name: self._layer_record(layer) for layer in found.layers}, targets=test.targets,
        )  # fmt: skip

    def _layer_record(self, layer: LayerAgreement) -> LayerRecord:
        shape = (self.found.images, self.found.steps, layer.neurons)
        return LayerRecord(self.found.packed(layer), shape, layer.mismatched())

    def _layer_metrics(self, layer: LayerAgreement) -> dict[str, Any]:
        """Spikes of both networks, and statistics of Brian2's."""
        spikes = self._layer_record(layer).brian2()
        return {
            "name": layer.name,
            "neurons": layer.neurons,
            "spikes_torch": layer.spikes_reference,
            "spikes_brian2": layer.spikes_brian2,
            "mismatched_spikes": layer.mismatched_spikes,
            **layer_summary(spikes, self.problem.labels(self.test), self.spec.dt),
        }


class VerifiedRun:
    """Verifies trained networks and keeps the results in a run folder.

    settings   how to simulate
    progress   whether a bar is shown
    """

    def __init__(self, folder: RunFolder, settings: SimulationSettings, progress: bool) -> None:
        self.folder, self.settings, self.progress = folder, settings, progress

    def verify_task(
        self,
        number: int,
        network: nn.Module,
        image_shape: tuple[int, ...],
        test: ImageSet,
        coding: Mapping[str, Any],
        save_network: Callable[[Path], None],
        membranes: bool = False,
    ) -> VerifiedTask:
        """Convert, advise, simulate and compare; write checkpoint, NIR file, spikes and, if asked for, membranes.

        image_shape    (channels, height, width) of an image, or of a frame if images are sequences
        test           what both networks are shown
        coding         options of `convert` that say what an image is, such as `steps` and `sequence`
        save_network   writes the network's checkpoint to the path that it is given
        membranes      whether membranes of both networks are written too, see `record_membranes`

        Raises RefusedLayers if the network cannot be converted exactly, UserError if it cannot be simulated; nothing is
        written then.
        """
        spec = convert(network, image_shape, **coding)
        log.info("task %d, lowered:\n%s", number, format_rows(lowering_table(spec)))
        log.info("task %d: %s", number, advice(spec, self.settings))
        with progress_bar(len(test), f"task {number}: simulation", self.progress) as bar:
            found = verify(network, test.images, spec, self.settings, bar.update)
        log.info("task %d: %s", number, found)
        if found.silent:
            log.warning("task %d: %s", number, NO_SPIKES)
        task = VerifiedTask(number, spec, test, found)
        save_network(self.folder.checkpoint(number))
        self._write_nir(task)
        save_record(self.folder.spikes(number), task.record())
        if membranes:
            record_membranes(network, spec, test, self.folder.membranes(number))
        return task

    def _write_nir(self, task: VerifiedTask) -> None:
        try:
            write_nir(task.spec, self.folder.nir(task.number))
        except NotInNIR as error:
            log.warning("task %d: no NIR file is written: %s", task.number, error)


def readout_layers(spec: NetworkSpec) -> list[str]:
    """Names of the spiking populations that the answer is read from, directly or through others that do not spike."""
    spiking, found = {p.name for p in spec.spiking}, {spec.readout.population}
    while before := {p.source for p in spec.projections if p.target in found - spiking} - found:
        found |= before
    return [p.name for p in spec.spiking if p.name in found]
