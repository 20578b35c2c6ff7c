"""snnTorch's tutorial networks, written after what its documentation describes, with fewer units and smaller images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import snntorch as snn
import torch
from snntorch import surrogate
from torch import Tensor, nn

from alade_brian.verification.zoo.example import Example

STEPS = 8


class LeakyByHand(nn.Module):
    """Tutorial 5's neuron before `snn.Leaky` takes its place: the spikes are those of the membrane so far."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta, self.fire = beta, surrogate.atan()

    def forward(self, current: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
        spikes = self.fire(mem - 1.0)
        return spikes, self.beta * mem + current - (self.beta * spikes).detach()


class TwoLayers(nn.Module):
    """Two dense layers of neurons in a loop over a held image; returns spikes and membranes of the last."""

    def __init__(self, neuron: Callable[[], nn.Module], states: int = 1, answer: str = "both") -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(36, 24), neuron()
        self.fc2, self.lif2 = nn.Linear(24, 10), neuron()
        self.states, self.answer = states, answer

    def forward(self, x: Tensor) -> Any:
        current = self.fc1(x)
        before1, before2 = (
            [torch.zeros_like(current)] * self.states,
            [torch.zeros_like(self.fc2(current))] * self.states,
        )
        spikes, membranes = [], []
        for _ in range(STEPS):
            spk1, *before1 = self.lif1(self.fc1(x), *before1)
            spk2, *before2 = self.lif2(self.fc2(spk1), *before2)
            spikes.append(spk2)
            membranes.append(before2[-1])
        if self.answer == "spikes":
            return torch.stack(spikes, dim=0)
        return torch.stack(spikes, dim=0), torch.stack(membranes, dim=0)


def convolutional(channels: int, pool_first: bool) -> nn.Sequential:
    """Tutorials 6 and 7: two convolutions, each with max pooling and a neuron, and a dense layer; states are hidden."""

    def leaky(**more: Any) -> nn.Module:
        return snn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(slope=25), init_hidden=True, **more)

    def stage() -> list[nn.Module]:
        return [nn.MaxPool2d(2), leaky()] if pool_first else [leaky(), nn.MaxPool2d(2)]

    return nn.Sequential(
        nn.Conv2d(channels, 6, 5), *stage(), nn.Conv2d(6, 8, 5), *stage(), nn.Flatten(), nn.Linear(8 * 4, 10),
        leaky(output=True),
    )  # fmt: skip


