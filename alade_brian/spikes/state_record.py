"""State variables of neurons in every step of both networks: `states.npz`, and `membranes/task-NN.npz` of a run.

Keys of the file: `dt` (seconds), `images` (their numbers), `labels` (positions in the class order), `class_names` (in
class order, if known); by layer `neurons:LAYER` (their numbers) and
`spikes:LAYER`, by layer and variable `brian2:LAYER:VARIABLE`, `torch:...` and `threshold:...`, each of shape (images,
steps, neurons). What is not known has no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alade_brian.errors import UserError
from alade_brian.spikes.archive import reading_archive, write_archive
from alade_brian.spikes.states import InnerState


@dataclass(frozen=True, eq=False)
class StateRecord:
    """`states` at n images. `dt`: seconds per step. `images`: their numbers among the test images; `labels`: (n,).
    `class_names`: in class order, in which labels count; empty if they are not known.

    UserError where a part has other images.
    """

    dt: float
    images: NDArray[Any]
    labels: NDArray[Any]
    states: tuple[InnerState, ...]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = {len(self.images), len(self.labels), *(len(each.brian2) for each in self.states)}
        if len(counts) > 1 or not self.states:
            raise UserError(f"A record of states needs some, all of the same images, not of {sorted(counts)}.")


def save_states(path: Path, record: StateRecord) -> None:
    """Write `record` to `path` (.npz, compressed), atomically; OSError from the file system is passed on."""
    arrays: dict[str, Any] = {"dt": np.float64(record.dt), "images": record.images, "labels": record.labels}
    if record.class_names:
        arrays["class_names"] = np.array(record.class_names, dtype=np.str_)
    for state in record.states:
        name = f"{state.layer}:{state.variable}"
        found = {
            f"neurons:{state.layer}": state.neurons, f"spikes:{state.layer}": state.spikes,
            f"brian2:{name}": state.brian2, f"torch:{name}": state.torch, f"threshold:{name}": state.threshold,
        }  # fmt: skip
        arrays |= {key: array for key, array in found.items() if array is not None}
    write_archive(path, arrays)


def load_states(path: Path) -> StateRecord:
    """Read the record in `path`; UserError if it is missing or damaged."""
    with reading_archive(path, "record of states") as file:
        names = [key.split(":", 1)[1] for key in file.files if key.startswith("brian2:")]
        states = tuple(_state(file, *name.rsplit(":", 1)) for name in names)
        known = tuple(str(name) for name in file.get("class_names", ()))
        return StateRecord(float(file["dt"]), file["images"], file["labels"], states, known)


def _state(file: Mapping[str, NDArray[Any]], layer: str, variable: str) -> InnerState:
    name = f"{layer}:{variable}"
    return InnerState(
        layer, variable, file[f"neurons:{layer}"], file[f"brian2:{name}"], file.get(f"torch:{name}"),
        file.get(f"spikes:{layer}"), file.get(f"threshold:{name}"),
    )  # fmt: skip
