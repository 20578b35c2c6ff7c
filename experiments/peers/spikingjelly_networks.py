"""Train SpikingJelly networks on digits, convert them, and compare every spike with SpikingJelly's own forward pass.

python experiments/peers/spikingjelly_networks.py --out runs/peers
"""

from __future__ import annotations

import sys

from common import Peer, run
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

STEPS = 8


class SpikingJellyConvolutional(nn.Module):
    """Time as the first axis: convolution, batch norm, LIF and parametric LIF, max pooling, a vote of ten groups."""

    def __init__(self) -> None:
        super().__init__()
        atan = surrogate.ATan
        self.net = nn.Sequential(
            layer.Conv2d(1, 16, 3, padding=1, bias=False), layer.BatchNorm2d(16),
            neuron.LIFNode(tau=2.0, surrogate_function=atan(), detach_reset=True), layer.MaxPool2d(2),
            layer.Conv2d(16, 32, 3, padding=1, bias=False), layer.BatchNorm2d(32),
            neuron.ParametricLIFNode(init_tau=2.0, surrogate_function=atan(), detach_reset=True), layer.AvgPool2d(2),
            layer.Flatten(), layer.Linear(32 * 4, 50),
            neuron.LIFNode(tau=2.0, v_reset=None, surrogate_function=atan(), detach_reset=True), layer.VotingLayer(5),
        )  # fmt: skip
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)).mean(0)


class SpikingJellyRecurrent(nn.Module):
    """A linear recurrent container around a LIF neuron, then an integrate-and-fire layer."""

    def __init__(self) -> None:
        super().__init__()
        atan = surrogate.ATan
        self.enter = nn.Sequential(layer.Flatten(), layer.Linear(64, 40))
        self.recurrent = layer.LinearRecurrentContainer(
            neuron.LIFNode(decay_input=False, surrogate_function=atan()), 40, 40, bias=True
        )
        self.leave = nn.Sequential(layer.Linear(40, 10), neuron.IFNode(surrogate_function=atan()))
        functional.set_step_mode(self, "m")
        self.recurrent.sub_module.step_mode = "s"

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.recurrent(self.enter(x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)))).mean(0)


def answer(output: Tensor) -> Tensor:
    """Rates between 0 and 1, stretched so that a softmax can tell them apart."""
    return 4 * output


PEERS = {
    "spikingjelly-convolutional": Peer(SpikingJellyConvolutional, answer, functional.reset_net),
    "spikingjelly-recurrent": Peer(SpikingJellyRecurrent, answer, functional.reset_net),
}

if __name__ == "__main__":
    sys.exit(run(PEERS, ("spikingjelly",), __doc__ or ""))
