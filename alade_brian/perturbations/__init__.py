"""Biological perturbations of a network: each is a small class that changes only the specification or the images.

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
