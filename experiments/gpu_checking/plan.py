"""What is done on a machine with a GPU, in which order, and for how long."""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from alade_brian.errors import UserError
from alade_brian.gpu_checking import checks, tensors
from alade_brian.gpu_checking.networks import GpuCase, case
from alade_brian.gpu_checking.report import least_bytes, ratios
from alade_brian.simulation import SimulationSettings, check_machine
from alade_brian.simulation.cuda.toolkit import find_gpu
from alade_brian.simulation.planning import draft_plan
from alade_brian.simulation.resources import gpu_bytes
from alade_brian.spec import NetworkSpec

log = logging.getLogger("alade_brian.gpu_check")

# The rate at which networks are compared, and the type that is exact.
CHECKED_RATE, EXACT = 0.1, "float64"
WAYS = ("shared", "explicit")
# Explicit synapses of many images do not fit, and take long to set up.
EXPLICIT_BATCHES = [4]


@dataclass
class GpuCheckPlan:
    """All checks, until the time is over.

    left_out     what there was no time or no package for
    uncompared   the comparisons among it that there was no time for
    """

    arguments: argparse.Namespace
    began: float
    left_out: list[str] = field(default_factory=list)
    uncompared: list[str] = field(default_factory=list)

    def settings(self, way: str, dtype: str) -> SimulationSettings:
        """A way of simulating on the GPU, or on what stands in for it."""
        return SimulationSettings(backend=self.arguments.stand_in or "cuda", connectivity=way, dtype=dtype)

    def run(self) -> dict[str, Any]:
        """Everything; UserError where this machine cannot simulate in any of the ways on a GPU."""
        ways = self._ways()
        found: list[dict[str, Any]] = []
        for way in ways:
            for name in self.arguments.networks:
                if self._late(f"comparing {way} on {name}"):
                    self.uncompared.append(f"{way} on {name}")
                    continue
                one = case(name, CHECKED_RATE, self.arguments.images, self.arguments.seed)
                found.append({"way": way} | checks.check(one, self.settings(way, EXACT)))
        bandwidth = self._bandwidth()
        speeds = [
            self._speeds(ways, rate, dtype, bandwidth) for dtype in ("float32", EXACT) for rate in self.arguments.rates
        ]
        return {
            "device": self._device(), "torch": tensors.available(self._torch_device), "bandwidth": bandwidth,
            "checks": found, "uncompared": self.uncompared, "throughput": speeds, "left_out": self.left_out,
            "seconds": time.monotonic() - self.began,
        }  # fmt: skip

    def _ways(self) -> list[str]:
        """The ways that this machine can go; the first refusal where there is none."""
        ways, refusals = [], []
        for way in WAYS:
            try:
                check_machine(self.settings(way, EXACT))
                ways.append(way)
            except UserError as error:
                refusals.append(error)
                self.left_out.append(f"{way}: {error}")
        if not ways:
            raise refusals[0]
        return ways

    def _speeds(self, ways: list[str], rate: float, dtype: str, bandwidth: float | None) -> dict[str, Any]:
        shown, batches, seconds = self.arguments.images, self.arguments.batches, self.arguments.seconds
        one = case(self.arguments.networks[-1], rate, shown, self.arguments.seed)
        found: dict[str, dict[str, float]] = {}
        for way in ways:
            sizes = batches if way == "shared" else EXPLICIT_BATCHES
            if not self._late(f"the speed of {way} at {rate:g} in {dtype}"):
                found[way] = self._tried(way, one, self.settings(way, dtype), sizes)
        if not self._late(f"the speed of cpp at {rate:g} in {dtype}"):
            cpp = SimulationSettings(backend="cpp", dtype=dtype, workers=None)
            found["cpp"] = checks.throughput(one, cpp, [8], seconds)
        if tensors.available(self._torch_device) and not self._late(f"the speed of PyTorch at {rate:g} in {dtype}"):
            found["torch"] = tensors.throughput(one, dtype, batches, seconds, self._torch_device)
        itemsize = 8 if dtype == EXACT else 4
        row = {
            "rate": rate, "dtype": dtype, "images_per_second": found,
            "least_bytes_per_image": least_bytes(one.spec, itemsize),
            "gpu_bytes_estimated": {way: self._gpu_bytes(one.spec, way, dtype) for way in ways},
        }  # fmt: skip
        log.info("%s", row)
        return row | {"ratios": ratios(row, bandwidth)}

    def _gpu_bytes(self, spec: NetworkSpec, way: str, dtype: str) -> int:
        """Of the GPU, whether it is there or something else in its place."""
        plan = draft_plan(spec, self.settings(way, dtype))
        return gpu_bytes(spec, plan.connectivity, plan.batch, dtype)

    def _tried(self, way: str, one: GpuCase, settings: SimulationSettings, batches: list[int]) -> dict[str, float]:
        """A measurement of speed; one that fails must not cost the others."""
        try:
            return checks.throughput(one, settings, batches, self.arguments.seconds)
        except UserError as error:
            self.left_out.append(f"{way}: {error}")
            return {}

    def _late(self, what: str) -> bool:
        """Whether the time is over; then it is noted what was left out."""
        late = time.monotonic() - self.began > 60 * self.arguments.minutes
        if late:
            self.left_out.append(f"{what}: no time left (--minutes)")
        return late

    @property
    def _torch_device(self) -> str:
        return "cpu" if self.arguments.stand_in else "cuda"

    def _bandwidth(self) -> float | None:
        if self.arguments.bandwidth is not None:
            return float(self.arguments.bandwidth * 1e9)
        return tensors.bandwidth() if not self.arguments.stand_in and tensors.available("cuda") else None

    def _device(self) -> str:
        if self.arguments.stand_in:
            return f"{self.arguments.stand_in} in the place of a GPU: nothing here was measured on one"
        gpu = find_gpu()
        return f"{gpu.name}, {gpu.memory / 2**30:.0f} GiB, driver {gpu.driver}"
