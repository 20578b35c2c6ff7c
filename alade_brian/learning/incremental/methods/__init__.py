"""The methods by name. A new one is a file with a class, and a line here."""

from __future__ import annotations

from alade_brian.errors import UserError
from alade_brian.learning.incremental.methods.alade import Alade
from alade_brian.learning.incremental.methods.base import Method
from alade_brian.learning.incremental.methods.der import Der
from alade_brian.learning.incremental.methods.dsd import Dsd
from alade_brian.learning.incremental.methods.finetune import Finetune
from alade_brian.learning.incremental.methods.icarl import Icarl
from alade_brian.learning.incremental.methods.joint import Joint
from alade_brian.learning.incremental.methods.lwf import Lwf
from alade_brian.learning.incremental.methods.plain import Plain
from alade_brian.learning.incremental.methods.replay import Replay
from alade_brian.learning.incremental.methods.wa import Wa

_METHODS: tuple[type[Method], ...] = (Alade, Der, Dsd, Finetune, Icarl, Joint, Lwf, Plain, Replay, Wa)


def available_methods() -> tuple[str, ...]:
    """Names of all methods."""
    return tuple(method.name for method in _METHODS)


def incremental_methods() -> tuple[str, ...]:
    """Names of those that learn task after task."""
    return tuple(method.name for method in _METHODS if not method.all_at_once)


def method_class(name: str) -> type[Method]:
    """The method of that name; UserError where there is none."""
    for method in _METHODS:
        if method.name == name:
            return method
    raise UserError(f"unknown method '{name}'; use one of {', '.join(available_methods())}")
