"""Export of spikes to other programs: Neo (elephant reads it), NWB (DANDI and most viewers), pandas.

Each package is an extra of this one, `pip install 'alade-brian[neo]'`, and asked for only where it is used.
"""

from __future__ import annotations

import importlib
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alade_brian.errors import UserError
from alade_brian.files import replacing
from alade_brian.spikes.class_names import class_name
from alade_brian.spikes.spike_record import SpikeRecord

# Seconds between two presentations on the one time axis of an NWB file.
GAP = 0.1
# Start and stop of an observation, for each neuron and image: half a gigabyte before it is compressed.
_LARGEST_OBSERVATIONS = 32_000_000
# How far from a whole step a time from another program may lie, in steps.
_STEP_TOLERANCE = 1e-6
# NCBI's number for what comes from no living thing ("synthetic construct").
_SYNTHETIC = "http://purl.obolibrary.org/obo/NCBITaxon_32630"


def to_neo(record: SpikeRecord, silent: bool = False) -> Any:
    """Convert a record to a neo.Block: a Segment per image, a SpikeTrain per neuron that spiked (`silent`: for all).

    Times are seconds since the image was switched on, from 0 to the length of a presentation. A segment is annotated
    with `image`, `class` (position in the class order; -1: none), `task`, and `class_name` if names are known; a train
    with these and `layer` and `neuron`. UserError where Neo is missing.
    """
    neo = _package("neo")
    known: dict[str, Any] = {"class_names": list(record.class_names)} if record.class_names else {}
    block = neo.Block(name="spikes", dt=record.dt, steps=record.steps, layers=dict(record.layers), **known)
    layer_of, neuron_of = record.units
    names, ends = list(record.layers), np.searchsorted(record.image, record.images, side="right")
    starts, units, times = np.concatenate([[0], ends[:-1]]), record.unit, record.within
    timing = {"units": "s", "t_start": 0.0, "t_stop": record.duration}
    for start, end, *facts in zip(starts, ends, record.images, record.labels, record.tasks, strict=True):
        shown: dict[str, Any] = dict(zip(("image", "class", "task"), map(int, facts), strict=True))
        if known:
            shown["class_name"] = class_name(record.class_names, shown["class"])
        segment = neo.Segment(name=f"image {shown['image']}", index=shown["image"], **shown)
        for unit, train in _trains(units[start:end], times[start:end], len(neuron_of) if silent else None):
            who = {"layer": names[layer_of[unit]], "neuron": int(neuron_of[unit])}
            segment.spiketrains.append(neo.SpikeTrain(train, **timing, sampling_rate=1 / record.dt, **who, **shown))
        block.segments.append(segment)
    block.check_relationships()
    return block


def from_neo(block: Any) -> SpikeRecord:
    """Convert a neo.Block with the annotations of `to_neo` to a record; UserError if one is missing.

    Times may be in any unit; UserError where one is not a whole number of steps.
    """
    dt, steps, layers = (_annotation(block, key, "block") for key in ("dt", "steps", "layers"))
    if not dt > 0:
        raise UserError(f"The time step 'dt' of a Neo block must be above 0 s, not {dt}.")
    shown = [tuple(int(_annotation(s, key, "segment")) for key in ("image", "class", "task")) for s in block.segments]
    images, labels, tasks = np.array(sorted(shown), dtype=np.int64).reshape(-1, 3).T
    rows: list[NDArray[np.int64]] = [np.empty((0, 4), dtype=np.int64)]
    for segment, (image, *_) in zip(block.segments, shown, strict=True):
        for train in segment.spiketrains:
            name, neuron = (_annotation(train, key, "spike train") for key in ("layer", "neuron"))
            if name not in layers:
                raise UserError(f"A spike train of the Neo block belongs to layer '{name}', which the block lacks.")
            step = _steps(train.times.rescale("s").magnitude / dt, f"neuron {neuron} of layer {name}, image {image}")
            who = [np.full_like(step, number) for number in (image, list(layers).index(name), neuron)]
            rows.append(np.stack([who[0], step, *who[1:]], axis=1))
    image, step, layer, neuron = np.concatenate(rows).T
    names_known = tuple(block.annotations.get("class_names", ()))
    return SpikeRecord(dt, steps, layers, images, labels, tasks, image, step, layer, neuron, names_known)


def to_dataframe(record: SpikeRecord, gap: float | None = None) -> Any:
    """Convert a record to a pandas.DataFrame with a row for each spike.

    Columns: image, class (position in the class order; -1: none), task, layer (categorical), neuron, step, time_s, and
    class_name if names are known.

    `time_s`: seconds since the image was switched on; with `gap`, `time_s` runs on over all images, that many seconds
    between two presentations. UserError where pandas is missing.
    """
    pandas = _package("pandas")
    place = record.presentation
    frame = pandas.DataFrame(
        {
            "image": record.image,
            "class": record.labels[place],
            "task": record.tasks[place],
            "layer": pandas.Categorical.from_codes(record.layer, categories=list(record.layers)),
            "neuron": record.neuron,
            "step": record.step,
            "time_s": record.within if gap is None else record.times(gap),
        }
    )
    if record.class_names:
        frame["class_name"] = np.array(record.shown, dtype=object)[place]
    return frame


