"""Norse (read from version 1.1.0): its container, and beside it its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import norse.torch as norse
import torch
from norse.torch.module.snn import SNN, SNNRecurrent
from torch import Tensor

from alade_brian.conversion.from_torch.frameworks.norse_neurons import NEURONS, REFUSED, in_double
from alade_brian.conversion.from_torch.frameworks.registry import Framework
from alade_brian.conversion.lowering import CannotLower

# A threshold that no membrane reaches; it is multiplied by 0 spikes where a reset subtracts it.
_NEVER = 1e300
# The neurons whose membrane is one of these parameters and this state.
_PLAIN = (norse.LIFCell, norse.LIFRecurrentCell, norse.LIFBoxCell, norse.LIF, norse.LIFRecurrent)


def _container_kind(module: Any) -> str:
    """How a container calls its layers."""
    if isinstance(module, norse.Lift):
        if not module.is_stateful:
            return "folded"
        kind = type(module.lifted_module).__name__
        raise CannotLower("module", kind, f"is lifted with its state; use Norse's {kind.removesuffix('Cell')} instead")
    if module.return_hidden:
        raise CannotLower("return_hidden", True, "returns the layers between too; use return_hidden=False")
    return "chain"


def _membranes(module: Any, inputs: Sequence[Tensor]) -> list[Tensor] | None:
    """The membrane of every step as it would be if the neuron did not fire in it."""
    if not isinstance(module, _PLAIN):
        return None
    silent = module.p._replace(v_th=torch.tensor(_NEVER, dtype=torch.float64))
    weights = (module.input_weights, module.recurrent_weights) if hasattr(module, "recurrent_weights") else ()
    over_time = isinstance(module, SNN | SNNRecurrent)
    state = module.state_fallback(inputs[0].unsqueeze(0) if over_time else inputs[0])
    seen = []
    for current in inputs:
        seen.append(module.activation(current, state, *weights, silent, module.dt)[1].v)
        state = module.activation(current, state, *weights, module.p, module.dt)[1]
    return seen


FRAMEWORK = Framework(
    name="norse",
    title="Norse",
    version="1.1.0",
    modules=("norse.torch",),
    networks=("norse.torch.models",),
    neurons=NEURONS,
    refused=REFUSED,
    containers=(norse.SequentialState, norse.Lift),
    container_kind=_container_kind,
    containers_return_state=True,
    in_double=in_double,
    membranes=_membranes,
)
