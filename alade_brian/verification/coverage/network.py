"""The small network that a layer of another package is tried in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

STEPS, IMAGES, PIXELS = 12, 4, 6


@dataclass(frozen=True)
class Example:
    """One way to make a layer of a class, and what it needs around it.

    build     makes the layer
    said      its arguments as the table shows them; empty: the defaults
    form      how it is called: ``loop``, once per step, and keeps its own state; ``state``, once per step with the
              state that it returned; ``steps``, once with the axis of steps in front
    inputs    features, or channels, of what it is given
    outputs   features, or channels, of what it gives
    image     whether it is given images of ``inputs`` channels
    gain      how large its input is
    decoded   whether what it gives is put together over the steps already
    """

    build: Callable[[], nn.Module]
    said: str = ""
    form: Literal["loop", "state", "steps"] = "loop"
    inputs: int = 5
    outputs: int = 5
    image: bool = False
    gain: float = 2.0
    decoded: bool = False

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the images that the network is shown."""
        return (2, 4, 4) if self.image else (PIXELS,)

    def images(self) -> np.ndarray:
        """Images for the network, ``(n, *image_shape)``."""
        return np.random.default_rng(1).normal(size=(IMAGES, *self.image_shape))

    def network(self) -> Network:
        """The layer in its network, with random weights that are the same every time."""
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = Network(self)
        for layer in (made.front, made.behind):
            for part in layer.modules():
                if isinstance(part, nn.Linear | nn.Conv2d):
                    fan = part.weight[0].numel()
                    part.weight.data = torch.randn(part.weight.shape, generator=generator) * self.gain / fan**0.5
        return made


class Network(nn.Module):
    """A layer between two others that are linear; the answer is the mean over the steps."""

    def __init__(self, example: Example) -> None:
        super().__init__()
        self.form, self.decoded, self.axes = example.form, example.decoded, len(example.image_shape)
        self.front: nn.Module = nn.Linear(PIXELS, example.inputs)
        self.layer = example.build()
        self.behind: nn.Module = nn.Linear(example.outputs, 3)
        if example.image:
            self.front = nn.Conv2d(2, example.inputs, 3, padding=1)
            behind = nn.Flatten(), nn.Linear(example.outputs * 16, 3)
            self.behind = nn.Sequential(*behind)
            if example.form == "steps":
                self.front, self.behind = _over_steps(self.front), _over_steps(*behind)

    def forward(self, x: Tensor) -> Any:
        if self.form == "steps":
            given = self.layer(self.front(x.unsqueeze(0).repeat(STEPS, *(1 for _ in range(1 + self.axes)))))
            sent = given[0] if isinstance(given, tuple) else given
            return sent if self.decoded else self.behind(sent).mean(0)
        answers, state = [], None
        for _ in range(STEPS):
            value = self.front(x)
            given = self.layer(value, state) if self.form == "state" else self.layer(value)
            state = given[1] if self.form == "state" else None
            # What a container returns is no tuple yet while it is traced.
            whole = isinstance(given, tuple) or self.form == "state"
            answers.append(self.behind(given[0] if whole else given))
        return torch.stack(answers).mean(0)


def _over_steps(*layers: nn.Module) -> nn.Module:
    """Layers of images, for a tensor with the steps in front."""
    from spikingjelly.activation_based.layer import SeqToANNContainer

    return SeqToANNContainer(*layers)
