"""The torch door: a trained module -> NetworkSpec.

The module is traced with torch.fx; then every layer is lowered by one small function, looked up along the layer's MRO.
Nothing is lowered approximately: what cannot be lowered exactly becomes a refusal, and all refusals are raised at once,
together with the table of layers.
"""

from __future__ import annotations

import copy
import operator as python_operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from alade_brian.conversion.compose import CannotCompose, convolution_after, dense_after, pooling_after, scale_outputs
from alade_brian.conversion.connectivity import matrix
from alade_brian.conversion.spec import (
    Convolution,
    Identity,
    NetworkSpec,
    NeuronEquations,
    Operator,
    Pooling,
    Population,
    Projection,
    Readout,
    Shape,
    SpecError,
    Stimulus,
    constant,
)
from alade_brian.conversion.table import Refusal, RefusedLayers
from alade_brian.models.neurons import SpikingNeuron
from alade_brian.models.time import HoldCurrent, MeanOverSteps


@dataclass(frozen=True)
class Term:
    """What a source contributes to a value: an operator's outputs, from flat position `first` on."""

    source: str
    operator: Operator
    shape: Shape
    first: int = 0


@dataclass(frozen=True)
class Value:
    """A tensor between two neurons: a sum of linear terms and a constant `bias` of the tensor's shape (without
    batch)."""

    shape: Shape
    terms: tuple[Term, ...]
    bias: np.ndarray


class Refuse(Exception):
    """Raised by a lowering function: (argument, its value, reason and remedy)."""

    def __init__(self, argument: str, value: object, remedy: str) -> None:
        super().__init__(remedy)
        self.argument, self.value, self.remedy = argument, value, remedy


@dataclass
class Lowering:
    """The network so far; handed to every lowering function."""

    stimulus: Stimulus
    populations: list[Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    steps: set[int] = field(default_factory=set)
    readout: str | None = None

    def shape(self, name: str) -> Shape:
        return (
            self.stimulus.shape
            if name == self.stimulus.name
            else next(p.shape for p in self.populations if p.name == name)
        )

    def add_population(self, name: str, value: Value, neuron: NeuronEquations, steps: int | None) -> None:
        """A population that takes a value as its input."""
        if any(p.name == name for p in self.populations):
            raise Refuse("module", name, "is called twice; give each place a neuron layer of its own")
        if steps is not None:
            self.steps.add(steps)
        self.populations.append(Population(name, value.shape, neuron, value.bias if value.bias.any() else None))
        for term in value.terms:
            # A pass-through term keeps its own shape; a flattened target only renames the axes.
            self.projections.append(Projection(term.source, name, term.operator, first=term.first))


LowerFunction = Callable[[Lowering, str, Any, Value], Value]


def convert(
    model: nn.Module, image_shape: Shape, dt: float = 1e-3, extra: Mapping[type[nn.Module], LowerFunction] | None = None
) -> NetworkSpec:
    """Lower a trained torch module to a specification (float64), exactly.

    model         takes images ``(n, *image_shape)`` and gives logits ``(n, classes)``; built of the layers that
                  `lowerings` names, between `HoldCurrent` and `MeanOverSteps`. It is read in eval mode and not changed.
    dt            seconds per step
    extra         further lowering functions by module class; they win over the built-in ones

    Raises RefusedLayers, which lists every layer that cannot be lowered and why.
    """
    frozen = copy.deepcopy(model).double().eval().requires_grad_(False)
    interpreter = _Interpreter(
        _trace(frozen, {**lowerings(), **(extra or {})}), {**lowerings(), **(extra or {})}, image_shape
    )
    interpreter.run(_image_value(image_shape))
    return interpreter.finish(dt)


def _image_value(shape: Shape) -> Value:
    return Value(shape, (Term("image", Identity(), shape),), np.zeros(shape))


class _Tracer(fx.Tracer):
    def __init__(self, known: Mapping[type[nn.Module], LowerFunction]) -> None:
        super().__init__()
        self._known = tuple(known)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._known) or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module, known: Mapping[type[nn.Module], LowerFunction]) -> fx.GraphModule:
    try:
        return fx.GraphModule(model, _Tracer(known).trace(model))
    except Exception as error:  # torch.fx raises many kinds, all meaning the same to a user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        refusal = Refusal(
            type(model).__name__,
            "forward",
            "data-dependent",
            f"torch.fx cannot trace it ({reason}); write it without control flow that depends on tensors",
        )
        raise RefusedLayers([refusal], None) from error


