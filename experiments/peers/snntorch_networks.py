"""Train snnTorch networks on digits, convert them, and compare every spike with snnTorch's own forward pass.

python experiments/peers/snntorch_networks.py --out runs/peers
"""

from __future__ import annotations

import sys
from typing import Any

import snntorch as snn
import torch
from common import Peer, run
from torch import Tensor, nn

STEPS = 10


class SnnTorchConvolutional(nn.Module):
    """Two convolutions with batch norm and pooling of spikes, Leaky neurons; the output spikes are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.lif1 = snn.Leaky(beta=0.9, learn_beta=True)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.lif2 = snn.Leaky(beta=0.8, threshold=0.8, learn_threshold=True)
        self.average = nn.AvgPool2d(2)
        self.fc = nn.Linear(24 * 2 * 2, 10)
        self.lif3 = snn.Leaky(beta=0.9, reset_mechanism="zero")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spikes, membranes = [], []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.norm1(self.conv1(x)), mem1)
            spk2, mem2 = self.lif2(self.conv2(self.pool(spk1)), mem2)
            spk3, mem3 = self.lif3(self.fc(torch.flatten(self.average(spk2), 1)), mem3)
            spikes.append(spk3)
            membranes.append(mem3)
        return torch.stack(spikes, dim=0), torch.stack(membranes, dim=0)


class SnnTorchRecurrent(nn.Module):
    """RSynaptic (all to all) into Synaptic into RLeaky (one to one)."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.fc1 = nn.Flatten(), nn.Linear(64, 60)
        self.rsyn = snn.RSynaptic(alpha=0.7, beta=0.8, linear_features=60)
        self.fc2 = nn.Linear(60, 40)
        self.syn = snn.Synaptic(alpha=0.6, beta=0.8, reset_mechanism="zero")
        self.fc3 = nn.Linear(40, 10)
        self.rleaky = snn.RLeaky(beta=0.8, all_to_all=False, V=torch.full((10,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        spk1, syn1, mem1 = self.rsyn.init_rsynaptic()
        syn2, mem2 = self.syn.init_synaptic()
        spk3, mem3 = self.rleaky.init_rleaky()
        spikes = []
        for _ in range(STEPS):
            spk1, syn1, mem1 = self.rsyn(self.fc1(self.flatten(x)), spk1, syn1, mem1)
            spk2, syn2, mem2 = self.syn(self.fc2(spk1), syn2, mem2)
            spk3, mem3 = self.rleaky(self.fc3(spk2), spk3, mem3)
            spikes.append(spk3)
        return torch.stack(spikes)


def counted(output: Any) -> Tensor:
    """Spike counts as logits."""
    return (output[0] if isinstance(output, tuple) else output).sum(0)


PEERS = {
    "snntorch-convolutional": Peer(SnnTorchConvolutional, counted),
    "snntorch-recurrent": Peer(SnnTorchRecurrent, counted),
}

if __name__ == "__main__":
    sys.exit(run(PEERS, ("snntorch",), __doc__ or ""))
