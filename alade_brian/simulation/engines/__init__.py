"""The backends by name: a further one is a file with its class, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from alade_brian.errors import UserError
from alade_brian.simulation.engines.backend import Backend
from alade_brian.simulation.engines.cpp import CppBackend
from alade_brian.simulation.engines.cuda import CudaBackend
from alade_brian.simulation.engines.runtime import CythonBackend, NumpyBackend

_ALL: tuple[Backend, ...] = (NumpyBackend(), CythonBackend(), CppBackend(), CudaBackend())
TABLE: Mapping[str, Backend] = MappingProxyType({backend.name: backend for backend in _ALL})
# What a user may ask for.
BACKENDS = ("auto", *TABLE)


def backend_named(name: str) -> Backend:
    """The backend of that name (UserError if there is none)."""
    if name not in TABLE:
        raise UserError(f"unknown backend '{name}'; use one of {', '.join(BACKENDS)}")
    return TABLE[name]