class _Interpreter(fx.Interpreter):
    """Runs the traced graph on `Value`s instead of tensors, and collects refusals instead of stopping at the first."""

    def __init__(
        self, graph: fx.GraphModule, known: Mapping[type[nn.Module], LowerFunction], image_shape: Shape
    ) -> None:
        super().__init__(graph)
        self.known = known
        self.lowering = Lowering(Stimulus(image_shape))
        self.refusals: list[Refusal] = []

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        module = self.fetch_attr(target)
        function = next((self.known[c] for c in type(module).__mro__ if c in self.known), None)
        layer = f"{target} ({type(module).__name__})"
        if not args or not isinstance(args[0], Value):
            return None  # behind a refusal whose shape is unknown
        try:
            if function is None:
                raise Refuse(
                    "class",
                    type(module).__name__,
                    f"has no lowering; the known layers are {', '.join(c.__name__ for c in self.known)}",
                )
            return function(self.lowering, str(target), module, args[0])
        except Refuse as refusal:
            self.refusals.append(Refusal(layer, refusal.argument, str(refusal.value), refusal.remedy))
        except SpecError as error:
            self.refusals.append(Refusal(layer, "shape", str(args[0].shape), str(error)))
        return _placeholder(module, args[0])

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        function = _FUNCTIONS.get(target)
        try:
            if function is None:
                raise Refuse(
                    "function",
                    getattr(target, "__name__", target),
                    "has no lowering; use torch.cat, torch.flatten or +",
                )
            return function(*args, **kwargs)
        except Refuse as refusal:
            self.refusals.append(Refusal("forward", refusal.argument, str(refusal.value), refusal.remedy))
            return next((a for a in args if isinstance(a, Value)), None)

    def call_method(self, target: Any, args: tuple, kwargs: dict) -> Any:
        if target == "flatten":
            return self.call_function(torch.flatten, args, kwargs)
        self.refusals.append(
            Refusal("forward", "method", str(target), "has no lowering; use a module, torch.cat, torch.flatten or +")
        )
        return args[0]

    def finish(self, dt: float) -> NetworkSpec:
        lowering = self.lowering
        if not self.refusals and lowering.readout is None:
            self.refusals.append(
                Refusal("forward", "output", "none", "the network must end in MeanOverSteps, which gives the logits")
            )
        if not self.refusals and len(lowering.steps) != 1:
            self.refusals.append(
                Refusal(
                    "neurons", "steps", str(sorted(lowering.steps)), "all neurons must run for the same number of steps"
                )
            )
        if self.refusals or lowering.readout is None:
            raise RefusedLayers(self.refusals, (lowering.stimulus, lowering.populations, lowering.projections))
        return NetworkSpec(
            lowering.stimulus,
            tuple(lowering.populations),
            tuple(lowering.projections),
            Readout(lowering.readout),
            steps=lowering.steps.pop(),
            dt=dt,
        )


def _placeholder(module: nn.Module, value: Value) -> Value | None:
    """What a refused layer would have made, by shape only, so that the layers behind it can be judged too."""
    try:
        with torch.no_grad():
            shape = tuple(module(torch.zeros(getattr(module, "steps", 1), *value.shape, dtype=torch.float64)).shape[1:])
    except Exception:
        return None
    return Value(shape, (), np.zeros(shape))


