"""A traced forward, run on values instead of tensors.

torch.fx writes down what a `forward` does, loops over time unrolled. Running that on values lowers every layer where it
is called; refusals are collected instead of stopping at the first.
"""

from __future__ import annotations

import operator as python_operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from alade_brian.conversion.from_torch.answers import readout_for
from alade_brian.conversion.from_torch.frameworks.registry import (
    container_kind,
    framework_of,
    neuron_adapter,
)
from alade_brian.conversion.from_torch.functions import Batch, function_lowerings, known_functions, method_lowerings
from alade_brian.conversion.from_torch.layers import is_refused_class, refuse_class
from alade_brian.conversion.from_torch.outer_loop import carried, required_arguments
from alade_brian.conversion.from_torch.resets import ResetWatch
from alade_brian.conversion.from_torch.shapes import LowerFunction
from alade_brian.conversion.from_torch.time_axis import (
    AllSteps,
    CallCounter,
    Membrane,
    OneStep,
    StateToken,
    StepReduction,
)
from alade_brian.conversion.lowering import AffineInput, CannotLower, ReadoutValue, SpecBuilder, source_value
from alade_brian.conversion.refusals import Refusal, RefusedLayers
from alade_brian.models.coding import Frames
from alade_brian.spec.network import Readout, SpecError, Stimulus

Known = Mapping[type[nn.Module], LowerFunction]


class _Whole(nn.Module):
    """A model called with its images, so that other arguments of its forward keep their defaults; or a second time too,
    with the state that the first call returned."""

    def __init__(self, model: nn.Module, twice: bool, output: int) -> None:
        super().__init__()
        self.model, self.twice, self.output = model, twice, output

    def forward(self, images: Any) -> Any:
        returned = self.model(images)
        return self.model(images, **carried(self.model, returned, self.output)) if self.twice else returned


class _Images(fx.Proxy):
    """The images while tracing; of a sequence the number of steps is a plain number, so that a loop can run over it."""

    lengths: tuple[int, ...] = ()

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    @property
    def shape(self) -> tuple[Any, ...]:
        images = fx.Proxy(self.node, self.tracer).size(0)
        return (self.lengths[0], images, *self.lengths[1:]) if self.node.meta["sequence"] else (images, *self.lengths)

    def __len__(self) -> int:
        return self.lengths[0]


class _Tracer(fx.Tracer):
    def __init__(
        self,
        known: Known,
        lengths: tuple[int, ...],
        sequence: bool,
        returns: Mapping[nn.Module, int],
        watch: ResetWatch,
    ) -> None:
        super().__init__()
        self._known, self._lengths, self._sequence, self._returns = tuple(known), lengths, sequence, returns
        self._watch = watch

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, self._known) or is_refused_class(type(m))
        theirs = (
            neuron_adapter(m) is not None or container_kind(m) is not None or (framework_of(m) and not _children(m))
        )
        return bool(ours or theirs) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """A neuron's call gives as many things as it returns, so that a forward can unpack them as it likes."""
        self._watch.calling(m)
        made, count = super().call_module(m, forward, args, kwargs), self._returns.get(m, 1)
        return tuple(made[k] for k in range(count)) if count > 1 else made

    def proxy(self, node: fx.Node) -> fx.Proxy:
        if node.op != "placeholder":
            return super().proxy(node)
        node.meta["sequence"] = self._sequence
        images = _Images(node, self)
        images.lengths = self._lengths
        return images


def _returned(model: nn.Module) -> tuple[dict[nn.Module, int], list[Refusal]]:
    """How many things the calls of other frameworks' neurons return, and neurons that are refused whoever calls them.

    It is found before fx traces: while it does, parameters have no values.
    """
    counts, refusals = {}, []
    for name, module in model.named_modules():
        adapter = neuron_adapter(module)
        try:
            counts[module] = len(adapter(module).returns) if adapter else 1
        except CannotLower as refusal:
            where = f"{name} ({type(module).__name__})"
            refusals.append(Refusal(where, refusal.argument, str(refusal.value), refusal.remedy))
    return counts, refusals


