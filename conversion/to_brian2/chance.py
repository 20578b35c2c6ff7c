"""The chance of a synapse (see release.py) as a function for Brian2's equations."""

from __future__ import annotations

import brian2 as b2
from brian2.core.functions import Function

from alade_brian.spec.release import CHANCE_CPP, chance


def chance_function() -> Function:
    """``chance(ticket, i, j)`` for numpy, C++ and CUDA."""
    function = b2.Function(chance, arg_units=[1, 1, 1], return_unit=1, arg_types=["float", "integer", "integer"])
    function.implementations.add_implementation("numpy", chance)
    function.implementations.add_implementation("cpp", CHANCE_CPP, name="chance")
    on_device = CHANCE_CPP.replace("static inline", "static inline __host__ __device__")
    function.implementations.add_implementation("cuda", on_device, name="chance")
    return function
