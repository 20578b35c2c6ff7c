"""What biology does to a network: each perturbation is a small class that changes the specification, or what is shown,
and nothing else.

How to write one's own: docs/perturbations.md.
"""

from alade_brian.perturbations import neurons, noise, synapses, time
from alade_brian.perturbations.base import (
    PERTURBATIONS,
    Perturbation,
    Presentation,
    SpecPerturbation,
    perturbation,
)

__all__ = [
    "PERTURBATIONS",
    "Perturbation",
    "Presentation",
    "SpecPerturbation",
    "neurons",
    "noise",
    "perturbation",
    "synapses",
    "time",
]
