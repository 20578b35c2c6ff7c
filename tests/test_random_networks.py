"""Property: random networks over the whole grammar, with dyadic weights, spike alike in PyTorch and Brian2."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from grammar import networks
from hypothesis import HealthCheck, given, settings
from networks import NUMPY, convert, dyadic_images
from torch import nn

from alade_brian.models import NEURONS
from alade_brian.verification.verify import verify

# ALADE_BRIAN_EXAMPLES=3000 python -m pytest tests/test_random_networks.py for the long run.
EXAMPLES = int(os.environ.get("ALADE_BRIAN_EXAMPLES", "150"))
# With this step, Euler's steps of the drawn time constants are free of rounding.
DT = 2.0**-10


@pytest.mark.slow
def test_random_networks_spike_alike() -> None:
    """Every sum is exact, so equality holds at the threshold itself; equality of silence would prove nothing."""
    seen: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(networks())
    def check(drawn: tuple[nn.Module, tuple[int, ...]]) -> None:
        net, image = drawn
        spec = convert(net, image, dt=DT)
        found = verify(net, dyadic_images(2, *image), spec, NUMPY)
        assert found.mismatched_spikes == 0, f"{net}\n{found}"
        assert found.logit_max_abs_difference < 1e-9, f"{net}\n{found}"
        seen["layers"] += len(found.layers)
        seen["silent"] += sum(layer.spikes_reference == 0 for layer in found.layers)
        seen.update({type(module).__name__ for module in net.modules()})
        seen["maxima of currents"] += any(not p.operator.linear for p in spec.projections)

    check()
    assert seen["silent"] <= 0.2 * seen["layers"], seen
    assert all(seen[cls.__name__] for cls in NEURONS.values()), seen
    assert seen["maxima of currents"] >= 0.2 * EXAMPLES, seen