def _children(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def trace(
    model: nn.Module,
    known: Known,
    lengths: tuple[int, ...],
    sequence: bool,
    *,
    twice: bool = False,
    output: int = 0,
) -> fx.GraphModule:
    """What a model's forward does; RefusedLayers where it depends on the images' values or resets a state on the way.

    lengths   the images' axes without the number of images; of a sequence the number of steps first
    twice     call the forward a second time, with the state that the first call returned
    output    which of several returned tensors is the answer, not a state
    """
    whole, (returns, refusals), watch = _Whole(model, twice, output), _returned(model), ResetWatch(model)
    missing = required_arguments(model)
    if missing:
        said = "must be given; give states the default None, for rest, and return them behind the answer in that order"
        raise RefusedLayers([Refusal(type(model).__name__, "forward", f"argument {', '.join(missing)}", said)], None)
    try:
        with watch.watching():
            return fx.GraphModule(whole, _Tracer(known, lengths, sequence, returns, watch).trace(whole))
    except RefusedLayers:
        raise
    except Exception as error:  # torch.fx raises many kinds, all meaning the same to a user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        refusal = Refusal(
            type(model).__name__,
            "forward",
            "data-dependent",
            f"torch.fx cannot trace it ({reason}); write it without control flow that depends on tensors",
        )
        raise RefusedLayers(refusals or [refusal], None) from error


