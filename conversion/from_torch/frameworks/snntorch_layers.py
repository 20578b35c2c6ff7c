"""snnTorch's neurons (read from version 1.0.0) as equations.

All of them compare with ``mem > threshold``. A reset is found from the membrane of the step before and acts on the next
step; where it acts there (before the leak, behind it, behind the input) differs from class to class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import snntorch
from snntorch._neurons import rleaky, rsynaptic
from torch import Tensor

from alade_brian.conversion.from_torch.frameworks.registry import (
    Framework,
    comparison_of,
    numbers,
    parameter,
    time_constants,
)
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import AffineInput, CannotLower, SpecBuilder, scale
from alade_brian.spec.neuron import NeuronEquations, Parameter, constant


def _in_double(module: Any) -> None:
    """Let a neuron's spikes have the precision of its membrane; snnTorch makes them float32 whatever comes in."""
    spike = module.spike_grad

    def exact(membrane: Tensor) -> Tensor:
        return spike(membrane).to(membrane.dtype)

    module.spike_grad = exact


def _lower_one_to_one(lowering: SpecBuilder, name: str, module: Any, value: AffineInput) -> AffineInput:
    return scale(lowering, value, numbers(module.V))


def _leaky(module: Any) -> ForeignNeuron:
    _refuse_options(module)
    decay = numbers(module.beta.clamp(0, 1))
    recurrent = isinstance(module, snntorch.RLeaky)
    if not module.reset_delay and _rule(module) == "subtract":
        return _early_subtraction(module, decay)
    plain = _decaying({"v": decay}, _parameters(module))
    if recurrent and module.reset_delay and _rule(module) == "zero":
        # The step behind a spike ends at zero, its input included.
        return _neuron(module, _wiped(plain))
    return _neuron(module, _reset(module, plain, late="subtract" if module.reset_delay else ""))


def _synaptic(module: Any) -> ForeignNeuron:
    _refuse_options(module)
    if not module.reset_delay and isinstance(module, snntorch.RSynaptic):
        raise CannotLower("reset_delay", False, "fails in snnTorch 1.0 itself (RSynaptic); use reset_delay=True")
    if not module.reset_delay and _rule(module) != "none":
        raise CannotLower("reset_delay", False, "has no lowering for Synaptic; use reset_delay=True")
    decays = {"syn": numbers(module.alpha.clamp(0, 1)), "v": numbers(module.beta.clamp(0, 1))}
    plain = replace(_decaying(decays, _parameters(module)), input="syn", update="v += syn")
    if _rule(module) == "zero":
        return _neuron(module, _wiped(plain), states=("state",))
    return _neuron(module, _reset(module, plain, late="subtract"), states=("state",))


def _alpha(module: Any) -> ForeignNeuron:
    """``mem = tau_alpha * (syn_exc + syn_inh)``: the difference of two exponentials, without memory of its own."""
    _refuse_options(module)
    fast, slow = numbers(module.beta.clamp(0, 1)), numbers(module.alpha.clamp(0, 1))
    parameters = {**_parameters(module), "tau_alpha": constant(np.log(slow) / (np.log(fast) - np.log(slow)) + 1)}
    plain = _decaying({"exc": slow, "inh": fast}, parameters)
    update = "exc += x\ninh -= x\nx = 0\nv = tau_alpha*(exc + inh)"
    model = f"{plain.model}\nv : 1\nx : 1\nlast : 1"
    if _rule(module) == "zero":
        update += "\nexc = exc*(1 - last)\ninh = inh*(1 - last)\nv = v*(1 - last)"
    if _rule(module) == "subtract":
        # As written in snnTorch: the membrane is given the inhibitory part of the step before.
        model += "\nbefore : 1"
        update += "\nexc -= last*v_threshold\ninh = inh*(1 - last)\nv += last*before\nbefore = inh"
    equations = replace(
        plain, model=model, membrane="v", input="x", update=f"{update}\nlast = 0", reset="none", on_spike="last = 1"
    )
    return _neuron(module, equations, states=("state", "state"))


def _lapicque(module: Any) -> ForeignNeuron:
    """A step of ``RC dv/dt = -v + R I`` by forward Euler."""
    _refuse_options(module)
    part = numbers(module.time_step) / (numbers(module.R) * numbers(module.C))
    gain = numbers(module.R) * (1 / (numbers(module.R) * numbers(module.C))) * numbers(module.time_step)
    plain = NeuronEquations(
        "dv/dt = -v/tau : 1\ndrive : 1",
        {**_parameters(module), "tau": constant(1 / part, "step"), "gain": constant(gain)},
        method="euler",
        input="drive",
        update="v += gain*drive\ndrive = 0",
        reset="none",
    )
    if _rule(module) == "zero":
        return _neuron(module, _wiped(plain))
    return _neuron(module, _reset(module, plain, late="subtract"))


