"""What the simulation in Brian2 is compared with: torch, a recording, or another simulator, all asked the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from alade_brian.spec import NetworkSpec
from alade_brian.spikes.packed import PackedResponses, packed
from alade_brian.spikes.responses import Responses

if TYPE_CHECKING:
    from alade_brian.simulation.simulator import Images


class Reference(Protocol):
    """A network that responds to images.

    name   what reports call it, such as ``torch``, ``recorded`` or ``NEST``
    """

    @property
    def name(self) -> str: ...

    def packed(self, images: Images, part: slice) -> PackedResponses:
        """The responses to a part of the images; `verify_against` asks for all parts, one after the other."""
        ...

    def membranes(self, images: Images, image: int, layer: str) -> np.ndarray | None:
        """Membranes of a layer before the reset, for the image of that number: float64 ``(steps, neurons)``.

        None if the reference does not know them.
        """
        ...


class RecordedReference:
    """Responses that were recorded before, by whatever fired them.

    Raises ValueError if they lack a layer of the specification.
    """

    name = "recorded"

    def __init__(self, spec: NetworkSpec, responses: Responses) -> None:
        missing = [p.name for p in spec.spiking if p.name not in responses.spikes]
        if missing:
            raise ValueError(f"the responses lack the layer(s) {', '.join(missing)} of the specification")
        self.responses, self.shapes = responses, {p.name: p.shape for p in spec.spiking}

    def packed(self, images: Images, part: slice) -> PackedResponses:
        """See `Reference`."""
        return packed(self.responses.select(part), self.shapes)

    def membranes(self, images: Images, image: int, layer: str) -> None:
        """None: spikes and logits are all that is compared with."""


def joined(parts: Sequence[PackedResponses]) -> PackedResponses:
    """Responses to consecutive images as one."""
    spikes = {name: np.concatenate([p.spikes[name] for p in parts]) for name in parts[0].spikes}
    return PackedResponses(spikes, parts[0].shapes, np.concatenate([p.logits for p in parts]))