class ValueInterpreter(fx.Interpreter):
    """Runs a traced graph on values."""

    def __init__(self, graph: fx.GraphModule, known: Known, stimulus: Stimulus, sequence: bool) -> None:
        """`sequence` says that the graph takes all steps of the stimulus at once."""
        super().__init__(graph)
        self.sequence = sequence
        self.known = known
        self.lowering = SpecBuilder([stimulus])
        self.clock = CallCounter(self.lowering, self._apply)
        self.refusals: list[Refusal] = []

    def image(self) -> AffineInput | AllSteps:
        """The stimulus as a value."""
        stimulus = self.lowering.stimuli[0]
        value = source_value(stimulus.name, stimulus.shape)
        return AllSteps(value) if self.sequence else value

    def refuse(self, where: str, refusal: CannotLower) -> None:
        self.refusals.append(Refusal(where, refusal.argument, str(refusal.value), refusal.remedy))

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        module, name = self.fetch_attr(target), str(target).removeprefix("model.")
        if not args or args[0] is None:
            return None  # behind a refusal whose shape is unknown
        try:
            return self._module(name, module, (*args, *kwargs.values()))
        except CannotLower as refusal:
            self.refuse(f"{name} ({type(module).__name__})", refusal)
        except SpecError as error:
            shape = getattr(_inner(args[0]), "shape", "unknown")
            self.refusals.append(Refusal(f"{name} ({type(module).__name__})", "shape", str(shape), str(error)))
        return None if neuron_adapter(module) or container_kind(module) else _placeholder(module, args[0])

    def _module(self, name: str, module: nn.Module, args: tuple[Any, ...], driven: bool = False) -> Any:
        """One call of a layer; `driven` says that a container gives it the steps of a sequence one by one."""
        how = container_kind(module)
        if how is not None:
            return self._container(name, module, how, args)
        adapter = neuron_adapter(module)
        if adapter is not None:
            return self.clock.call(name, lambda: adapter(module), args[0], args[1:], driven)
        if isinstance(module, Frames) and isinstance(args[0], AllSteps):
            return args[0].value  # from here on time has no axis of its own
        function = self._lowering_of(module)
        if isinstance(module, nn.Flatten) and isinstance(args[0], AllSteps) and not _knows_steps(module, driven):
            module = nn.Flatten(module.start_dim - 1, module.end_dim - (module.end_dim > 0))
        return self._timed(("module", name), lambda value: function(self.lowering, name, module, value), (args[0],), {})

    def _lowering_of(self, module: nn.Module) -> LowerFunction:
        kind, framework = type(module), framework_of(module)
        if kind in self.known:
            return self.known[kind]
        refuse_class(module)
        if framework:
            # A class derived from a framework's may do anything: only the very classes are taken.
            function = framework.layers.get(kind)
        else:
            base = next((c for c in kind.__mro__ if c in self.known), None)
            function = self.known[base] if base else None
            own = base is not None and getattr(kind, "forward") is not getattr(base, "forward")  # noqa: B009
            if base is not None and base.__module__.startswith("torch.") and own:
                said = f"has a forward of its own, not {base.__name__}'s; give convert a function for it with extra="
                raise CannotLower("class", kind.__name__, said)
        if function is None:
            names = ", ".join(sorted(c.__name__ for c in self.known))
            raise CannotLower("class", kind.__name__, f"has no lowering; the known layers are {names}")
        return function

    def _apply(self, module: nn.Module, value: AffineInput) -> AffineInput:
        if type(module) is nn.Sequential:
            for part in module:
                value = self._apply(part, value)
            return value
        return self._lowering_of(module)(self.lowering, type(module).__name__, module, value)

    def _container(self, name: str, module: nn.Module, how: str, args: tuple[Any, ...]) -> Any:
        """A container's layers one after the other; their states, where they have any, travel together."""
        value, stateful = args[0], False
        before = args[1] if len(args) > 1 else None
        if before is not None and not (isinstance(before, StateToken) and before.population == name):
            said = "is not what the call before returned; pass it on as is"
            raise CannotLower("state", type(before).__name__.lower(), said)
        if how == "folded" and isinstance(value, AllSteps):
            value = value.value
        for child, layer in module.named_children():
            own = f"{name}.{child}"
            states = () if before is None else (StateToken(own, before.step),)
            made = self._module(own, layer, (value, *states), how == "driven")
            stateful |= isinstance(made, tuple)
            value = made[0] if isinstance(made, tuple) else made
        if how == "folded":
            return AllSteps(value)
        return (value, StateToken(name, 0 if before is None else before.step + 1)) if stateful else value

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        special = _FUNCTIONS.get(target)
        return self._call("function", function_lowerings(), target, special, args, kwargs)

    def call_method(self, target: Any, args: tuple, kwargs: dict) -> Any:
        special = _METHODS.get(target)
        return self._call("method", method_lowerings(), target, special, args, kwargs)

    def _call(self, kind: str, known: Mapping[Any, Any], target: Any, special: Any, args: tuple, kwargs: dict) -> Any:
        """A torch function or a tensor's method; behind a refusal of unknown shape there is none."""
        if _has_gap(args):
            return None
        name = getattr(target, "__name__", target)
        try:
            made = special(self.clock, *args, **kwargs) if special else NotImplemented
            if made is not NotImplemented:
                return made
            if target not in known:
                raise CannotLower(kind, name, f"has no lowering; use a module, {known_functions()}")
            return self._timed((kind, name), lambda *a, **k: known[target](self.lowering, *a, **k), args, kwargs)
        except CannotLower as refusal:
            self.refuse("forward", refusal)
        except SpecError as error:
            self.refusals.append(Refusal("forward", kind, str(name), str(error)))
        return next((a for a in args if isinstance(a, AffineInput | OneStep | AllSteps)), None)

    def _timed(
        self, key: tuple[Any, ...], make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Something done to values, within a step, over all steps, or outside of time."""
        given = list(_values((args, kwargs)))
        if any(isinstance(v, Membrane | StateToken | StepReduction) for v in given):
            raise CannotLower("input", "a membrane or a state", "is only an answer; build the network on spikes")
        over, steps = any(isinstance(v, AllSteps) for v in given), [v.step for v in given if isinstance(v, OneStep)]
        if over and steps:
            raise CannotLower("input", "one step and all steps", "cannot meet; index the sequence, or stack the steps")
        if not over and not steps:
            return make(*args, **kwargs)
        step = max(steps, default=0)

        def inner(value: Any) -> Any:
            return value.value if isinstance(value, AllSteps) else self.clock.at(value, step)

        plain_args, plain_kwargs = _map((args, kwargs), inner)
        values = list(_values((plain_args, plain_kwargs)))
        memo = (*key, tuple(map(id, values)), repr(_map((args, kwargs), lambda value: "value")))
        if over and key[-1] in ("flatten", "cat"):
            plain_args, plain_kwargs = _one_axis_less(key[-1], plain_args, plain_kwargs)
        made = self.clock.remember(memo, lambda: make(*plain_args, **plain_kwargs), *values)
        if isinstance(made, ReadoutValue) or not isinstance(made, AffineInput):
            return made
        return AllSteps(made) if over else OneStep(made, step)

    def readout(self, output: Any, index: int, decoding: str | None, steps: int) -> Readout:
        """How the forward's answer is read."""
        return readout_for(self.lowering, output, index, decoding, steps, self.clock.one_step)


def _knows_steps(module: nn.Module, driven: bool) -> bool:
    """Whether a layer takes the axis of steps for what it is."""
    return driven or getattr(module, "step_mode", "s") == "m"


def _inner(value: Any) -> Any:
    return value.value if isinstance(value, OneStep | AllSteps) else value


def _values(tree: Any) -> list[Any]:
    """All values in nested arguments."""
    if isinstance(tree, dict):
        return [v for item in tree.values() for v in _values(item)]
    if isinstance(tree, tuple | list):
        return [v for item in tree for v in _values(item)]
    return [tree] if isinstance(tree, AffineInput | OneStep | AllSteps | Membrane | StateToken | StepReduction) else []


def _has_gap(tree: Any) -> bool:
    """Whether something is missing in nested arguments, since it was refused."""
    return tree is None or (isinstance(tree, tuple | list) and any(_has_gap(item) for item in tree))


def _map(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Nested arguments with every value changed."""
    if isinstance(tree, dict):
        return {key: _map(item, change) for key, item in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_map(item, change) for item in tree)
    return change(tree) if isinstance(tree, AffineInput | OneStep | AllSteps) else tree


def _one_axis_less(name: str, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Arguments that name axes, for a tensor without the axis of steps."""
    fewer = {key: v - 1 if isinstance(v, int) and v > 0 else v for key, v in kwargs.items()}
    return tuple(v - 1 if isinstance(v, int) and v > 0 else v for v in args), fewer


def _placeholder(module: nn.Module, argument: Any) -> Any:
    """What a refused layer would have made, by shape only, so that the layers behind it can be judged too."""
    value = _inner(argument)
    if not isinstance(value, AffineInput):
        return None
    try:
        with torch.no_grad():
            made = module(torch.zeros(getattr(module, "steps", 1), *value.shape, dtype=torch.float64))
            shape = tuple((made[0] if isinstance(made, tuple) else made).shape[1:])
    except Exception:
        return None
    hollow = AffineInput(shape, (), np.zeros(shape))
    return replace(argument, value=hollow) if isinstance(argument, OneStep | AllSteps) else hollow


# What time does to functions and methods. Each gives NotImplemented where time plays no part.


def _stack(clock: CallCounter, tensors: Any, dim: int = 0) -> Any:
    if dim != 0 or not isinstance(tensors, tuple | list) or not tensors:
        raise CannotLower("dim", dim, "must put the steps in front; use torch.stack(list, dim=0)")
    if all(isinstance(t, Membrane) for t in tensors):
        if [t.step for t in tensors] != list(range(len(tensors))):
            raise CannotLower("tensors", "membranes", "are not those of every step in their order")
        clock.axis.add(len(tensors))
        return replace(tensors[0], step=None)
    last = tensors[-1]
    clock.axis.add(len(tensors))
    if all(isinstance(t, AffineInput) and t is last for t in tensors):
        return AllSteps(last)
    if not all(isinstance(t, OneStep) for t in tensors) or [t.step for t in tensors] != list(range(len(tensors))):
        raise CannotLower("tensors", "a list", "is not one tensor of every step in their order")
    return AllSteps(last.value)


def _reduce(how: Any) -> Callable[..., Any]:
    def reduce(clock: CallCounter, tensor: Any, dim: Any = None, *rest: Any, **more: Any) -> Any:
        if not isinstance(tensor, AllSteps) and not (isinstance(tensor, Membrane) and tensor.step is None):
            return NotImplemented
        if dim not in (0, (0,), [0]):
            raise CannotLower("dim", dim, "must be the steps'; use dim=0")
        made = StepReduction(tensor, how)
        return (made, "indices") if how == "max" else made

    return reduce


def _getitem(clock: CallCounter, whole: Any, index: Any) -> Any:
    if isinstance(whole, StepReduction | OneStep | AffineInput) or (
        isinstance(whole, Membrane) and whole.step is not None
    ):
        raise CannotLower("index", index, "takes a part of a layer's output; make the part a layer of its own")
    if isinstance(whole, AllSteps | Membrane):
        if index == -1:
            return StepReduction(whole, "last")
        if isinstance(index, int) and index >= 0:
            return OneStep(whole.value, index) if isinstance(whole, AllSteps) else replace(whole, step=index)
        raise CannotLower("index", index, "is no step; use a step's number, or -1 for the last")
    return whole[index]


def _getattr(clock: CallCounter, whole: Any, name: str) -> Any:
    if name == "shape":
        return _size(clock, whole)
    if name == "values" and isinstance(whole, tuple):
        return whole[0]
    return name if name in ("device", "dtype") else NotImplemented


def _size(clock: CallCounter, whole: Any, dim: int | None = None) -> Any:
    if not isinstance(whole, AllSteps):
        return NotImplemented
    if len(clock.axis) != 1:
        raise CannotLower("shape", "of a sequence", "is not known here; give convert steps=")
    shape = (next(iter(clock.axis)), Batch(), *whole.value.shape)
    return shape if dim is None else shape[dim]


def _zeros(clock: CallCounter, *shape: Any, **more: Any) -> Any:
    whole = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    if not whole or not isinstance(whole[0], Batch):
        raise CannotLower("shape", whole, "must begin with the number of images; use x.size(0)")
    return AffineInput(tuple(whole[1:]), (), np.zeros(tuple(whole[1:])))


def _zeros_like(clock: CallCounter, tensor: Any, **more: Any) -> Any:
    shape = _inner(tensor).shape
    return AffineInput(shape, (), np.zeros(shape))


def _unsqueeze(clock: CallCounter, tensor: Any, dim: int) -> Any:
    if dim != 0 or not isinstance(tensor, AffineInput):
        raise CannotLower("dim", dim, "adds an axis that is not the steps'; use unsqueeze(0) on the images")
    clock.axis.add(1)
    return AllSteps(tensor)


def _repeat(clock: CallCounter, tensor: Any, *times: Any) -> Any:
    counts = times[0] if len(times) == 1 and isinstance(times[0], tuple | list | torch.Size) else times
    value = _inner(tensor)
    rank = len(value.shape) + 2
    pairs = zip(counts[-len(value.shape) :], value.shape, strict=False)
    same = all(c in (1, -1) or isinstance(c, Batch) or c == n for c, n in pairs)
    if len(counts) != rank or not same or not isinstance(counts[0], int):
        said = "must repeat the images over the steps only; use x.unsqueeze(0).repeat(T, 1, ...)"
        raise CannotLower("repeat", counts, said)
    clock.axis.discard(1)
    clock.axis.add(counts[0])
    return AllSteps(value)


def _scaled(sign: Callable[[float, float], float]) -> Callable[..., Any]:
    def scaled(clock: CallCounter, left: Any, right: Any, **more: Any) -> Any:
        if isinstance(left, StepReduction) and isinstance(right, int | float):
            return replace(left, factor=sign(left.factor, right))
        if isinstance(left, int | float) and isinstance(right, StepReduction) and sign is python_operator.mul:
            return replace(right, factor=right.factor * left)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return sign(left, right)
        return NotImplemented

    return scaled


def _plus(clock: CallCounter, left: Any, right: Any, **more: Any) -> Any:
    # A sum that a loop begins with the number 0.
    for number, other in ((left, right), (right, left)):
        if isinstance(number, int | float) and number == 0 and isinstance(other, AffineInput | OneStep | AllSteps):
            return other
    return NotImplemented


def _ignore(clock: CallCounter, *args: Any, **more: Any) -> Any:
    return args[0] if args else None


_FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    torch.stack: _stack,
    torch.sum: _reduce("sum"),
    torch.mean: _reduce("mean"),
    torch.max: _reduce("max"),
    torch.amax: lambda clock, *a, **k: _first(_reduce("max")(clock, *a, **k)),
    torch.zeros: _zeros,
    torch.zeros_like: _zeros_like,
    torch.unsqueeze: _unsqueeze,
    python_operator.getitem: _getitem,
    getattr: _getattr,
    torch.add: _plus,
    python_operator.add: _plus,
    python_operator.iadd: _plus,
    python_operator.mul: _scaled(python_operator.mul),
    python_operator.truediv: _scaled(python_operator.truediv),
    torch.mul: _scaled(python_operator.mul),
    torch.div: _scaled(python_operator.truediv),
}
_METHODS: Mapping[str, Callable[..., Any]] = {
    "sum": _reduce("sum"),
    "mean": _reduce("mean"),
    "max": _reduce("max"),
    "amax": lambda clock, *a, **k: _first(_reduce("max")(clock, *a, **k)),
    "size": _size,
    "unsqueeze": _unsqueeze,
    "repeat": _repeat,
    "expand": _repeat,
    "to": _ignore,
    "float": _ignore,
    "double": _ignore,
    "contiguous": _ignore,
    "detach": _ignore,
    "new_zeros": lambda clock, tensor, *shape, **more: _zeros(clock, *shape),
}


def _first(pair: Any) -> Any:
    return pair[0] if isinstance(pair, tuple) else pair
