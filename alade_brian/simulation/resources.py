"""What a simulation will take, said before it is begun, and refused where the machine does not have it."""

from __future__ import annotations

from math import prod

from alade_brian.errors import UserError
from alade_brian.simulation.cuda.toolkit import find_gpu
from alade_brian.simulation.duration import ACTIVITY, expected_seconds
from alade_brian.simulation.gather import is_list
from alade_brian.simulation.preferences import float_type
from alade_brian.simulation.settings import BYTES_PER_BLOCK, GPU_IMAGES_PER_RUN, SimulationSettings
from alade_brian.spec.cost_table import BYTES_PER_SYNAPSE, lowering_table, synapses_per_projection
from alade_brian.spec.network import NetworkSpec, Projection

# What one program is given and gives back at a time, with copies on both sides of its pipes.
STREAM_BYTES = 6 * BYTES_PER_BLOCK
# What CUDA itself takes of a GPU's memory.
CUDA_BYTES = 600 * 2**20
# A synapse on a GPU, beside its weight: its number in the list of its neuron, and both its ends.
SYNAPSE_BYTES = 12
# What a duration is said for.
IMAGES_FOR_ESTIMATE = 1000


def advice(spec: NetworkSpec, settings: SimulationSettings) -> str:
    """Size of a network, the path that it takes, its memory, and about how long it will take, in one line."""
    table = lowering_table(spec)
    passes = "fused" if settings.fuses(spec) else "separate"
    kernels = "shared kernels" if settings.shares else "a list of synapses"
    workers, each = settings.workers_for(spec), format_bytes(needed_bytes(spec, settings))
    batch = settings.batch_for(spec)
    together = f"{batch} images side by side" if batch > 1 else "an image at a time"
    return (
        f"{sum(row.neurons for row in table):,} neurons and {sum(row.synapses for row in table):,} synapses per image; "
        f"{settings.backend}, {passes} passes with {kernels}, {together}, "
        f"{workers} process{'es' if workers > 1 else ''} with about {each} each; {_duration(spec, settings)}"
    )


def _duration(spec: NetworkSpec, settings: SimulationSettings) -> str:
    if settings.cluster is not None:
        return f"how long it takes is up to the cluster at {settings.cluster}"
    if settings.backend == "cuda":
        return (
            f"about {format_bytes(gpu_bytes(spec, settings))} of the GPU's memory; how long it takes was never measured"
        )
    seconds = expected_seconds(spec, settings, IMAGES_FOR_ESTIMATE)
    return (
        f"about {format_seconds(seconds)} for {IMAGES_FOR_ESTIMATE:,} images if neurons spike in {ACTIVITY:.0%} of the "
        "steps, excluding compilation"
    )


def format_bytes(count: float) -> str:
    """A size for reading."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


def format_seconds(seconds: float) -> str:
    """A duration for reading, as roughly as it is known."""
    if seconds < 90:
        return f"{seconds:.1g} s" if seconds < 9.5 else f"{round(seconds, -1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def needed_bytes(spec: NetworkSpec, settings: SimulationSettings) -> int:
    """Memory of one process that simulates, about: numbers, state, spikes, and what is on its way."""
    batch, itemsize = settings.batch_for(spec), float_type(settings.dtype)().itemsize
    state = batch * sum(
        p.size * (itemsize * (2 + len(p.neuron.parameters)) + 4 + spec.steps // 8) for p in spec.populations
    )
    if not settings.shares:
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


def gpu_bytes(spec: NetworkSpec, settings: SimulationSettings) -> int:
    """A GPU's memory that a simulation takes, about."""
    batch, itemsize = settings.batch_for(spec), float_type(settings.dtype)().itemsize
    rows = 1 if spec.stimulus.coding == "direct" else spec.steps
    images = batch * rows * sum(s.size for s in spec.stimuli) * itemsize
    if settings.shares:
        return CUDA_BYTES + needed_bytes(spec, settings) - STREAM_BYTES + images
    synapses = sum(row.synapses for row in lowering_table(spec))
    # Every spike that is recorded is a number and a time.
    recorded = GPU_IMAGES_PER_RUN * spec.steps * sum(p.size for p in spec.spiking) * 12 * ACTIVITY
    state = batch * sum(p.size * itemsize * (3 + len(p.neuron.parameters)) for p in spec.populations)
    return CUDA_BYTES + batch * synapses * (itemsize + SYNAPSE_BYTES) + state + images + int(recorded)


def available_bytes() -> int | None:
    """Memory that is free for use on this machine, in bytes; None where it cannot be found out."""
    import psutil  # not needed by another Python that only simulates

    try:
        return int(psutil.virtual_memory().available)
    except OSError:  # a container may hide it
        return None


def check_memory(spec: NetworkSpec, settings: SimulationSettings) -> None:
    """UserError where the memory of this machine does not suffice."""
    workers, available = settings.workers_for(spec), available_bytes()
    needed = needed_bytes(spec, settings) * workers
    if available is not None and needed > available:
        raise UserError(
            f"the simulation needs about {format_bytes(needed)} in {workers} process(es), and "
            f"{format_bytes(available)} are free; use fewer --workers, a smaller simulation.batch, "
            "float32, or a smaller network"
        )
    if settings.backend == "cuda":
        _check_gpu_memory(spec, settings)


def _check_gpu_memory(spec: NetworkSpec, settings: SimulationSettings) -> None:
    gpu, needed = find_gpu(), gpu_bytes(spec, settings)
    # Some drivers do not say how much is free.
    if gpu.free and needed > gpu.free:
        raise UserError(
            f"the simulation needs about {format_bytes(needed)} of the GPU's memory, and {format_bytes(gpu.free)} of "
            f"{format_bytes(gpu.memory)} are free on the {gpu.name}; end what else runs there (nvidia-smi shows it), "
            "or use a smaller simulation.batch, float32, or a smaller network"
        )
