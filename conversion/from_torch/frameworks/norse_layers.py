"""Norse's cells (read from version 1.1.0) as equations.

A cell takes a step of forward Euler: input is added to the synaptic current, the membrane moves by the new current,
then the current decays. It fires where ``v > v_th`` and is reset at once; the membrane begins at `v_leak`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import norse.torch as norse
import numpy as np
import torch
from norse.torch.functional.reset import reset_subtract, reset_value
from norse.torch.module.snn import SNN, SNNRecurrent
from torch import Tensor, nn

from alade_brian.conversion.from_torch.frameworks.registry import Framework, numbers, parameter
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import CannotLower
from alade_brian.spec import NeuronEquations, Parameter, constant

_METHODS = ("heaviside", "super", "triangle", "tanh", "circ", "heavi_erfc")
# A threshold that no membrane reaches; it is multiplied by 0 spikes where a reset subtracts it.
_NEVER = 1e300
_MEMBRANE = "dv/dt = (v_leak - v)/tau : 1"


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


def _lif(module: Any) -> ForeignNeuron:
    p = _spiking(module)
    parameters = {**_membrane(module), **_current(module), **_levels(p), "v_reset": parameter(p.v_reset)}
    model = f"{_MEMBRANE}\ndsyn/dt = -syn/tau_syn : 1"
    equations = NeuronEquations(model, parameters, method="euler", input="syn", update="v += gain*syn")
    return ForeignNeuron(equations, ("spikes", "state"), passes_state=True)


def _lif_recurrent(module: Any) -> ForeignNeuron:
    """The same behind its own weights, and with its spikes of the step before through others."""
    return replace(_lif(module), enters=_weights(module.input_weights), recurrent=_weights(module.recurrent_weights))


def _weights(weight: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    made.weight.data = weight.detach()
    return made


def _lif_box(module: Any) -> ForeignNeuron:
    p = _spiking(module)
    rules = {reset_value: "value", reset_subtract: "subtract"}
    if p.reset_method not in rules:
        raise CannotLower("reset_method", p.reset_method, "has no lowering; use reset_value or reset_subtract")
    rule = rules[p.reset_method]
    level = parameter(p.v_th if rule == "subtract" else p.v_reset)
    equations = NeuronEquations(
        f"{_MEMBRANE}\ndrive : 1",
        {**_membrane(module), **_levels(p), "v_reset": level},
        method="euler",
        input="drive",
        update="v += gain*drive\ndrive = 0",
        reset=rule,  # type: ignore[arg-type]
    )
    return ForeignNeuron(equations, ("spikes", "state"), passes_state=True)


def _li(module: Any) -> ForeignNeuron:
    """A leaky integrator: it passes its membrane on, and is read."""
    parameters = {**_membrane(module), **_current(module), "v_initial": parameter(module.p.v_leak)}
    model = f"{_MEMBRANE}\ndsyn/dt = -syn/tau_syn : 1"
    equations = NeuronEquations(
        model, parameters, spiking=False, reset="none", method="euler", input="syn", update="v += gain*syn"
    )
    return ForeignNeuron(equations, ("spikes", "state"), sampled="after_reset", passes_state=True)


def _li_box(module: Any) -> ForeignNeuron:
    """The same without a synaptic current."""
    equations = NeuronEquations(
        f"{_MEMBRANE}\ndrive : 1",
        {**_membrane(module), "v_initial": parameter(module.p.v_leak)},
        spiking=False,
        reset="none",
        method="euler",
        input="drive",
        update="v += gain*drive\ndrive = 0",
    )
    return ForeignNeuron(equations, ("spikes", "state"), sampled="after_reset", passes_state=True)


def _membranes(module: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The membrane of every step as it would be if the neuron did not fire in it."""
    silent = module.p._replace(v_th=torch.tensor(_NEVER, dtype=torch.float64))
    weights = (module.input_weights, module.recurrent_weights) if hasattr(module, "recurrent_weights") else ()
    over_time = isinstance(module, SNN | SNNRecurrent)
    state = module.state_fallback(inputs[0].unsqueeze(0) if over_time else inputs[0])
    seen = []
    for current in inputs:
        seen.append(module.activation(current, state, *weights, silent, module.dt)[1].v)
        state = module.activation(current, state, *weights, module.p, module.dt)[1]
    return seen


def _membrane(module: Any) -> dict[str, Parameter]:
    part = _part(module, module.p.tau_mem_inv)
    return {"tau": constant(1 / part, "step"), "gain": constant(part), "v_leak": parameter(module.p.v_leak)}


def _current(module: Any) -> dict[str, Parameter]:
    return {"tau_syn": constant(1 / _part(module, module.p.tau_syn_inv), "step")}


def _part(module: Any, inverse: Any) -> np.ndarray:
    """``dt / tau`` as Norse itself multiplies it, in the precision of its parameters."""
    part = numbers(module.dt * inverse)
    if np.any(part <= 0):
        raise CannotLower("tau_inv", np.unique(part).tolist(), "is not positive; use a positive time constant")
    return part


def _levels(p: Any) -> dict[str, Parameter]:
    return {"v_threshold": parameter(p.v_th), "v_initial": parameter(p.v_leak)}


def _spiking(module: Any) -> Any:
    if module.p.method not in _METHODS:
        raise CannotLower("method", module.p.method, f"is no plain threshold; use one of {', '.join(_METHODS)}")
    return module.p


def _over_time(cell: Callable[[Any], ForeignNeuron]) -> Callable[[Any], ForeignNeuron]:
    """The layer over a whole sequence that steps as a cell does."""

    def understood(module: Any) -> ForeignNeuron:
        if module.record_states:
            raise CannotLower("record_states", True, "returns every state; use record_states=False")
        return replace(cell(module), over_steps=True)

    return understood


FRAMEWORK = Framework(
    name="norse",
    title="Norse",
    version="1.1.0",
    modules=("norse.torch",),
    networks=("norse.torch.models",),
    neurons={
        norse.LIFCell: _lif,
        norse.LIFRecurrentCell: _lif_recurrent,
        norse.LIFBoxCell: _lif_box,
        norse.LICell: _li,
        norse.LIBoxCell: _li_box,
        norse.LIF: _over_time(_lif),
        norse.LIFRecurrent: _over_time(_lif_recurrent),
        norse.LI: _over_time(_li),
    },
    containers=(norse.SequentialState, norse.Lift),
    container_kind=_container_kind,
    containers_return_state=True,
    membranes=_membranes,
)