def _early_subtraction(module: Any, decay: np.ndarray) -> ForeignNeuron:
    """`reset_delay=False`: the threshold is taken off at once, and where the membrane is still above it, once more for
    the next spike test. ``over`` says that it was; the step's loan is given back at the beginning of the next."""
    equations = NeuronEquations(
        "v : 1\nx : 1\nover : 1",
        {**_parameters(module), "decay": constant(decay), "v_reset": parameter(module.threshold)},
        input="x",
        update="v += over*v_threshold\nover = int(v > v_threshold)\nv = decay*v + x - over*v_threshold\nx = 0",
        reset="subtract",
    )
    return _neuron(module, equations)


def _decaying(decays: Mapping[str, np.ndarray], parameters: Mapping[str, Parameter]) -> NeuronEquations:
    """A neuron without reset whose variables decay, each by its factor per step."""
    lines, more = [], dict(parameters)
    for name, decay in decays.items():
        tau = f"tau_{name}" if name != "v" else "tau"
        if np.all(decay == 1):
            lines.append(f"{name} : 1")
        elif np.all((decay > 0) & (decay < 1)):
            lines.append(f"d{name}/dt = -{name}/{tau} : 1")
            more[tau] = time_constants(decay)
        else:
            raise CannotLower(
                "beta, alpha", np.unique(decay).tolist(), "must lie between 0 and 1, or be 1 for all neurons"
            )
    return NeuronEquations("\n".join(lines), more, membrane=tuple(decays)[-1], reset="none")


def _reset(module: Any, equations: NeuronEquations, late: str) -> NeuronEquations:
    """The module's reset where it acts between two steps; that of the rule `late` acts behind the leak."""
    rule = _rule(module)
    if rule == "none":
        return equations
    level = parameter(module.threshold) if rule == "subtract" else constant(0.0)
    return replace(
        equations,
        parameters={**equations.parameters, "v_reset": level},
        reset="subtract" if rule == "subtract" else "value",
        leak="before_reset" if rule == late else "after_reset",
    )


def _wiped(equations: NeuronEquations) -> NeuronEquations:
    """A neuron that ends the step behind its spike at zero, whatever came in."""
    return replace(
        equations,
        model=f"{equations.model}\nlast : 1",
        update=f"{equations.update}\nv = v*(1 - last)\nlast = 0".lstrip(),
        on_spike="last = 1",
    )


def _parameters(module: Any) -> dict[str, Parameter]:
    given = {"v_threshold": parameter(module.threshold)}
    if np.any(numbers(module.graded_spikes_factor) != 1):
        given["amplitude"] = parameter(module.graded_spikes_factor)
    return given


def _rule(module: Any) -> str:
    # snnTorch steps by the function that it chose when the layer was made, whatever was loaded or set since.
    rules = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}
    rule = rules[module.state_function.__name__]
    said = ("subtract", "zero", "none")[int(module.reset_mechanism_val)]
    if rule != said and not getattr(module, "reset_delay", True):
        raise CannotLower("reset_mechanism", said, f"was changed after the layer was made with '{rule}'; make it anew")
    return rule


def _refuse_options(module: Any) -> None:
    if module.inhibition:
        raise CannotLower("inhibition", True, "lets one neuron silence the others within a step; train without it")
    if module.state_quant:
        raise CannotLower("state_quant", module.state_quant, "rounds the membrane; train without it")
    if np.any(numbers(module.threshold) < 0):
        raise CannotLower(
            "threshold", numbers(module.threshold).min(), "lets the neuron reset before its first spike; use 0 or more"
        )


def _neuron(module: Any, equations: NeuronEquations, states: tuple[str, ...] = ()) -> ForeignNeuron:
    recurrent = isinstance(module, snntorch.RLeaky | snntorch.RSynaptic)
    returns = ("spikes",) if module.init_hidden and not module.output else ("spikes", *states, "membrane")
    early = not getattr(module, "reset_delay", True)
    return ForeignNeuron(
        replace(equations, comparison=comparison_of(module.spike_grad, "spike_grad")),
        returns,
        recurrent=module.recurrent if recurrent else None,
        sampled="after_reset" if early else "before_reset",
    )


FRAMEWORK = Framework(
    name="snntorch",
    title="snnTorch",
    version="1.0.0",
    modules=("snntorch",),
    neurons={
        snntorch.Leaky: _leaky,
        snntorch.RLeaky: _leaky,
        snntorch.Synaptic: _synaptic,
        snntorch.RSynaptic: _synaptic,
        snntorch.Alpha: _alpha,
        snntorch.Lapicque: _lapicque,
    },
    layers={rleaky.RecurrentOneToOne: _lower_one_to_one, rsynaptic.RecurrentOneToOne: _lower_one_to_one},
    reset="reset_mem",
    in_double=_in_double,
)
