"""NEST as a function: a specification and images in, spikes and logits out, simulated in a process of its own."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alade_brian.conversion.to_nest.plan import nest_plan
from alade_brian.errors import UserError
from alade_brian.safe_path import SAFE_PATH
from alade_brian.simulation.fused.process import check_interrupt
from alade_brian.simulation.resources import available_bytes, format_bytes
from alade_brian.simulation.simulator import Images, arrays, check_images, pixels
from alade_brian.spec import NetworkSpec
from alade_brian.spec.file import save_spec
from alade_brian.spikes.responses import Responses

log = logging.getLogger(__name__)

# Imported by name in the other process alone: it imports NEST.
PROGRAM = "alade_brian.conversion.to_nest.network"
# While a connection is made, in lists of its ends, weight and delay, and in NEST.
BYTES_PER_SYNAPSE = 120


def simulate_in_nest(spec: NetworkSpec, images: Images, traces: Sequence[str] = ()) -> Responses:
    """All responses to images, as `simulate` gives them, in float64.

    images   as `simulate` takes them
    traces   populations whose membrane is kept, as it is at the end of every step

    Raises UserError where NEST is not installed, or cannot simulate the specification exactly.
    """
    check_nest(spec)
    shown = arrays(spec, images)
    check_images(spec, shown)
    with tempfile.TemporaryDirectory(prefix="alade_brian_nest_") as folder:
        files = [Path(folder, name) for name in ("spec.npz", "shown.npz", "answered.npz")]
        save_spec(spec, files[0])
        np.savez(files[1], pixels=pixels(spec, shown), traces=np.array(traces, dtype=str))
        _run(files)
        with np.load(files[2]) as found:
            spikes = {p.name: found[f"spikes_{k}"] for k, p in enumerate(spec.spiking)}
            membranes = {name: found[f"trace_{k}"] for k, name in enumerate(traces)}
            return Responses(spikes, found["logits"], membranes)


def find_nest() -> None:
    """UserError where NEST is not installed."""
    if importlib.util.find_spec("nest") is None:
        raise UserError("NEST is not installed; install it with: pip install 'alade-brian[nest]'")


def check_nest(spec: NetworkSpec) -> None:
    """UserError where NEST is not installed, cannot simulate the specification exactly, or has not the memory."""
    find_nest()
    nest_plan(spec)
    count = spec.synapse_count(*spec.projections)
    needed, available = count * BYTES_PER_SYNAPSE, available_bytes()
    if available is not None and needed > available:
        raise UserError(
            f"the network has {count:,} synapses, for which NEST needs about {format_bytes(needed)}, and "
            f"{format_bytes(available)} are free; use a smaller network"
        )


def _run(files: Sequence[Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, *map(str, files)],
        env={
            **os.environ,
            "PYNEST_QUIET": "1",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            **SAFE_PATH,
        },
        capture_output=True,
        text=True,
    )
    check_interrupt(done.returncode)
    if done.returncode:
        raise RuntimeError(f"NEST ended with code {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    if done.stderr.strip():
        log.warning("NEST reports: %s", done.stderr.strip()[-2000:])
