"""Train a Norse network on digits, convert it, and compare every spike with Norse's own forward pass.

python experiments/peers/norse_networks.py --out runs/peers
"""

from __future__ import annotations

import sys

import norse.torch as norse
import torch
from common import Peer, run
from torch import Tensor, nn

STEPS = 24


class NorseConvolutional(nn.Module):
    """LIF and LIFBox cells; a leaky integrator's largest voltage is the answer."""

    def __init__(self) -> None:
        super().__init__()
        low = torch.as_tensor(0.3)
        self.net = norse.SequentialState(
            nn.Conv2d(1, 12, 3, padding=1),
            norse.LIFCell(norse.LIFParameters(v_th=low, tau_mem_inv=torch.as_tensor(200.0))),
            nn.AvgPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            norse.LIFBoxCell(norse.LIFBoxParameters(v_th=low, tau_mem_inv=torch.as_tensor(200.0))),
            nn.Flatten(),
            nn.Linear(24 * 16, 10),
            norse.LICell(),
        )

    def forward(self, x: Tensor) -> Tensor:
        state, voltages = None, []
        for _ in range(STEPS):
            voltage, state = self.net(x, state)
            voltages.append(voltage)
        return torch.stack(voltages).max(0)[0]


PEERS = {"norse-convolutional": Peer(NorseConvolutional, lambda output: 4 * output)}

if __name__ == "__main__":
    sys.exit(run(PEERS, ("norse", "nir"), __doc__ or ""))
