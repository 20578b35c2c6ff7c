"""PyTorch on the same GPU, where it is installed: the same network as a loop over time, and how fast memory is."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from alade_brian.gpu_checking.networks import DECAY, GpuCase
from alade_brian.spec import Convolution, Dense, NetworkSpec

COPIED_BYTES = 2**30


def available(device: str) -> str | None:
    """PyTorch's version where it can use the device; None otherwise."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return str(torch.__version__) if device == "cpu" or torch.cuda.is_available() else None


def throughput(case: GpuCase, dtype: str, batches: list[int], seconds: float, device: str) -> dict[str, float]:
    """Images per second for every number of images at once, images ready on the device."""
    import torch

    step = forward(case.spec, getattr(torch, dtype), device)
    found = {}
    for batch in batches:
        shown = torch.from_numpy(np.resize(case.images, (batch, *case.images.shape[1:])))
        images = shown.to(device, getattr(torch, dtype))
        with torch.inference_mode():
            found[str(batch)] = batch / _seconds(lambda images=images: step(images), seconds, device)  # type: ignore[misc]
    return found


def forward(spec: NetworkSpec, dtype: Any, device: str) -> Callable[[Any], Any]:
    """The network of `networks.network` in PyTorch: images ``(n, C, H, W)`` -> logits."""
    import torch
    from torch.nn import functional

    operators = [p.operator for p in spec.projections]
    weights = [torch.tensor(o.weight).to(device, dtype) for o in operators if isinstance(o, Convolution | Dense)]
    strides = [o.stride for o in operators if isinstance(o, Convolution)]

    def logits(images: Any) -> Any:
        held = functional.conv2d(images, weights[0], stride=strides[0], padding=1)
        membranes: list[Any] = [0.0] * len(strides)
        total: Any = 0.0
        for _ in range(spec.steps):
            spikes: Any = None
            for number, stride in enumerate(strides):
                current = held if number == 0 else functional.conv2d(spikes, weights[number], stride=stride, padding=1)
                v = DECAY * membranes[number] + current
                spikes = (v > 1.0).to(dtype)
                membranes[number] = v * (1 - spikes)
            total = total + spikes.flatten(1) @ weights[-1].T
        return total / spec.steps

    return logits


def bandwidth() -> float:
    """Bytes per second that the GPU's memory reads and writes, as a copy shows."""
    import torch

    source = torch.zeros(COPIED_BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / _seconds(lambda: target.copy_(source), 0.5, "cuda")


def _seconds(work: Callable[[], Any], at_least: float, device: str) -> float:
    """Seconds that some work takes, done again and again for so long."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    work()
    wait()
    count, began = 0, time.perf_counter()
    while (used := time.perf_counter() - began) < at_least:
        work()
        wait()
        count += 1
    return used / count