# One small function per layer kind. Each takes the network so far, the layer's name, the layer, and its input.


def _lower_neuron(lowering: Lowering, name: str, module: SpikingNeuron, value: Value) -> Value:
    lowering.add_population(name, value, module.equations(), module.steps)
    return Value(value.shape, (Term(name, Identity(), value.shape),), np.zeros(value.shape))


def _lower_mean_over_steps(lowering: Lowering, name: str, module: MeanOverSteps, value: Value) -> Value:
    if lowering.readout is not None:
        raise Refuse("module", name, "is a second readout; a network has one")
    if any(term.source == lowering.stimulus.name for term in value.terms):
        raise Refuse(
            "input", lowering.stimulus.name, "reaches the readout without passing a neuron; put a neuron layer between"
        )
    lowering.add_population(name, value, NeuronEquations("v : 1", spiking=False, reset="none"), module.steps)
    lowering.readout = name
    return value


def _lower_pass(lowering: Lowering, name: str, module: nn.Module, value: Value) -> Value:
    return value


def _lower_conv2d(lowering: Lowering, name: str, module: nn.Conv2d, value: Value) -> Value:
    if module.padding_mode != "zeros":
        raise Refuse("padding_mode", module.padding_mode, "is not exact as synapses yet; use 'zeros'")
    weight = _numpy(module.weight)
    whole = Convolution(weight, _pair(module.stride), _padding(module), module.groups, dilation=_pair(module.dilation))
    shape = whole.output_shape(value.shape)
    bias = (matrix(whole, value.shape) @ value.bias.ravel()).reshape(shape) if value.bias.any() else np.zeros(shape)
    if module.bias is not None:
        bias = bias + _numpy(module.bias)[:, None, None]
    terms = tuple(_convolve(lowering, term, whole, value) for term in value.terms)
    return Value(shape, tuple(Term(t, o, shape) for t, o in terms), bias)


def _padding(module: nn.Conv2d) -> tuple[int, int]:
    if not isinstance(module.padding, str):
        return _pair(module.padding)
    if module.padding == "valid":
        return 0, 0
    # "same": torch pads one more pixel at the end where the number to add is odd.
    total = [d * (k - 1) for d, k in zip(_pair(module.dilation), _pair(module.kernel_size), strict=True)]
    if any(t % 2 for t in total):
        raise Refuse("padding", module.padding, "is uneven for this kernel; use an odd kernel or pad with numbers")
    return total[0] // 2, total[1] // 2


def _convolve(lowering: Lowering, term: Term, whole: Convolution, value: Value) -> tuple[str, Operator]:
    first, count = term.first // prod(value.shape[1:]), term.shape[0]
    # A part of a concatenation is read by its own channels of the kernel.
    part = whole if count == value.shape[0] else _some_inputs(whole, first, count)
    try:
        return term.source, convolution_after(term.operator, lowering.shape(term.source), part)
    except CannotCompose as error:
        raise Refuse("input", term.source, str(error)) from None


def _some_inputs(whole: Convolution, first: int, count: int) -> Convolution:
    """The convolution on `count` of its input channels; groups become zeros, since a part need not be whole groups."""
    outputs, per_group = whole.weight.shape[:2]
    weight = np.zeros((outputs, per_group * whole.groups, *whole.weight.shape[2:]))
    for output in range(outputs):
        start = output // (outputs // whole.groups) * per_group
        weight[output, start : start + per_group] = whole.weight[output]
    return replace(whole, weight=weight[:, first : first + count], groups=1)


def _lower_linear(lowering: Lowering, name: str, module: nn.Linear, value: Value) -> Value:
    if len(value.shape) != 1:
        raise Refuse("input", value.shape, "is not flat; put nn.Flatten before the linear layer")
    weight = _numpy(module.weight)
    bias = weight @ value.bias
    if module.bias is not None:
        bias = bias + _numpy(module.bias)
    terms = []
    for term in value.terms:
        columns = weight[:, term.first : term.first + prod(term.shape)]
        terms.append(Term(term.source, dense_after(term.operator, lowering.shape(term.source), columns), bias.shape))
    return Value(bias.shape, tuple(terms), bias)


