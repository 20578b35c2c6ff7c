"""Biological perturbations of a network: each is a small class that changes only the specification or the images.

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
