"""What kernels on a GPU that share their weights cannot do, and how many images are side by side there."""

from __future__ import annotations

from alade_brian.simulation.gather import can_gather
from alade_brian.spec import NetworkSpec

# Neurons at once: enough to keep every GPU of today busy, with a state that fits into the smallest one's memory.
NEURONS_ON_GPU = 2**24
IMAGES_ON_GPU = 1024


def refusal(spec: NetworkSpec) -> str | None:
    """Why a network cannot run in fused passes on a GPU, in a sentence; None where it can."""
    advice = "use --connectivity explicit, or --backend cpp"
    if not can_gather(spec):
        return (
            "the network has a list of connections that is too long for shared connectivity on a GPU, or synapses that "
            f"fail by chance; {advice}"
        )
    for population in spec.populations:
        drawn = population.neuron.draws
        if drawn:
            return (
                f"the neurons of '{population.name}' draw random numbers ({', '.join(sorted(drawn))}), which shared "
                f"connectivity on a GPU cannot; {advice}"
            )
    return None


def images_on_gpu(spec: NetworkSpec) -> int:
    """Images side by side that keep a GPU busy."""
    return max(1, min(IMAGES_ON_GPU, NEURONS_ON_GPU // sum(p.size for p in spec.populations)))
