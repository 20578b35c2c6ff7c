"""What SpikingJelly's neurons have in common, as equations: threshold, reset, beginning, and the leak."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from alade_brian.conversion.from_torch.frameworks.registry import comparison_of
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import CannotLower
from alade_brian.spec import NeuronEquations, Parameter, constant

# Kinds of `ForeignNeuron.returns` by what a neuron without spikes makes of its membranes; other words are refused.
_DECODED = MappingProxyType({"mean-mem": "mean", "max-mem": "max", "last_mem": "last", "last-me": "last"})


def leaky(module: Any, part: np.ndarray, **more: Any) -> NeuronEquations:
    """``v += part * (x - (v - v_rest))``, the input inside or outside the bracket."""
    rest = 0.0 if module.v_reset is None else float(module.v_reset)
    constants: dict[str, Any] = {"tau": constant(1 / part, "step"), "v_rest": constant(rest)}
    model = "dv/dt = (v_rest - v)/tau : 1"
    if not module.decay_input:
        return charged(module, model, **constants, **more)
    constants["gain"] = constant(part)
    update = "v += gain*drive\ndrive = 0"
    return charged(module, f"{model}\ndrive : 1", input="drive", update=update, **constants, **more)


def charged(
    module: Any, model: str, *, input: str = "", update: str = "", comparison: str = "", **parameters: Parameter
) -> NeuronEquations:
    """A neuron with the usual threshold, reset and beginning; `parameters` come beside or in the place of theirs."""
    rules = {**conventions(module), **({"comparison": comparison} if comparison else {})}
    constants = {**levels(module), **parameters}
    return NeuronEquations(model, constants, method="euler", input=input, update=update, **rules)


def levels(module: Any) -> dict[str, Parameter]:
    """Threshold, reset and beginning as parameters."""
    level = float(module.v_threshold)
    soft = module.v_reset is None
    parameters = {"v_threshold": constant(level), "v_reset": constant(level if soft else float(module.v_reset))}
    if not soft and module.v_reset != 0:
        parameters["v_initial"] = constant(float(module.v_reset))
    return parameters


def conventions(module: Any) -> dict[str, Any]:
    """Comparison and rule of reset, as `NeuronEquations` takes them."""
    return {"comparison": own_comparison(module), "reset": "subtract" if module.v_reset is None else "value"}


def own_comparison(module: Any) -> Any:
    """Where its surrogate begins to give 1; refused where that is no step."""
    return comparison_of(module.surrogate_function, "surrogate_function")


def as_neuron(module: Any, equations: NeuronEquations) -> ForeignNeuron:
    """A node that is called as its step mode says."""
    return ForeignNeuron(equations, over_steps=getattr(module, "step_mode", "s") == "m", sampled="after_reset")


def decoded(module: Any, equations: NeuronEquations) -> ForeignNeuron:
    """A node without spikes, which puts its membranes of all steps together."""
    if module.decode not in _DECODED:
        said = "has no readout; use decode='mean-mem' or 'max-mem'"
        raise CannotLower("decode", module.decode, said)
    return ForeignNeuron(equations, (_DECODED[module.decode],), over_steps=True, sampled="after_reset")
