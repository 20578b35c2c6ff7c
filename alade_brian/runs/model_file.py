"""Any file that holds a network, as a specification."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alade_brian.conversion.to_brian2.script import Normalisation, TrainedOn
from alade_brian.errors import UserError
from alade_brian.spec import NetworkSpec
from alade_brian.spec.file import load_spec

if TYPE_CHECKING:
    from alade_brian.conversion.nir_graphs.neurons import Method
    from alade_brian.conversion.nir_graphs.read import Reset, ResetTiming


def load(
    path: Path | str,
    *,
    steps: int | None = None,
    dt: float | None = None,
    discretisation: Method | None = None,
    reset: Reset | None = None,
    reset_timing: ResetTiming | None = None,
) -> NetworkSpec:
    """The network in a checkpoint of a run (.safetensors), a NIR graph (.nir) or a specification (.npz).

    steps, dt, discretisation, reset, reset_timing   as `read_nir` takes them, for a NIR graph only

    Raises UserError, SpecError, or RefusedLayers where the file cannot be read, or the network not be converted.

    >>> from torch import nn
    >>> from alade_brian import convert, load, write_nir
    >>> from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
    >>> model = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))
    >>> write_nir(convert(model, (6,)), "model.nir")
    >>> load("model.nir").steps
    4
    """
    path = Path(path)
    if path.suffix == ".nir":
        from alade_brian.conversion.nir_graphs.read import read_nir

        return read_nir(path, steps, dt, discretisation, reset or "model", reset_timing)
    given = {"steps": steps, "dt": dt, "discretisation": discretisation, "reset": reset, "reset_timing": reset_timing}
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option} is for a NIR graph, and {path} is none; leave it out")
    return load_spec(path) if path.suffix == ".npz" else _of_a_checkpoint(path)


def trained_on(path: Path | str) -> TrainedOn:
    """Class names and normalisation of the network in a checkpoint, as far as its header holds them; nothing of a NIR
    graph or a specification.

    Raises UserError where the header cannot be read, or its normalisation is none.
    """
    if Path(path).suffix in (".nir", ".npz"):
        return TrainedOn()
    from alade_brian.learning.checkpoint import read_header

    header = read_header(Path(path))
    names = tuple(map(str, header.get("class_names", ())))
    if "normalisation" not in header:  # written by an earlier version
        return TrainedOn(names)
    how, channels = header["normalisation"], header["image_shape"][0]
    try:
        mean, std = (tuple(map(float, how[key])) for key in ("mean", "std"))
        known = Normalisation(float(how["scale"]), mean, std)
        sound = len(mean) == len(std) == channels and all(map(math.isfinite, (known.scale, *mean, *std)))
    except (TypeError, ValueError, KeyError):
        sound = False
    if not sound:
        raise UserError(
            f"the checkpoint {path} is damaged (its normalisation is none of {channels} channels); use another "
            "checkpoint"
        )
    return TrainedOn(names, known)


def _of_a_checkpoint(path: Path) -> NetworkSpec:
    # Here, not above: a specification or NIR graph is read without torch, too.
    from alade_brian.conversion.from_torch.convert import convert
    from alade_brian.learning.checkpoint import load_checkpoint

    network, header = load_checkpoint(path)
    how: dict[str, Any] = (
        {"steps": header["architecture"]["backbone"]["steps"], "sequence": True} if header.get("sequence") else {}
    )
    return convert(network, tuple(header["image_shape"]), **how)
