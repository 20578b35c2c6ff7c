"""Trained networks on disk: safetensors, with a JSON header that says which architecture the numbers belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from alade_brian.config.run import RunConfig, config_from, to_mapping
from alade_brian.config.sections import MOST_PIXELS, MOST_STEPS
from alade_brian.content import NOTHING, NUMBER, fault, first_line
from alade_brian.errors import UserError
from alade_brian.files import check_plain, parse_json, write_bytes
from alade_brian.learning.architectures import backbone_description, build_network, expandable, without_memory
from alade_brian.models import BackboneDescription, ExpandableNetwork
from alade_brian.plugins import is_plugin

FORMAT = 1
_BACKBONE: Mapping[str, Any] = {
    "image_shape": [int], "backbone?": str, "width?": NUMBER, "channels?": [int], "strides?": [int], "pool?": int,
    "norm?": str, "steps?": int, "decay?": NUMBER, "threshold?": NUMBER, "neuron?": str, "sequence?": bool,
    "neuron_options?": {str: (NUMBER, str, bool)}, "surrogate?": str,
}  # fmt: skip
_HEADER: Mapping[str, Any] = {
    "architecture?": {
        "name": str, "extractors?": int, "outputs?": int, "decision?": str, "image_shape?": [int],
        "backbone?": _BACKBONE,
    },
    "config?": {str: object}, "extractors?": int, "outputs?": int, "image_shape": [int], "sequence?": (bool, NOTHING),
    "task?": int, "method?": str, "dataset?": str, "classes?": [int], "class_names?": [str],
}  # fmt: skip


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
        check_plain(path)
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("alade_brian")
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}; check the path") from None
    except (SafetensorError, OSError, ValueError) as error:
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
    wrong = fault(header, _HEADER)
    if wrong is None and not all(0 < size <= MOST_PIXELS for size in header["image_shape"]):
        wrong = f"image_shape is {header['image_shape']}"
    backbone = header.get("architecture", {}).get("backbone", {}) if wrong is None else {}
    if not 0 < backbone.get("steps", 1) <= MOST_STEPS:
        wrong = f"architecture.backbone.steps is {backbone['steps']}"
    if wrong is not None:
        raise UserError(f"the checkpoint {path} is damaged (in its header {wrong}); use another checkpoint")
    if "architecture" not in header:
        config = config_from(header["config"], str(path))
        header["architecture"] = expandable(_description(config, header), header["extractors"], header["outputs"])
    return header


def _description(config: RunConfig, header: Mapping[str, Any]) -> BackboneDescription:
    return backbone_description(config.network, tuple(header["image_shape"]), bool(header.get("sequence")))


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        header = parse_json(text)
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
    architecture = header["architecture"]
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        if architecture.get("extractors", 0) > len(shapes):
            _refuse(path, f"it holds {len(shapes)} tensors for {architecture['extractors']} extractors")
        if not is_plugin(architecture.get("backbone", {}).get("backbone", "")):
            # The header alone must not decide how much memory is taken.
            with without_memory():
                _check_shapes(path, shapes, _built(path, architecture))
        network = _built(path, architecture)
        _check_shapes(path, shapes, network)
        network.load_state_dict({name: file.get_tensor(name) for name in shapes})
    return network.eval(), header


def check_of_run(header: Mapping[str, Any], path: Path | str) -> None:
    """UserError unless a checkpoint's header names the run that it is of: its configuration and task."""
    missing = next((key for key in ("config", "task", "dataset", "method", "outputs") if key not in header), None)
    if missing is not None:
        raise UserError(
            f"the checkpoint {path} is not of a run (its header lacks {missing}); name a file of a run's checkpoints "
            "folder"
        )


def _built(path: Path, architecture: Mapping[str, Any]) -> nn.Module:
    try:
        return build_network(architecture)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ZeroDivisionError, OverflowError) as error:
        reason = first_line(error)
        raise UserError(
            f"the checkpoint {path} is of an architecture that this version cannot build ({reason}); use "
            "the version that wrote it, or train or convert anew"
        ) from None


def _check_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]], network: nn.Module) -> None:
    wrong = _differences(shapes, {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})
    if wrong:
        _refuse(path, wrong)


def _refuse(path: Path, difference: str) -> NoReturn:
    raise UserError(
        f"the checkpoint {path} is of another architecture ({difference}) than its header describes; use another "
        "checkpoint"
    )


def _differences(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> str:
    """The first difference in words, or an empty string."""
    for name in sorted(set(found) | set(expected)):
        if name not in found:
            return f"it lacks {name}"
        if name not in expected:
            return f"it holds {name}, which this network lacks"
        if found[name] != expected[name]:
            return f"{name} has the shape {found[name]}, not {expected[name]}"
    return ""
