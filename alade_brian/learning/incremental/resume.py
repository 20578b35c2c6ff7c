"""A learner that goes on with the network of a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import cast

from alade_brian.config.run import config_from, differing_keys
from alade_brian.errors import UserError
from alade_brian.learning.checkpoint import load_checkpoint, read_header
from alade_brian.learning.incremental.learner import Learner
from alade_brian.models import ExpandableNetwork


def take_checkpoint(path: Path, learner: Learner) -> ExpandableNetwork:
    """Give a learner the network of a checkpoint, which it then has in eval mode.

    The checkpoint must be of the learner's method and architecture. UserError where it is not; the learner is then left
    as it was.
    """
    header = read_header(path)
    if "config" not in header:
        raise UserError(f"the checkpoint {path} is not of a run; name a file of a run's checkpoints folder")
    config = config_from(header["config"], str(path))
    if learner.config.method != config.method:
        raise UserError(
            f"the checkpoint {path} is of the method '{config.method}', not '{learner.config.method}'; use the "
            "configuration it was trained with"
        )
    keys = differing_keys(asdict(learner.config.network), asdict(config.network), "network.")
    if keys:
        _refuse(path, f"{', '.join(keys)} differs")
    shape = tuple(header["image_shape"])
    if shape != learner.image_shape:
        _refuse(path, f"it takes images of {shape}, not {learner.image_shape}")
    network = cast(ExpandableNetwork, load_checkpoint(path)[0])
    learner.take(network)
    return network


def _refuse(path: Path, difference: str) -> None:
    raise UserError(
        f"the checkpoint {path} is of another architecture ({difference}); use the configuration it was trained with"
    )
