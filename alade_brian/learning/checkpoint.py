"""Trained networks on disk: safetensors, with a JSON header that says which architecture the numbers belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from alade_brian.config.run import RunConfig, config_from, differing_keys, to_mapping
from alade_brian.errors import UserError
from alade_brian.files import write_bytes
from alade_brian.learning.incremental.learner import Learner
from alade_brian.models import ExpandableNetwork

FORMAT = 1


def save_checkpoint(path: Path, network: ExpandableNetwork, config: RunConfig, header: Mapping[str, Any]) -> None:
    """Write the network with its configuration; `header` adds JSON-ready facts (task, classes, image shape, ...)."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    own = {
        "format": FORMAT,
        "config": to_mapping(config),
        "extractors": len(network.extractors),
        "outputs": network.classes,
    }
    write_bytes(path, save(tensors, {"alade_brian": json.dumps({**own, **header})}))


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a checkpoint; UserError where the file is missing, damaged or not one of ours."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("alade_brian")
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}; check the path") from None
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"the checkpoint {path} is damaged ({error}); train again, or take the checkpoint of another task"
        ) from None
    if text is None:
        raise UserError(
            f"{path} holds tensors, but is no checkpoint of this program; use a file from a run's checkpoints folder"
        )
    header = _parse(text, path)
    if header.get("format") != FORMAT:
        raise UserError(
            f"the checkpoint {path} has format {header.get('format')}, this version reads {FORMAT}; use the version "
            "that wrote it"
        )
    missing = [key for key in ("config", "extractors", "outputs", "image_shape") if key not in header]
    if missing:
        raise UserError(f"the checkpoint {path} is damaged (its header lacks {missing[0]}); use another checkpoint")
    return header


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise UserError(f"the checkpoint {path} is damaged (its header is no JSON object); use another checkpoint")
    return header


def load_checkpoint(path: Path, learner: Learner | None = None) -> tuple[ExpandableNetwork, dict[str, Any]]:
    """The network of a checkpoint in eval mode, and its header.

    With `learner`, its network takes the weights; the checkpoint must then be of the learner's architecture, and where
    it is not, the learner is left as it was.
    """
    header = read_header(path)
    config = config_from(header["config"], str(path))
    if learner is not None and learner.config.method != config.method:
        raise UserError(
            f"the checkpoint {path} is of the method '{config.method}', not '{learner.config.method}'; use the "
            "configuration it was trained with"
        )
    if learner is not None and learner.config.network != config.network:
        keys = differing_keys(asdict(learner.config.network), asdict(config.network), "network.")
        raise UserError(
            f"the checkpoint {path} is of another architecture ({', '.join(keys)} differs); use the configuration it "
            "was trained with"
        )
    found = Learner(config, tuple(header["image_shape"]), sequence=bool(header.get("sequence")))
    network = found.network
    while len(network.extractors) < header["extractors"]:
        network.add_extractor(inherit=False)
    network.set_classifier(header["outputs"])
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    wrong = _differences(tensors, network.state_dict()) or (learner is not None and _shape_difference(learner, header))
    if wrong:
        raise UserError(
            f"the checkpoint {path} is of another architecture ({wrong}); use the configuration it was trained with"
        )
    network.load_state_dict(tensors)
    if learner is not None:
        learner.take(network)
    return network.eval(), header


def _shape_difference(learner: Learner, header: Mapping[str, Any]) -> str:
    shape = tuple(header["image_shape"])
    return "" if shape == learner.image_shape else f"it takes images of {shape}, not {learner.image_shape}"


def _differences(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str:
    """The first difference in words, or an empty string."""
    for name in sorted(set(found) | set(expected)):
        if name not in found:
            return f"it lacks {name}"
        if name not in expected:
            return f"it holds {name}, which this network lacks"
        if found[name].shape != expected[name].shape:
            return f"{name} has the shape {tuple(found[name].shape)}, not {tuple(expected[name].shape)}"
    return ""
