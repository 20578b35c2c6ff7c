"""Trained networks by the name of their architecture: what a checkpoint's header describes, and what builds it anew.

An architecture is a name and JSON-ready numbers. A new one is a function that builds it, and a line in
`ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from alade_brian.config.run import NetworkConfig
from alade_brian.errors import UserError
from alade_brian.machine import available_bytes
from alade_brian.models import BackboneDescription, ExpandableNetwork, build_backbone, described
from alade_brian.models.layers.readouts import Decision
from alade_brian.models.networks.dense import dense_network
from alade_brian.models.networks.rectified import rectified_network


def backbone_description(
    config: NetworkConfig, image_shape: tuple[int, int, int], sequence: bool
) -> BackboneDescription:
    """The backbone of a configuration for images of a shape."""
    return described({**asdict(config), "image_shape": image_shape, "sequence": sequence})


def expandable(
    description: BackboneDescription, extractors: int, outputs: int, decision: str = "class"
) -> dict[str, Any]:
    """The architecture of an `ExpandableNetwork` of so many extractors and outputs.

    decision   what the outputs are, see `OverSteps`; recorded where it is not ``class``
    """
    told = {} if decision == "class" else {"decision": decision}
    return {
        "name": "expandable", "extractors": extractors, "outputs": outputs, "backbone": description.record(), **told,
    }  # fmt: skip


def rectified(description: BackboneDescription, outputs: int) -> dict[str, Any]:
    """The architecture of a `rectified_network` with so many outputs."""
    return {"name": "rectified", "outputs": outputs, "backbone": description.record()}


def build_network(architecture: Mapping[str, Any]) -> nn.Module:
    """The network of an architecture with fresh weights. ValueError if there is none of that name, TypeError or
    KeyError if its numbers are not those of the name."""
    numbers = dict(architecture)
    name = numbers.pop("name")
    if name not in ARCHITECTURES:
        raise ValueError(f"there is no architecture '{name}' here, but {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name](**numbers)


@contextmanager
def without_memory() -> Iterator[None]:
    """Within it a network can be built of any size: its tensors have shapes and no numbers, and no random number is
    drawn."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        yield


def check_parameter_memory(network: nn.Module, what: str) -> None:
    """UserError if this machine lacks the memory for the weights of a network, which may be built `without_memory`."""
    needed = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    available = available_bytes()
    if available is not None and needed > available:
        raise UserError(
            f"{what} has weights of {needed / 2**30:,.1f} GiB, and this machine has {available / 2**30:,.1f} GiB free; "
            "make the network smaller"
        )


def _expandable(extractors: int, outputs: int, backbone: Mapping[str, Any], decision: Decision = "class") -> nn.Module:
    description = described(backbone)
    network = ExpandableNetwork(lambda: build_backbone(description), description.steps, description.make_decision())
    for _ in range(extractors):
        network.add_extractor(inherit=False)
    network.set_classifier(outputs)
    network.decision.decision = decision
    return network


def _rectified(outputs: int, backbone: Mapping[str, Any]) -> nn.Module:
    return rectified_network(described(backbone), outputs)


def _dense(image_shape: list[int], outputs: int) -> nn.Module:
    return dense_network(tuple(image_shape), outputs)


ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"expandable": _expandable, "dense": _dense, "rectified": _rectified}
)
