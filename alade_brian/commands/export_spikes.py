"""Give the spikes of a run to other programs: a table, an NWB file, or the sparse record of this one.

    alade-brian export runs/digits-alade-1993 --to spikes.nwb
    alade-brian export runs/digits-alade-1993 --task 3 --network torch --class-names 0 4 --to spikes.csv
    alade-brian export runs/digits-alade-1993/spikes/task-05.npz --layer NAME --to spikes.npz

RUN_OR_RECORD is a run folder, one of its spikes/task-NN.npz, or an .npz that this command wrote. The ending of --to
decides what is written: .csv (a line for each spike, and a .json of the same name with the images, layers and the time
step), .nwb (Neurodata Without Borders; Neo reads it with --gap 0), .npz (for load_spikes of
alade_brian.spikes.spike_record; to_neo and to_dataframe of alade_brian.spikes.neo_nwb take it on). Classes are numbered
by their positions in the class order; where the run knows their names, these stand beside.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import get_args

import numpy as np

from alade_brian.analysis.metrics.metrics_file import read_metrics
from alade_brian.analysis.report.naming import Naming
from alade_brian.commands.options import IMAGES, LAYER, TASK, TO, finite
from alade_brian.errors import UserError
from alade_brian.numpy_files import open_npz
from alade_brian.outputs import check_new_file
from alade_brian.runs.folder import RunFolder
from alade_brian.spikes.csv_file import sidecar, write_csv
from alade_brian.spikes.neo_nwb import GAP, write_nwb
from alade_brian.spikes.spike_record import Network, SpikeRecord, load_spikes, save_spikes
from alade_brian.spikes.task_record import load_record

ENDINGS = (".csv", ".nwb", ".npz")


def parser(prog: str = "alade-brian export") -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("source", type=Path, metavar="RUN_OR_RECORD", help="a run folder or a record of spikes")
    TO.add(p, ".csv, .nwb or .npz", required=True)
    p.add_argument("--force", action="store_true", help="replace FILE if it exists")
    TASK.add(p, "of a run; default: the last")
    p.add_argument("--network", choices=get_args(Network), help="of a run: the network that spiked (default: brian2)")
    LAYER.add(p, "default: all")
    IMAGES.add(p, "the first ones; default: all")
    classes = p.add_mutually_exclusive_group()
    classes.add_argument("--class-names", nargs="+", metavar="NAME", help="only images of the classes of these names")
    classes.add_argument(
        "--classes", type=int, nargs="+", metavar="C", help="the same, by their positions in the class order, from 0"
    )
    p.add_argument("--gap", type=finite, metavar="MS", help=f".nwb: ms between two images (default {GAP * 1e3:g})")
    return p


def main(arguments: argparse.Namespace) -> int:
    """Choose, write, say what was written; the exit code."""
    target = arguments.to
    written = _targets(target, arguments.force)
    if arguments.gap is not None and target.suffix != ".nwb":
        raise UserError(f"--gap is for an .nwb file, and {target} is none; leave it out")
    path = record_path(arguments.source, arguments.task)
    if any(each.resolve() == path.resolve() for each in written):
        raise UserError(f"{target} is also the input; write to another file")
    record = read_spikes(path, arguments)
    writers: dict[str, Callable[[], None]] = {
        ".csv": lambda: write_csv(target, record),
        ".npz": lambda: save_spikes(target, record),
        ".nwb": lambda: write_nwb(
            target, record, GAP if arguments.gap is None else arguments.gap * 1e-3, start=_written(path)
        ),
    }
    try:
        writers[target.suffix]()
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror or error}); choose another folder") from None
    neurons = sum(map(len, record.layers.values()))
    print(
        f"wrote {' and '.join(map(str, written))}: {len(record):,} spikes of {neurons:,} neurons in "
        f"{len(record.layers)} layers, {len(record.images):,} images of {record.duration * 1e3:g} ms"
    )
    return 0


def record_path(source: Path, task: int | None) -> Path:
    """The file of spikes that is meant (UserError where there is none)."""
    if not source.is_dir():
        if task is not None:
            raise UserError(f"--task is for a run folder, and {source} is none; leave it out")
        return source
    found = {
        int(match[1]): path
        for path in source.glob("spikes/*")
        if (match := re.fullmatch(r"task-(\d+)\.npz", path.name))
    }
    if not found:
        raise UserError(f"{source} holds no spikes/task-NN.npz; give the folder of a run that has completed a task")
    if task is not None and task not in found:
        raise UserError(f"{source} holds no spikes after task {task}; it has those of {min(found)} to {max(found)}")
    return found[max(found) if task is None else task]


def read_spikes(path: Path, arguments: argparse.Namespace) -> SpikeRecord:
    """The spikes asked for, of a task's record or of one that this command wrote."""
    if _is_sparse(path):
        if arguments.network is not None:
            raise UserError(f"--network is for a run, and {path} holds one network's spikes; leave it out")
        record = load_spikes(path)
        images = record.images[: _count(arguments.images, len(record.images))]
        return record.select(arguments.layer, images, _classes(arguments, record))
    task = load_record(path)
    images = np.arange(_count(arguments.images, len(task.labels)))
    record = SpikeRecord.of(task, arguments.network or "brian2", arguments.layer, images, class_names(path))
    return record.select(classes=_classes(arguments, record))


def class_names(record: Path) -> tuple[str, ...]:
    """Names of the classes in class order, from the metrics of the run that a record belongs to; none if it belongs to
    none."""
    metrics = RunFolder(record.resolve().parent.parent).metrics
    return Naming.of(read_metrics(metrics)).classes if metrics.is_file() else ()


def _classes(arguments: argparse.Namespace, record: SpikeRecord) -> list[int] | None:
    """Positions of the classes asked for; UserError where a name is unknown."""
    if arguments.class_names is None:
        return arguments.classes
    names = record.class_names
    if not record.has_classes:
        raise UserError("--class-names: the record has no classes, since values were learnt; leave it out")
    for name in arguments.class_names:
        if name not in names:
            known = f"it has {', '.join(names)}" if names else "its run does not name them; use --classes"
            raise UserError(f"--class-names {name}: the record has no class of this name; {known}")
    return [label for label, name in enumerate(names) if name in arguments.class_names]


def _targets(target: Path, force: bool) -> list[Path]:
    """What will be written (UserError where it may not be)."""
    if target.suffix not in ENDINGS:
        raise UserError(f"--to {target}: the ending decides what is written; use one of {', '.join(ENDINGS)}")
    written = [target, *([sidecar(target)] if target.suffix == ".csv" else [])]
    for path in written:
        if path.is_dir() or not force:
            check_new_file(path, "--to", also="" if path.is_dir() else ", or add --force")
    return written


def _is_sparse(path: Path) -> bool:
    """Whether the file is this command's; what cannot be read is left to the reader, which says why."""
    try:
        with open_npz(path) as file:
            return "steps" in file and "layer_names" not in file
    except (OSError, ValueError):
        return False


def _count(wanted: int | None, there: int) -> int:
    if wanted is not None and not 1 <= wanted <= there:
        raise UserError(f"--images {wanted}: the record has {there} images; give 1 to {there}")
    return wanted or there


def _written(path: Path) -> datetime:
    """When the record was written, for want of a better start of the session."""
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone()