def _lower_batch_norm(lowering: Lowering, name: str, module: nn.modules.batchnorm._BatchNorm, value: Value) -> Value:
    if module.running_mean is None or module.running_var is None:
        raise Refuse("track_running_stats", False, "leaves nothing to fold; train with running statistics")
    gain = 1 / np.sqrt(_numpy(module.running_var) + module.eps)
    if module.affine:
        gain = gain * _numpy(module.weight)
    shift = -_numpy(module.running_mean) * gain
    if module.affine:
        shift = shift + _numpy(module.bias)
    per_channel = (-1,) + (1,) * (len(value.shape) - 1)
    terms = []
    for term in value.terms:
        first, count = term.first // prod(value.shape[1:]), term.shape[0]
        if prod(term.shape[1:]) != prod(value.shape[1:]):
            # Flattened: channels of the value are the term's neurons.
            operator: Operator = dense_after(
                term.operator, lowering.shape(term.source), np.diag(gain[term.first : term.first + prod(term.shape)])
            )
        else:
            operator = scale_outputs(term.operator, gain[first : first + count])
        terms.append(replace(term, operator=operator))
    return Value(value.shape, tuple(terms), value.bias * gain.reshape(per_channel) + shift.reshape(per_channel))


def _lower_avg_pool(lowering: Lowering, name: str, module: nn.AvgPool2d, value: Value) -> Value:
    if _pair(module.padding) != (0, 0):
        raise Refuse("padding", module.padding, "is not lowered; pool without padding")
    if module.ceil_mode:
        raise Refuse("ceil_mode", True, "is not lowered; use ceil_mode=False")
    if module.divisor_override:
        raise Refuse("divisor_override", module.divisor_override, "is not lowered; leave it out")
    stride = module.stride if module.stride is not None else module.kernel_size
    return _pool(lowering, Pooling(_pair(module.kernel_size), _pair(stride)), value)


def _lower_global_pool(lowering: Lowering, name: str, module: nn.AdaptiveAvgPool2d, value: Value) -> Value:
    if module.output_size not in (1, (1, 1)):
        raise Refuse("output_size", module.output_size, "is not lowered; use 1, or nn.AvgPool2d")
    return _pool(lowering, Pooling(_pair(value.shape[1:]), _pair(value.shape[1:])), value)


def _pool(lowering: Lowering, pooling: Pooling, value: Value) -> Value:
    shape = pooling.output_shape(value.shape)
    bias = (matrix(pooling, value.shape) @ value.bias.ravel()).reshape(shape)
    terms = []
    for term in value.terms:
        try:
            operator = pooling_after(term.operator, lowering.shape(term.source), pooling)
        except CannotCompose as error:
            raise Refuse("input", term.source, str(error)) from None
        first = term.first // prod(value.shape[1:]) * prod(shape[1:])
        terms.append(Term(term.source, operator, (term.shape[0], *shape[1:]), first))
    return Value(shape, tuple(terms), bias)