def write_nwb(
    path: Path,
    record: SpikeRecord,
    gap: float = GAP,
    description: str = "Spikes of a simulated network to which images were presented one after another",
    start: datetime | None = None,
) -> None:
    """Write an NWB file atomically: `units`, a row for each recorded neuron; `trials`, a row for each image.

    All images lie on one time axis, `gap` seconds apart; the network starts each from rest, so an interval that reaches
    over a gap means nothing, and `obs_intervals` leave the gaps out. (Neo's reader of NWB takes a single interval: for
    it, write with a `gap` of 0.) `start`: when the session began, with its time zone; now where left out. UserError
    where pynwb is missing, nothing spiked, or the observation intervals would be too many.
    """
    pynwb, h5py = _package("pynwb", "nwb"), _package("h5py", "nwb")
    if not len(record):
        # Readers and the inspector stumble over a table of units without a single spike.
        raise UserError(
            f"None of the {len(record.units[0]):,} neurons spiked; an NWB file needs a spike: choose others."
        )
    file = pynwb.NWBFile(
        session_description=description,
        experiment_description=description,
        identifier=str(uuid.uuid4()),
        session_start_time=start or datetime.now().astimezone(),
        # No animal, yet archives and their inspector ask for one: every field says as much.
        subject=pynwb.file.Subject(
            subject_id="simulated-network", description="A simulated network of spiking neurons, no animal",
            species=_SYNTHETIC, sex="U", age="P0D",
        ),
    )  # fmt: skip
    file.units = _units(pynwb, record, gap)
    file.trials = _trials(pynwb, record, gap)
    with replacing(Path(path)) as opened, h5py.File(opened, "w") as hdf, pynwb.NWBHDF5IO(file=hdf, mode="w") as io:
        io.write(file)


def _units(pynwb: Any, record: SpikeRecord, gap: float) -> Any:
    """The table of neurons, filled by column: filling it by row takes minutes for a large network."""
    layer_of, neuron_of = record.units
    unit, names, starts = record.unit, list(record.layers), record.starts(gap)
    # One neuron after another; a stable sort leaves the spikes of each in the order of time.
    order = np.argsort(unit, kind="stable")
    # Without gaps the whole session is one observation.
    seen = np.stack([starts, starts + record.duration], axis=1)
    seen = seen if gap else np.array([[0.0, seen[-1, 1]]])
    if seen.size * len(neuron_of) > _LARGEST_OBSERVATIONS:
        raise UserError(
            f"{len(neuron_of):,} neurons times {len(seen):,} images make too many observation intervals for one NWB "
            "file; choose fewer layers or images, or a gap of 0."
        )
    times, ends = record.times(gap)[order], np.cumsum(np.bincount(unit, minlength=len(neuron_of)))
    observed, last = np.tile(seen, (len(neuron_of), 1)), np.arange(1, len(neuron_of) + 1) * len(seen)
    packed = pynwb.H5DataIO(observed, compression="gzip")
    columns = [
        *_column("layer", "layer of the neuron", [names[number] for number in layer_of]),
        *_column("neuron", "number of the neuron in its layer, in C order (channel, row, column)", neuron_of),
        *_column("spike_times", "seconds since the session began", times, ends),
        *_column("obs_intervals", "start and stop of the presentations in which the neuron was seen", packed, last),
    ]
    about = "neurons of the network, layer by layer"
    return pynwb.misc.Units(name="units", description=about, resolution=record.dt, columns=columns)


def _trials(pynwb: Any, record: SpikeRecord, gap: float) -> Any:
    starts = record.starts(gap)
    columns = [
        *_column("start_time", "the image is switched on, seconds", starts),
        *_column("stop_time", "the image is switched off, seconds", starts + record.duration),
        *_column("image", "number of the image among those that the network was evaluated on", record.images),
        *_column(
            "class",
            "class of the image, as its place in the order of learning; -1: none, values were learnt",
            record.labels,
        ),
        *_column("task", "task in which the class was learnt, from 1", record.tasks),
    ]
    if record.class_names:
        columns += _column("class_name", "name of the image's class", record.shown)
    return pynwb.epoch.TimeIntervals(name="trials", description="presentations, one image each", columns=columns)


def _column(name: str, about: str, data: Any, ends: NDArray[np.int64] | None = None) -> list[Any]:
    """A table column. If rows hold several entries, `ends` gives where those of each row end, in a second column."""
    common = _package("hdmf.common", "nwb")
    column = common.VectorData(name=name, description=about, data=data)
    return [column] if ends is None else [common.VectorIndex(name=f"{name}_index", data=ends, target=column), column]


def _package(name: str, extra: str = "") -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"This needs the package {name}, which cannot be imported ({error}); "
            f"pip install 'alade-brian[{extra or name}]'"
        ) from None


def _trains(units: NDArray[Any], times: NDArray[Any], total: int | None) -> list[tuple[int, NDArray[Any]]]:
    """Iterate over the neurons that spiked, or over all `total`, with their spike times in one presentation."""
    order = np.argsort(units, kind="stable")
    present, first = np.unique(units[order], return_index=True)
    found = dict(zip(present.tolist(), np.split(times[order], first[1:]), strict=False))
    return [(unit, found.get(unit, times[:0])) for unit in (found if total is None else range(total))]


def _annotation(thing: Any, key: str, what: str) -> Any:
    if key not in thing.annotations:
        raise UserError(f"A {what} of Neo lacks the annotation '{key}'; take a block that to_neo made.")
    return thing.annotations[key]


def _steps(times: NDArray[Any], whose: str) -> NDArray[np.int64]:
    whole = np.rint(times)
    if (np.abs(times - whole) > _STEP_TOLERANCE).any():
        raise UserError(f"A spike time in the Neo block is not a whole number of time steps: {whose}.")
    return whole.astype(np.int64)
