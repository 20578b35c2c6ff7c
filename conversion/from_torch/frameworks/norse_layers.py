"""Norse (read from version 1.1.0): its container, and beside it its cells."""

from __future__ import annotations

from typing import Any

import norse.torch as norse

from alade_brian.conversion.from_torch.frameworks.norse_neurons import NEURONS, REFUSED, in_double
from alade_brian.conversion.from_torch.frameworks.registry import Framework
from alade_brian.conversion.lowering import CannotLower


def _container_kind(module: Any) -> str:
    """How a container calls its layers."""
    if module.return_hidden:
        raise CannotLower("return_hidden", True, "returns the layers between too; use return_hidden=False")
    return "chain"


FRAMEWORK = Framework(
    name="norse",
    title="Norse",
    version="1.1.0",
    modules=("norse.torch",),
    neurons=NEURONS,
    refused=REFUSED,
    containers=(norse.SequentialState,),
    container_kind=_container_kind,
    containers_return_state=True,
    in_double=in_double,
)
