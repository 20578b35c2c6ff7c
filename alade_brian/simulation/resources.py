"""The memory that a simulation takes, and a refusal if the machine does not have it."""

from __future__ import annotations

from math import prod

from alade_brian.errors import UserError
from alade_brian.machine import available_bytes
from alade_brian.simulation.cuda.toolkit import Gpu
from alade_brian.simulation.duration import ACTIVITY
from alade_brian.simulation.engine import BYTES_PER_BLOCK
from alade_brian.simulation.gather import is_list
from alade_brian.simulation.preferences import float_type
from alade_brian.spec import NetworkSpec, Projection
from alade_brian.spec.cost_table import BYTES_PER_SYNAPSE, lowering_table, synapses_per_projection

# What one program is given and gives back at a time, with copies on both sides of its pipes.
STREAM_BYTES = 6 * BYTES_PER_BLOCK
# What CUDA itself takes of a GPU's memory.
CUDA_BYTES = 600 * 2**20
# A synapse on a GPU, beside its weight: its number in the list of its neuron, and both its ends.
SYNAPSE_BYTES = 12
# A GPU's program with explicit synapses sets all of them up for every run.
GPU_IMAGES_PER_RUN = 1024


def format_bytes(count: float) -> str:
    """A size for reading."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


def format_seconds(seconds: float) -> str:
    """A duration for reading, as roughly as it is known."""
    if seconds < 90:
        return f"{seconds:.1g} s" if seconds < 9.5 else f"{round(seconds, -1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def needed_bytes(spec: NetworkSpec, connectivity: str, batch: int, dtype: str) -> int:
    """Memory of one process that simulates, about: numbers, state, spikes, and what is on its way."""
    itemsize = float_type(dtype)().itemsize
    state = batch * sum(
        p.size * (itemsize * (2 + len(p.neuron.parameters)) + 4 + spec.steps // 8) for p in spec.populations
    )
    if connectivity == "explicit":
        return state + batch * sum(row.bytes for row in lowering_table(spec))
    numbers = itemsize * sum(_numbers(spec, p) for p in spec.projections)
    listed = sum(
        count * BYTES_PER_SYNAPSE
        for p, count in zip(spec.projections, synapses_per_projection(spec), strict=True)
        if p.release is not None
    )
    return state + numbers + batch * listed + STREAM_BYTES


def _numbers(spec: NetworkSpec, projection: Projection) -> int:
    if is_list(spec, projection):
        return prod(spec.shape(projection.source)) * prod(spec.shape(projection.target))
    return projection.operator.values().size


def gpu_bytes(spec: NetworkSpec, connectivity: str, batch: int, dtype: str) -> int:
    """A GPU's memory that a simulation takes, about."""
    itemsize = float_type(dtype)().itemsize
    rows = 1 if spec.stimulus.coding == "direct" else spec.steps
    images = batch * rows * sum(s.size for s in spec.stimuli) * itemsize
    if connectivity == "shared":
        return CUDA_BYTES + needed_bytes(spec, connectivity, batch, dtype) - STREAM_BYTES + images
    synapses = sum(row.synapses for row in lowering_table(spec))
    # Every spike that is recorded is a number and a time.
    recorded = GPU_IMAGES_PER_RUN * spec.steps * sum(p.size for p in spec.spiking) * 12 * ACTIVITY
    state = batch * sum(p.size * itemsize * (3 + len(p.neuron.parameters)) for p in spec.populations)
    return CUDA_BYTES + batch * synapses * (itemsize + SYNAPSE_BYTES) + state + images + int(recorded)


def check_memory(each: int, workers: int) -> None:
    """UserError if this machine lacks the memory for so many processes of `each` bytes."""
    needed, available = each * workers, available_bytes()
    if available is not None and needed > available:
        raise UserError(
            f"the simulation needs about {format_bytes(needed)} in {workers} process(es), and "
            f"{format_bytes(available)} are free; use fewer --workers, a smaller simulation.batch, "
            "float32, or a smaller network"
        )


def check_gpu_memory(needed: int, gpu: Gpu) -> None:
    """UserError if that GPU has no room for so many bytes."""
    # Some drivers do not say how much is free.
    if gpu.free and needed > gpu.free:
        raise UserError(
            f"the simulation needs about {format_bytes(needed)} of the GPU's memory, and {format_bytes(gpu.free)} of "
            f"{format_bytes(gpu.memory)} are free on the {gpu.name}; end what else runs there (nvidia-smi shows it), "
            "or use a smaller simulation.batch, float32, or a smaller network"
        )
