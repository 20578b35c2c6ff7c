"""The methods by name. A new one is a file with a class, and a line here."""

from __future__ import annotations

from alade_brian import plugins
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
from alade_brian.learning.rules.blurred_distillation import BlurredDistillation
from alade_brian.learning.rules.dsr import Dsr
from alade_brian.learning.rules.relpsp import RelPsp
from alade_brian.learning.rules.tandem import Tandem
from alade_brian.registry import Registry

_ALL: tuple[type[Method], ...] = (
    Alade, BlurredDistillation, Der, Dsd, Dsr, Finetune, Icarl, Joint, Lwf, Plain, RelPsp, Replay, Tandem, Wa,
)  # fmt: skip

METHODS: Registry[str, type[Method]] = Registry(
    "method", {method.name: method for method in _ALL}, also=(plugins.FORM,)
)


def incremental_methods() -> tuple[str, ...]:
    """Names of those that learn task after task."""
    return tuple(name for name, method in METHODS.items() if not method.all_at_once)


def method_class(name: str) -> type[Method]:
    """The method of that name, or the one that a plug-in's file holds; UserError if there is none."""
    return plugins.find(METHODS, name, Method)
