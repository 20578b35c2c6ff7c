"""The backends by name: a further one is a file with its class, and a line here or a registration in `TABLE`."""

from __future__ import annotations

from alade_brian.registry import Registry
from alade_brian.simulation.engines.backend import Backend
from alade_brian.simulation.engines.cpp import CppBackend
from alade_brian.simulation.engines.cuda import CudaBackend
from alade_brian.simulation.engines.runtime import CythonBackend, NumpyBackend

_ALL: tuple[Backend, ...] = (NumpyBackend(), CythonBackend(), CppBackend(), CudaBackend())
TABLE: Registry[str, Backend] = Registry("backend", {backend.name: backend for backend in _ALL}, also=("auto",))
# What the commands offer.
BACKENDS = ("auto", *TABLE)


def backend_named(name: str) -> Backend:
    """The backend of that name (UserError if there is none)."""
    return TABLE.find(name)
