"""What the peers' scripts share: data, training, and the comparison of every spike."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alade_brian.data import load_dataset
from alade_brian.files import write_text
from alade_brian.verification.verify import verify

EPOCHS, BATCH = 12, 64


@dataclass(frozen=True)
class Peer:
    """A network to train: how it is made, and how its logits come out of what its forward returns."""

    make: Callable[[], nn.Module]
    logits: Callable[[Any], Tensor]
    reset: Callable[[nn.Module], None] = lambda model: None
    learning_rate: float = 2e-3


def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test images ``(n, 1, 8, 8)`` of scikit-learn's digits, with their labels."""
    data = load_dataset("digits")
    train = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    return train, (torch.from_numpy(data.test_images), torch.from_numpy(data.test_labels))


def train(peer: Peer, seed: int) -> nn.Module:
    """A trained network, in eval mode."""
    torch.manual_seed(seed)
    (images, labels), _ = digits()
    model = peer.make()
    optimizer = torch.optim.Adam(model.parameters(), lr=peer.learning_rate)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            peer.reset(model)
            loss = nn.functional.cross_entropy(peer.logits(model(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def accuracy(peer: Peer, model: nn.Module) -> float:
    """Accuracy on the test images."""
    _, (images, labels) = digits()
    peer.reset(model)
    with torch.no_grad():
        return float((peer.logits(model(images)).argmax(1) == labels).double().mean())


def examine(name: str, peer: Peer, seed: int, count: int, packages: tuple[str, ...]) -> dict[str, Any]:
    """Train, convert, compare; everything that was found."""
    began = time.perf_counter()
    model = train(peer, seed)
    trained = time.perf_counter() - began
    (images, _), (test, _) = digits()
    shown = torch.cat([test, images])[:count].double().numpy()
    found = verify(model, shown)
    print(f"{name}: accuracy {accuracy(peer, model):.4f}, trained in {trained:.0f} s\n{found}", flush=True)
    return {
        "network": name,
        "seed": seed,
        "test_accuracy": accuracy(peer, model),
        "images": found.images,
        "entries_compared": found.spikes_compared,
        "mismatched_spikes": found.mismatched_spikes,
        "prediction_agreement": found.prediction_agreement,
        "logit_max_abs_difference": found.logit_max_abs_difference,
        "spikes": {layer.name: layer.spikes_reference for layer in found.layers},
        "agrees": found.agrees,
        "versions": {package: version(package) for package in ("torch", "brian2", *packages)},
        "python": platform.python_version(),
    }


def run(peers: Mapping[str, Peer], packages: tuple[str, ...], description: str) -> int:
    """The command line of a peer's script; the exit code is 1 where a spike differs, or nothing was compared."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder for one JSON file per network")
    parser.add_argument("--images", type=int, default=600, help="images compared (default 600)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(peers), help="one of the networks")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    # These networks are so small that a second thread costs more than it gives.
    torch.set_num_threads(1)
    agree = []
    for name, peer in peers.items():
        if options.only in (None, name):
            found = examine(name, peer, options.seed, options.images, packages)
            write_text(options.out / f"{name}.json", json.dumps(found, indent=1) + "\n")
            agree.append(bool(found["agrees"]))
    return 0 if agree and all(agree) else 1