def _lower_max_pool(lowering: Lowering, name: str, module: nn.MaxPool2d, value: Value) -> Value:
    """The maximum of binary spikes is their OR: neurons without leak that fire at the first spike of their window."""
    if module.ceil_mode:
        raise Refuse("ceil_mode", True, "is not lowered; use ceil_mode=False")
    if module.return_indices:
        raise Refuse("return_indices", True, "is not lowered; leave it out")
    if not _are_spikes(lowering, value):
        raise Refuse(
            "input", value.shape, "is no layer of spikes, whose maximum would be exact; pool right behind a neuron"
        )
    stride = module.stride if module.stride is not None else module.kernel_size

    def window(channels: int) -> Convolution:
        ones = np.ones((channels, 1, *_pair(module.kernel_size)))
        return Convolution(ones, _pair(stride), _pair(module.padding), channels, dilation=_pair(module.dilation))

    shape = window(value.shape[0]).output_shape(value.shape)
    terms = []
    for term in value.terms:
        first = term.first // prod(value.shape[1:]) * prod(shape[1:])
        terms.append(Term(term.source, window(term.shape[0]), (term.shape[0], *shape[1:]), first))
    either = NeuronEquations("v : 1", {"v_threshold": constant(0.5), "v_reset": constant(0.0)})
    lowering.add_population(name, Value(shape, tuple(terms), np.zeros(shape)), either, None)
    return Value(shape, (Term(name, Identity(), shape),), np.zeros(shape))


def _are_spikes(lowering: Lowering, value: Value) -> bool:
    """Whether a value is nothing but spikes: of one layer, or of several side by side."""
    plain = all(
        term.source != lowering.stimulus.name
        and isinstance(term.operator, Identity)
        and np.all(term.operator.gain == 1)
        for term in value.terms
    )
    side_by_side = sum(prod(term.shape) for term in value.terms) == prod(value.shape)
    places = {term.first for term in value.terms}
    return plain and side_by_side and len(places) == len(value.terms) and not value.bias.any()


def _lower_flatten(lowering: Lowering, name: str, module: nn.Flatten, value: Value) -> Value:
    return _flatten(value, module.start_dim, module.end_dim)


def _flatten(value: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    if start_dim != 1 or end_dim not in (-1, len(value.shape)):
        raise Refuse("start_dim, end_dim", (start_dim, end_dim), "must flatten everything but the batch: use 1 and -1")
    return Value((prod(value.shape),), value.terms, value.bias.ravel())


def _cat(values: list[Value] | tuple[Value, ...], dim: int = 0) -> Value:
    if dim != 1:
        raise Refuse("dim", dim, "must concatenate channels or features: use dim=1")
    terms, first = [], 0
    for value in values:
        terms += [replace(term, first=term.first + first) for term in value.terms]
        first += prod(value.shape)
    shape = (sum(v.shape[0] for v in values), *values[0].shape[1:])
    return Value(shape, tuple(terms), np.concatenate([v.bias for v in values]))


def _add(left: Any, right: Any) -> Value:
    if not (isinstance(left, Value) and isinstance(right, Value) and left.shape == right.shape):
        raise Refuse(
            "+",
            f"{getattr(left, 'shape', left)}, {getattr(right, 'shape', right)}",
            "adds only two tensors of the same shape",
        )
    return Value(left.shape, left.terms + right.terms, left.bias + right.bias)


_FUNCTIONS: Mapping[Any, Callable[..., Value]] = {
    torch.cat: _cat,
    torch.flatten: _flatten,
    torch.add: _add,
    python_operator.add: _add,
    python_operator.iadd: _add,
}


def lowerings() -> dict[type[nn.Module], LowerFunction]:
    """The built-in lowering function of every layer kind; a subclass is lowered like its base."""
    return {
        SpikingNeuron: _lower_neuron,
        HoldCurrent: _lower_pass,
        MeanOverSteps: _lower_mean_over_steps,
        nn.Conv2d: _lower_conv2d,
        nn.Linear: _lower_linear,
        nn.BatchNorm1d: _lower_batch_norm,
        nn.BatchNorm2d: _lower_batch_norm,
        nn.AvgPool2d: _lower_avg_pool,
        nn.AdaptiveAvgPool2d: _lower_global_pool,
        nn.MaxPool2d: _lower_max_pool,
        nn.Flatten: _lower_flatten,
        nn.Dropout: _lower_pass,
        nn.Identity: _lower_pass,
    }


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[1])) if isinstance(value, tuple | list) else (int(value), int(value))
