"""snnTorch's neurons (read from version 1.0.0) as equations.

All of them compare with ``mem > threshold``. A reset is found from the membrane of the step before and acts on the next
step; where it acts there (before the leak, behind it, behind the input) differs from class to class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import snntorch
import torch
from snntorch._neurons import rleaky, rsynaptic
from torch import Tensor

from alade_brian.conversion.from_torch.frameworks.registry import (
    Framework,
    comparison_of,
    decaying,
    linear_layer,
    numbers,
    parameter,
)
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.lowering import AffineInput, CannotLower, SpecBuilder, scale
from alade_brian.spec import NeuronEquations, Parameter, constant


def _in_double(module: Any) -> None:
    """Let a neuron's spikes have the precision of its membrane; snnTorch makes them float32 whatever comes in."""
    spike = module.spike_grad

    def exact(membrane: Tensor) -> Tensor:
        return spike(membrane).to(membrane.dtype)

    module.spike_grad = exact


def _membranes(module: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What the neuron compares with its threshold, step by step."""
    seen: list[Tensor] = []
    fire = module.fire

    def watched(membrane: Tensor) -> Tensor:
        seen.append(membrane)
        return fire(membrane)

    module.fire = watched
    module.reset_mem()
    for current in inputs:
        module(current)
    return seen


def _lower_one_to_one(lowering: SpecBuilder, name: str, module: Any, value: AffineInput) -> AffineInput:
    return scale(lowering, value, numbers(module.V))


def _leaky(module: Any) -> ForeignNeuron:
    _refuse_options(module)
    decay = numbers(module.beta.clamp(0, 1))
    recurrent = isinstance(module, snntorch.RLeaky)
    if not module.reset_delay and _rule(module) == "subtract":
        return _early_subtraction(module, decay)
    plain = decaying({"v": decay}, _parameters(module))
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
    plain = replace(decaying(decays, _parameters(module)), input="syn", update="v += syn")
    if _rule(module) == "zero":
        return _neuron(module, _wiped(plain), states=("state",))
    return _neuron(module, _reset(module, plain, late="subtract"), states=("state",))


def _alpha(module: Any) -> ForeignNeuron:
    """``mem = tau_alpha * (syn_exc + syn_inh)``: the difference of two exponentials, without memory of its own."""
    _refuse_options(module)
    fast, slow = numbers(module.beta.clamp(0, 1)), numbers(module.alpha.clamp(0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.log(slow) / (np.log(fast) - np.log(slow)) + 1
    if not np.all(np.isfinite(gain)):
        found = np.unique(np.stack(np.broadcast_arrays(fast, slow))).tolist()
        raise CannotLower("alpha, beta", found, "leave snnTorch's own gain undefined; train with 0 < beta < alpha < 1")
    parameters = {**_parameters(module), "tau_alpha": constant(gain)}
    plain = decaying({"exc": slow, "inh": fast}, parameters)
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


def _delta_leaky(module: Any) -> ForeignNeuron:
    """It fires where its membrane changed by more than a threshold in a step, and has no reset."""
    _refuse_options(module)
    plain = decaying({"v": numbers(module.beta)}, {"v_threshold": constant(module.delta_threshold)})
    equations = replace(
        plain,
        model=f"{plain.model}\nbefore : 1\nchange : 1",
        membrane="change",
        input="v",
        update="change = abs(v - before)\nbefore = v",
        comparison=comparison_of(module.spike_grad, "spike_grad"),
    )
    return ForeignNeuron(equations, ("spikes", "state"), passes_state=not module.init_hidden)


def _state_leaky(module: Any) -> ForeignNeuron:
    """A membrane without reset, computed for all steps in one call."""
    _refuse_options(module)
    if module.kernel_truncation_steps is not None:
        said = "forgets inputs older than that; use kernel_truncation_steps=None"
        raise CannotLower("kernel_truncation_steps", module.kernel_truncation_steps, said)
    parameters = _parameters(module)
    if "amplitude" in parameters:
        # As written in snnTorch: the factor is multiplied twice.
        parameters["amplitude"] = constant(parameters["amplitude"].value ** 2)
    plain = decaying({"v": numbers(torch.exp(-1 / module.tau))}, parameters)
    equations = replace(plain, comparison=comparison_of(module.spike_grad, "spike_grad"))
    returns = ("spikes", "membrane") if module.output else ("membrane",)
    return ForeignNeuron(equations, returns, over_steps=True)


def _linear_leaky(module: Any) -> ForeignNeuron:
    return replace(_state_leaky(module), enters=module.linear)


def _leaky_parallel(module: Any) -> ForeignNeuron:
    """torch's recurrent layer with ReLU, of which every unit feeds itself: a membrane that is never negative."""
    rnn = module.rnn
    feedback = numbers(rnn.weight_hh_l0)
    own = np.diag(feedback)
    if np.any(feedback != np.diag(own)):
        said = "lets the membranes of neurons feed each other, without spikes; use weight_hh_enable=False"
        raise CannotLower("weight_hh_enable", True, said)
    equations = NeuronEquations(
        "v : 1\nx : 1",
        {**_parameters(module), "decay": constant(own)},
        input="x",
        update="v = clip(decay*v + x, 0, inf)\nx = 0",
        reset="none",
        comparison=comparison_of(module.spike_grad, "spike_grad"),
    )
    enters = linear_layer(rnn.weight_ih_l0, rnn.bias_ih_l0 + rnn.bias_hh_l0 if rnn.bias else None)
    return ForeignNeuron(equations, enters=enters, over_steps=True)


def _lower_graded(lowering: SpecBuilder, name: str, module: Any, value: AffineInput) -> AffineInput:
    """A number per neuron; as a column ``(neurons, 1)`` it meets a tensor of two axes behind the images only."""
    gain = module.weights.detach().double().numpy()
    if gain.shape[0] > 1 and len(value.shape) < 2:
        said = f"multiplies every image by a number of its own for an input of the shape {value.shape}; use size=1"
        raise CannotLower("size", gain.shape[0], said)
    return scale(lowering, value, gain if len(value.shape) > 1 else gain.reshape(()))


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
    if getattr(module, "inhibition", False):
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
        snntorch.DeltaLeaky: _delta_leaky,
        snntorch.StateLeaky: _state_leaky,
        snntorch.LinearLeaky: _linear_leaky,
        snntorch.LeakyParallel: _leaky_parallel,
    },
    layers={
        rleaky.RecurrentOneToOne: _lower_one_to_one,
        rsynaptic.RecurrentOneToOne: _lower_one_to_one,
        snntorch.GradedSpikes: _lower_graded,
    },
    refused={
        snntorch.AssociativeLeaky: "multiplies values by keys and queries, as attention does; use Leaky",
        snntorch.SConv2dLSTM: "multiplies its input and state by gates, which are no spikes; use RLeaky or RSynaptic",
        snntorch.SLSTM: "multiplies its input and state by gates, which are no spikes; use RLeaky or RSynaptic",
        snntorch.LIF: "is a base class without a step of its own; use Leaky",
        snntorch.SpikingNeuron: "is a base class without a step of its own; use Leaky",
    },
    reset="reset_mem",
    in_double=_in_double,
    membranes=_membranes,
)