class Functional(nn.Module):
    """Tutorial 6 as a class: max pooling as a function between the convolution and its neuron."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.lif1, self.conv2, self.lif2 = (
            nn.Conv2d(1, 6, 5),
            snn.Leaky(0.5),
            nn.Conv2d(6, 8, 5),
            snn.Leaky(0.5),
        )
        self.fc, self.lif3 = nn.Linear(8 * 4, 10), snn.Leaky(0.5)

    def forward(self, x: Tensor) -> Any:
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spikes, membranes = [], []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(nn.functional.max_pool2d(self.conv1(x), 2), mem1)
            spk2, mem2 = self.lif2(nn.functional.max_pool2d(self.conv2(spk1), 2), mem2)
            spk3, mem3 = self.lif3(self.fc(spk2.flatten(1)), mem3)
            spikes.append(spk3)
            membranes.append(mem3)
        return torch.stack(spikes, dim=0), torch.stack(membranes, dim=0)


class Regression(nn.Module):
    """The regression tutorials: a membrane that never resets follows a function of time; one input for each step."""

    def __init__(self, hidden: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.fc1, self.lif1, self.fc2 = nn.Linear(1, 24), hidden(), nn.Linear(24, 24)
        # One decay for each neuron is learnt: training leaves some of them at 0 and at 1.
        decays = torch.linspace(-0.1, 1.1, 24)
        self.lif2, self.fc3 = snn.Leaky(decays, learn_beta=True), nn.Linear(24, 1)
        self.out = snn.Leaky(torch.tensor([0.9]), learn_beta=True, reset_mechanism="none")

    def forward(self, x: Tensor) -> Tensor:
        state1, mem2, mem3 = self.lif1.reset_mem(), self.lif2.reset_mem(), self.out.reset_mem()  # type: ignore[operator]
        state1 = state1 if isinstance(state1, tuple) else (state1,)
        recurrent, membranes = len(state1) > 1, []
        for step in range(x.size(0)):
            spk1, *rest = self.lif1(self.fc1(x[step]), *state1)
            state1 = (spk1, *rest) if recurrent else rest
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            _, mem3 = self.out(self.fc3(spk2), mem3)
            membranes.append(mem3)
        return torch.stack(membranes)


class Autoencoder(nn.Module):
    """The autoencoder's tutorial: convolutions down and transposed ones up, batch norms, the last membrane read."""

    def __init__(self) -> None:
        super().__init__()

        def leaky(threshold: float = 1.0, **more: Any) -> nn.Module:
            return snn.Leaky(0.5, threshold=threshold, init_hidden=True, **more)

        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), leaky(),
            nn.Conv2d(4, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6), leaky(),
            nn.Flatten(), nn.Linear(24, 12), leaky(),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(12, 24), leaky(), nn.Unflatten(1, (6, 2, 2)),
            nn.ConvTranspose2d(6, 4, 3, padding=1, stride=2, output_padding=1), nn.BatchNorm2d(4), leaky(),
            nn.ConvTranspose2d(4, 1, 3, padding=1, stride=2, output_padding=1), leaky(20000.0, output=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        membranes = []
        for _ in range(STEPS):
            _, membrane = self.decoder(self.encoder(x))
            membranes.append(membrane)
        return torch.stack(membranes)[-1]


class Parallel(nn.Module):
    """Leaky neurons that are computed for all steps at once, as a recurrent layer of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.lif = snn.LeakyParallel(input_size=36, hidden_size=10, beta=0.9)

    def forward(self, x: Tensor) -> Any:
        return self.lif(x.unsqueeze(0).repeat(STEPS, 1, 1))


class Lstm(nn.Module):
    """A spiking LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = snn.SLSTM(36, 10)

    def forward(self, x: Tensor) -> Tensor:
        syn, mem = self.lstm.init_slstm()
        spikes = []
        for _ in range(STEPS):
            spk, syn, mem = self.lstm(x, syn, mem)
            spikes.append(spk)
        return torch.stack(spikes)


def leaky(**more: Any) -> Callable[[], nn.Module]:
    """Makes leaky neurons."""
    return lambda: snn.Leaky(0.8, **more)


EXAMPLES: tuple[Example, ...] = (
    Example("tutorial 3: dense layers, `Leaky`", lambda: TwoLayers(leaky()), (36,)),
    Example("tutorial 4: `Synaptic`", lambda: TwoLayers(lambda: snn.Synaptic(0.8, 0.7), 2), (36,)),
    Example("tutorial 4: `Alpha`", lambda: TwoLayers(lambda: snn.Alpha(0.9, 0.7, threshold=0.3), 3), (36,)),
    Example(
        "tutorial 5: dense layers, the neuron by hand", lambda: TwoLayers(lambda: LeakyByHand(0.8), 1, "spikes"), (36,)
    ),
    Example("tutorial 5: dense layers, membranes read", lambda: TwoLayers(leaky()), (36,), {"output": 1}),
    Example(
        "tutorial 6: convolutional, pooling before the neurons",
        lambda: convolutional(1, True),
        (1, 20, 20),
        {"steps": STEPS},
    ),
    Example(
        "tutorial 6: convolutional, pooling behind the neurons",
        lambda: convolutional(1, False),
        (1, 20, 20),
        {"steps": STEPS},
    ),
    Example("tutorial 6: convolutional, as a class", Functional, (1, 20, 20)),
    Example(
        "tutorial 7: events, pooling before the neurons",
        lambda: convolutional(2, True),
        (STEPS, 2, 20, 20),
        {"sequence": True},
    ),
    Example(
        "tutorial 7: events, pooling behind the neurons",
        lambda: convolutional(2, False),
        (STEPS, 2, 20, 20),
        {"sequence": True},
    ),
    Example(
        "regression 1: membrane learning, one decay for each neuron",
        lambda: Regression(leaky()),
        (STEPS, 1),
        {"sequence": True},
    ),
    Example(
        "regression 2: recurrent neurons",
        lambda: Regression(lambda: snn.RLeaky(0.8, linear_features=24)),
        (STEPS, 1),
        {"sequence": True},
    ),
    Example("autoencoder", Autoencoder, (1, 8, 8)),
    Example("`LeakyParallel`", Parallel, (36,)),
    Example("spiking LSTM", Lstm, (36,)),
)
