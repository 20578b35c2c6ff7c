"""A forward that is one step, called in a loop outside: how its state goes from one call to the next."""

from __future__ import annotations

import inspect
from typing import Any

from torch import fx, nn

from alade_brian.conversion.from_torch.frameworks.registry import container_kind, framework_of, neuron_adapter
from alade_brian.conversion.lowering import CannotLower


def required_arguments(model: nn.Module) -> list[str]:
    """Names of the arguments that a forward cannot be called without, behind the images."""
    return [p.name for p in _further(model) if p.default is p.empty]


def carried(model: nn.Module, returned: Any, output: int | str) -> dict[str, Any]:
    """Keyword arguments that pass on what the call before returned; none if the forward takes no state.

    The state is what a forward returns beside its answer, in the order of the arguments whose default is None.

    returned   by the call before: tensors, or what stands for them while tracing
    output     which of several returned tensors is the answer
    """
    names = [p.name for p in _further(model) if p.default is None]
    if _is_container_call(returned):
        returned = (returned[0], returned[1])
    if not isinstance(returned, tuple | list) or isinstance(output, str):
        return {}
    states = [state for k, state in enumerate(returned) if k != output % len(returned)]
    return dict(zip(names, states, strict=True)) if len(names) == len(states) else {}


def takes_one_step(module: nn.Module) -> bool:
    """Whether a layer is another framework's neuron whose call is one step."""
    adapter = neuron_adapter(module)
    try:
        return adapter is not None and not adapter(module).over_steps
    except CannotLower:
        return False


def _is_container_call(returned: Any) -> bool:
    """Whether a value of a trace is what a container with states returns: its output and its state."""
    if not isinstance(returned, fx.Proxy) or not isinstance(returned.tracer, fx.Tracer):
        return False
    if returned.node.op != "call_module":
        return False
    module = returned.tracer.root.get_submodule(str(returned.node.target))
    framework = framework_of(module)
    return framework is not None and framework.containers_return_state and container_kind(module) is not None


def _further(model: nn.Module) -> list[inspect.Parameter]:
    """The named arguments of a forward behind its first."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p for p in inspect.signature(model.forward).parameters.values() if p.kind in named][1:]
