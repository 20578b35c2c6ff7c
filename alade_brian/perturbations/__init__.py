"""What biology does to a network: each perturbation is a small class that changes the specification, or what is shown,
and nothing else.

How to write one's own: docs/perturbations.md.
"""

from alade_brian.perturbations import neurons, noise, synapses, time
from alade_brian.perturbations.base import (
    Perturbation,
    Presentation,
    available_perturbations,
    perturbation,
)

__all__ = [
    "Perturbation",
    "Presentation",
    "available_perturbations",
    "neurons",
    "noise",
    "perturbation",
    "synapses",
    "time",
]
