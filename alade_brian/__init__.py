"""Spiking networks trained in PyTorch, simulated in Brian2, compared spike by spike.

    from alade_brian import convert, convert_relu, load, perturb, read_nir, simulate, to_brian2, verify, write_nir

Each name is imported when it is first used: `import alade_brian` itself loads neither PyTorch nor Brian2 nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from alade_brian.brian2_preferences import ignore_working_directory

if TYPE_CHECKING:
    from alade_brian.conversion.from_torch.convert import convert
    from alade_brian.conversion.from_torch.relu import convert_relu
    from alade_brian.conversion.nir_graphs.read import read_nir
    from alade_brian.conversion.nir_graphs.write import write_nir
    from alade_brian.perturbations.perturb import perturb
    from alade_brian.runs.model_file import load
    from alade_brian.simulation.live_network import to_brian2
    from alade_brian.simulation.simulator import simulate
    from alade_brian.spec import NetworkSpec
    from alade_brian.verification.verify import verify

__all__ = [
    "NetworkSpec",
    "convert",
    "convert_relu",
    "load",
    "perturb",
    "read_nir",
    "simulate",
    "to_brian2",
    "verify",
    "write_nir",
]
__version__ = "0.1.0"

ignore_working_directory()


def __getattr__(name: str) -> Any:
    modules = {
        "NetworkSpec": "spec",
        "convert": "conversion.from_torch.convert",
        "convert_relu": "conversion.from_torch.relu",
        "load": "runs.model_file",
        "perturb": "perturbations.perturb",
        "read_nir": "conversion.nir_graphs.read",
        "simulate": "simulation.simulator",
        "to_brian2": "simulation.live_network",
        "verify": "verification.verify",
        "write_nir": "conversion.nir_graphs.write",
    }
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{modules[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
