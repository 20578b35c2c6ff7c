"""Draw the figures of a paper from the spikes of a run: rasters, intervals, tuning, selectivity, drift; outputs beside
their targets, if values were learnt.

    alade-brian figures runs/digits-alade-1993
    alade-brian figures runs/digits-alade-1993 --task 3 --layer NAME NAME --images 0 40 80 --out figures

Each is written as PNG and SVG. --layer chooses the layers of rasters, intervals and selectivity (default: up to six,
evenly spaced); tuning and drift are of the neurons that the answer is read from. docs/figures.md says what the figures
show and which function draws each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from alade_brian.analysis import figures
from alade_brian.analysis.figures.style import write_figure
from alade_brian.analysis.metrics.metrics_file import read_metrics
from alade_brian.analysis.problems import Problem, problem_of
from alade_brian.analysis.report.naming import Naming
from alade_brian.analysis.report.raster import spread_over_classes
from alade_brian.commands.options import IMAGE_NUMBERS, LAYER, NEURONS, OUT, TASK, count
from alade_brian.errors import UserError
from alade_brian.outputs import check_new_file, writing_to
from alade_brian.runs.folder import RunFolder
from alade_brian.spikes.spike_record import SpikeRecord
from alade_brian.spikes.task_record import TaskRecord, load_record

LAYERS, IMAGES, MOST_NEURONS = 6, 10, 40


def parser(prog: str = "alade-brian figures") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    TASK.add(p, "after which the network is shown; default: the last")
    LAYER.add(p, "of rasters, intervals and selectivity")
    IMAGE_NUMBERS.add(p, "in rasters")
    NEURONS.add(p, default=MOST_NEURONS)
    p.add_argument("--dpi", type=count, default=150, metavar="N", help="resolution of the PNG files (default 150)")
    OUT.add(p, "default: RUN/paper")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Draw everything; the exit code."""
    out = arguments.out or arguments.run / "paper"
    metrics = read_metrics(RunFolder(arguments.run).metrics)
    tasks = {each["task"]: each for each in metrics["tasks"]}
    last = max(tasks) if arguments.task is None else arguments.task
    if last not in tasks:
        raise UserError(f"{arguments.run} knows no task {last}; it has {min(tasks)} to {max(tasks)}")
    read = {n: tasks[n].get("readout_layers") or () for n in sorted(tasks) if n <= last}
    records = {n: load_record(RunFolder(arguments.run).spikes(n)) for n in read}
    drawn = drawings(problem_of(metrics), records, read, Naming.of(metrics), arguments)
    with writing_to(out):
        for name in drawn:
            for ending in ("png", "svg"):
                check_new_file(out / f"{name}.{ending}", "--out")
        for name, draw in drawn.items():
            try:
                png, svg = write_figure(draw(), out / name, arguments.dpi)
            except OSError as error:
                raise UserError(f"{out} cannot be written ({error.strerror or error}); choose another --out") from None
            print(f"wrote {png} and {svg.name}")
    return 0


def drawings(
    problem: Problem,
    records: dict[int, TaskRecord],
    read: dict[int, tuple[str, ...]],
    naming: Naming,
    arguments: argparse.Namespace,
) -> dict[str, Callable[[], Axes]]:
    """What is drawn, by the name of its file. UserError where a layer or image is not there."""
    record = records[max(records)]
    names = list(record.layers)
    even = np.linspace(0, len(names) - 1, min(LAYERS, len(names))).astype(int)
    layers = arguments.layer or [names[place] for place in even]
    images = arguments.images or spread_over_classes(record.labels, IMAGES)
    torch, brian2 = (SpikeRecord.of(record, network, layers, images) for network in ("torch", "brian2"))
    spikes = {name: record.layers[name].brian2() for name in brian2.layers}
    count, shown = arguments.neurons, naming.classes
    return {
        "spikes": lambda: figures.plot_spikes(brian2, max_neurons=count, class_names=shown),
        "spikes-pair": lambda: figures.plot_spikes_pair(torch, brian2, max_neurons=count, class_names=shown)[0],
        "intervals": lambda: figures.plot_isi(spikes, record.dt),
        **problem.paper_figures(records, read, spikes, naming),
    }
