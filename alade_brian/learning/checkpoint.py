"""Trained networks on disk: safetensors, with a JSON header that says which architecture the numbers belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from alade_brian.config.run import RunConfig, config_from, to_mapping
from alade_brian.errors import UserError
from alade_brian.files import write_bytes
from alade_brian.learning.architectures import backbone_description, build_network, expandable
from alade_brian.models import BackboneDescription, ExpandableNetwork

FORMAT = 1


def save_checkpoint(path: Path, network: ExpandableNetwork, config: RunConfig, header: Mapping[str, Any]) -> None:
    """Write a run's network with its configuration.

    header   JSON-ready facts: `image_shape`, and `sequence` where images are sequences; task, classes, ...
    """
    parts = len(network.extractors), network.classes, network.decision.decision
    architecture = expandable(_description(config, header), *parts)
    own = {"config": to_mapping(config), "extractors": len(network.extractors), "outputs": network.classes}
    save_network(path, network, architecture, {**own, **header})


def save_network(path: Path, network: nn.Module, architecture: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Write any network.

    architecture   name and numbers from which `build_network` builds it
    header         further JSON-ready facts, `image_shape` among them
    """
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    content = {"format": FORMAT, "architecture": dict(architecture), **header}
    write_bytes(path, save(tensors, {"alade_brian": json.dumps(content)}))


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
            "that wrote it, or train or convert anew"
        )
    # Before the header described the architecture, it followed from the configuration of the run.
    needed = ("architecture",) if "architecture" in header else ("config", "extractors", "outputs")
    missing = [key for key in (*needed, "image_shape") if key not in header]
    if missing:
        raise UserError(f"the checkpoint {path} is damaged (its header lacks {missing[0]}); use another checkpoint")
    if "architecture" not in header:
        config = config_from(header["config"], str(path))
        header["architecture"] = expandable(_description(config, header), header["extractors"], header["outputs"])
    return header


def _description(config: RunConfig, header: Mapping[str, Any]) -> BackboneDescription:
    return backbone_description(config.network, tuple(header["image_shape"]), bool(header.get("sequence")))


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise UserError(f"the checkpoint {path} is damaged (its header is no JSON object); use another checkpoint")
    return header


def load_checkpoint(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint in eval mode, whatever trained it, and its header, which has `architecture`.

    UserError if the file is no checkpoint, is damaged, or its tensors are not those of its architecture.
    """
    header = read_header(path)
    try:
        network = build_network(header["architecture"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"the checkpoint {path} is of an architecture that this version cannot build ({error}); use the version "
            "that wrote it, or train or convert anew"
        ) from None
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    wrong = _differences(tensors, network.state_dict())
    if wrong:
        raise UserError(
            f"the checkpoint {path} is of another architecture ({wrong}) than its header describes; use another "
            "checkpoint"
        )
    network.load_state_dict(tensors)
    return network.eval(), header


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
