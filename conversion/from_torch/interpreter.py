"""A traced forward, run on values instead of tensors.

That lowers every layer where it is called; refusals are collected instead of stopping at the first.
"""

from __future__ import annotations

import hashlib
import operator as python_operator
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import fx, nn

from alade_brian.conversion.from_torch.answers import readout_for
from alade_brian.conversion.from_torch.frameworks.registry import (
    class_name,
    container_kind,
    framework_of,
    neuron_adapter,
    refuse_layer,
    same_class,
)
from alade_brian.conversion.from_torch.functions import (
    ELEMENTWISE,
    function_lowerings,
    known_functions,
    method_lowerings,
)
from alade_brian.conversion.from_torch.inline_neurons import COMPARISONS, as_module
from alade_brian.conversion.from_torch.layers import check_delay, refuse_class
from alade_brian.conversion.from_torch.recordings import resolved_in, without_recordings
from alade_brian.conversion.from_torch.rewrites import FUNCTION_REWRITES, rewrite_of
from alade_brian.conversion.from_torch.shapes import (
    SIZED,
    Batch,
    LowerFunction,
    is_constant,
    per_image,
    sizes_of,
    to_numpy,
    with_batch,
)
from alade_brian.conversion.from_torch.step_axis import flattened, without_time
from alade_brian.conversion.from_torch.time_axis import (
    AllSteps,
    CallCounter,
    Decided,
    Membrane,
    OneStep,
    StateToken,
    StepReduction,
    in_front,
)
from alade_brian.conversion.from_torch.time_functions import TAKES_RECORDINGS, TIME_FUNCTIONS, TIME_METHODS, decided
from alade_brian.conversion.from_torch.tracing import Known, name_within
from alade_brian.conversion.from_torch.unknown_outputs import unknown_output, unknown_result
from alade_brian.conversion.lowering import (
    AffineInput,
    CannotLower,
    ReadoutValue,
    SpecBuilder,
    UnknownInput,
    source_value,
)
from alade_brian.conversion.refusals import Refusal
from alade_brian.models.coding import Frames
from alade_brian.models.layers.linear import Recurrent
from alade_brian.models.neurons.neuron import Neuron
from alade_brian.spec import Readout, SpecError, Stimulus


class ValueInterpreter(fx.Interpreter):
    """Runs a traced graph on values."""

    def __init__(
        self, graph: fx.GraphModule, known: Known, stimulus: Stimulus, images: int, steps_axis: int | None
    ) -> None:
        """`steps_axis` is the axis of the steps where the graph takes all of them at once; `images` is their number in
        constants of the graph."""
        super().__init__(graph)
        self.steps_axis = steps_axis
        self.known = known
        self.lowering = SpecBuilder([stimulus])
        self.clock = CallCounter(self.lowering, images, self._apply)
        self.refusals: list[Refusal] = []
        self._place = ""
        self._gap = False

    def run_node(self, n: fx.Node) -> Any:
        """One node of the graph; refusals name the place in the user's code that it comes from."""
        self._node, self._place = n, n.meta.get("place", "")
        # Only what a node made can be missing: a None that is written in the forward means what torch takes it for.
        self._gap = any(_has_gap(self.env[node]) for node in n.all_input_nodes)
        return super().run_node(n)

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[Any, Any]:
        """What a node is given; recordings as the tensors of all steps that they are, but for what adds to them."""
        given = super().fetch_args_kwargs_from_env(n)
        try:
            return given if n.target in TAKES_RECORDINGS else resolved_in(self.clock, given)
        except CannotLower as refusal:
            self.refuse("forward", refusal.argument, refusal.value, refusal.remedy)
            self._gap = True
            return without_recordings(given)

    def image(self) -> AffineInput | AllSteps:
        """The stimulus as a value."""
        stimulus = self.lowering.stimuli[0]
        value = source_value(stimulus.name, stimulus.shape)
        return value if self.steps_axis is None else AllSteps(value, self.steps_axis)

    def refuse(self, where: str, argument: str, value: object, remedy: str) -> None:
        """Keep a refusal, to go on and find the others."""
        self.refusals.append(Refusal(where, argument, str(value), remedy, self._place))

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        module, name, given = self.fetch_attr(target), name_within(str(target)), (*args, *kwargs.values())
        if given and given[0] is not None:
            return self._judged(name, module, given)
        if not self._gap:  # otherwise it is behind a refusal whose shape is unknown
            where = f"{name} ({class_name(module)})".lstrip()
            self.refuse(where, "input", "none", "is no layer's output; call it with a tensor in front")
        return None

    def _judged(
        self, name: str, module: nn.Module, args: tuple[Any, ...], driven: bool = False, folded: bool = False
    ) -> Any:
        """What a layer gives; of one that is refused the shape alone."""
        where, value = f"{name} ({class_name(module)})".lstrip(), without_time(args[0])
        try:
            return self._module(name, module, args, driven, folded)
        except CannotLower as refusal:
            # What reaches the layer is as it is because of a refusal before: no cause of its own.
            if not (isinstance(value, UnknownInput) and refusal.argument in ("input", "state")):
                self.refuse(where, refusal.argument, refusal.value, refusal.remedy)
        except SpecError as error:
            if not isinstance(value, UnknownInput):
                self.refuse(where, "shape", getattr(value, "shape", "unknown"), str(error))
        return unknown_output(module, args[0], _knows_steps(module, driven))

    def _module(
        self, name: str, module: nn.Module, args: tuple[Any, ...], driven: bool = False, folded: bool = False
    ) -> Any:
        """One call of a layer; `driven` says that a container gives it a sequence step by step, `folded` that it
        gives all steps as if they were images."""
        how = container_kind(module)
        if how is not None:
            return self._container(name, module, how, args)
        if type(module) is nn.Sequential:  # inside a container that is called as a whole
            return self._container(name, module, "driven" if driven else "chain", args)
        name = name or class_name(module)  # the network itself is one layer
        adapter = neuron_adapter(module)
        if adapter is not None:
            return self.clock.call(name, lambda: adapter(module), args[0], args[1:], driven)
        if isinstance(module, Frames) and isinstance(args[0], AllSteps):
            return args[0].value  # from here on time has no axis of its own
        if isinstance(module, nn.Softmax | nn.LogSoftmax):
            made = decided(self.clock, args[0], module.dim)
            if made is not NotImplemented:
                return made
        together = isinstance(args[0], AllSteps) and args[0].axis is None
        check_delay(module, isinstance(args[0], AllSteps) and not driven, folded or together)
        function, given = self._lowering_of(module), self._constant_too(args[0])
        if isinstance(module, nn.Flatten) and isinstance(given, AllSteps) and not _knows_steps(module, driven):
            made = flattened(self.clock, given, module.start_dim, module.end_dim)
            if made is not NotImplemented:
                return made
            if given.axis == 0:
                module = nn.Flatten(module.start_dim - 1, module.end_dim - (module.end_dim > 0))
        # A layer without state of its own that is used at further places.
        place = name if isinstance(module, Neuron | Recurrent) else self.lowering.free_name(name, "#")
        anywhere = isinstance(module, nn.Linear | nn.Identity | nn.Dropout)

        def lowered(value: AffineInput) -> AffineInput:
            return function(self.lowering, place, module, value)

        # What holds a state is refused at a second place; anything else makes the same of the same.
        key = ("module", name, object() if isinstance(module, Neuron | Recurrent) else None)
        return self._timed(key, lowered, (given,), {}, anywhere)

    def _constant_too(self, value: Any) -> Any:
        """A value; also of a tensor that holds the same numbers for every image."""
        made = per_image(value, self.clock.images) if isinstance(value, torch.Tensor) else None
        return value if made is None else made

    def _lowering_of(self, module: nn.Module) -> LowerFunction:
        kind, framework = type(module), framework_of(module)
        if kind in self.known:
            return self.known[kind]
        refuse_class(module)
        if framework:
            same = None if kind in framework.refused else same_class(kind, framework.layers)
            if same is None:
                raise refuse_layer(module, framework)
            function: LowerFunction | None = framework.layers[same]
        else:
            base = next((c for c in kind.__mro__ if c in self.known), None)
            function = self.known[base] if base else None
            own = base is not None and getattr(kind, "forward") is not getattr(base, "forward")  # noqa: B009
            if base is not None and base.__module__.startswith("torch.") and own:
                said = f"has a forward of its own, not {base.__name__}'s; give convert a function for it with extra="
                raise CannotLower("class", kind.__name__, said)
        if function is None:
            names = ", ".join(sorted(c.__name__ for c in self.known))
            said = rewrite_of(kind) or f"the known layers are {names}"
            raise CannotLower("class", kind.__name__, f"has no lowering; {said}")
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
            own = f"{name}.{child}" if name else child
            states = () if before is None else (StateToken(own, before.step),)
            made = self._judged(own, layer, (value, *states), how == "driven", how == "folded")
            if made is None:
                return None  # behind a refusal whose shape is unknown
            stateful |= isinstance(made, tuple)
            value = made[0] if isinstance(made, tuple) else made
        if how == "folded":
            return AllSteps(value)
        return (value, StateToken(name, 0 if before is None else before.step + 1)) if stateful else value

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        if target is python_operator.getitem and isinstance(args[0], tuple):
            several, which = args  # things that a call returned, some perhaps unknown
            missing = type(which) is int and which >= len(several) and bool(self.refusals)
            return None if missing else several[which]
        special = TIME_FUNCTIONS.get(target)
        return self._call("function", function_lowerings(), target, special, args, kwargs)

    def call_method(self, target: Any, args: tuple, kwargs: dict) -> Any:
        special = TIME_METHODS.get(target)
        return self._call("method", method_lowerings(), target, special, args, kwargs)

    def _call(self, kind: str, known: Mapping[Any, Any], target: Any, special: Any, args: tuple, kwargs: dict) -> Any:
        """A torch function or a tensor's method; behind a refusal of unknown shape there is none."""
        if self._gap:
            return None
        name = getattr(target, "__name__", target)
        causes = not any(isinstance(without_time(v), UnknownInput) for v in _values((args, kwargs)))
        try:
            if name in SIZED:
                args = self._with_own_batch(name, with_batch(args, self.clock.images))
            if is_constant((*args, *kwargs.values())) and not str(name).endswith("_"):
                return target(*args, **kwargs) if kind == "function" else getattr(args[0], target)(*args[1:], **kwargs)
            made = special(self.clock, *args, **kwargs) if special else NotImplemented
            if made is not NotImplemented:
                return made
            args, kwargs = resolved_in(self.clock, (args, kwargs))
            if target not in known:
                causes |= special is None
                inline = as_module(self._node) if name in COMPARISONS else ""
                said = inline or FUNCTION_REWRITES.get(str(name)) or f"use a module, {known_functions()}"
                raise CannotLower(kind, name, f"has no lowering; {said}")
            lower = known[target]
            return self._timed(
                (kind, name), lambda *a, **k: lower(self.lowering, *a, **k), args, kwargs, lower in ELEMENTWISE
            )
        except CannotLower as refusal:
            if causes:
                self.refuse("forward", refusal.argument, refusal.value, refusal.remedy)
        except SpecError as error:
            if causes:
                self.refuse("forward", kind, name, str(error))
        return unknown_result(target, args, kwargs, _values((args, kwargs)))

    def _with_own_batch(self, name: str, args: Any) -> Any:
        """Sizes of a view whose number of images is written as a number: the forward takes so many at once.

        No other number of images, and no other meaning of the first size, leaves each image what is its own.
        """
        value, *sizes = args
        wanted = sizes_of(sizes)
        shape = getattr(without_time(value), "shape", None)
        plain = name in ("view", "reshape") and wanted and all(type(n) is int for n in wanted)
        if not plain or shape is None or isinstance(value, AllSteps) or wanted[0] < 1:
            return args
        if -1 not in wanted[1:] and prod(wanted[1:]) != prod(shape):
            return args
        self.clock.take_at_once(wanted[0], wanted)
        return (value, Batch(self.clock.images), *wanted[1:])

    def _timed(
        self,
        key: tuple[Any, ...],
        make: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anywhere: bool = False,
    ) -> Any:
        """Something done to values, within a step, over all steps, or outside of time; `anywhere` says that the steps
        need not be the first axis for it."""
        given = list(_values((args, kwargs)))
        if any(isinstance(v, Membrane | StateToken | StepReduction | Decided) for v in given):
            raise CannotLower("input", "a membrane or a state", "is only an answer; build the network on spikes")
        over, steps = [v for v in given if isinstance(v, AllSteps)], [v.step for v in given if isinstance(v, OneStep)]
        if over and steps:
            raise CannotLower("input", "one step and all steps", "cannot meet; index the sequence, or stack the steps")
        if not given:
            return make(*args, **kwargs)
        step, axis = max(steps, default=0), _common_axis(given, anywhere) if over else 0

        def inner(leaf: Any) -> Any:
            if isinstance(leaf, AllSteps):
                return leaf.value
            return self.clock.at(leaf, step) if isinstance(leaf, AffineInput | OneStep) else leaf

        plain_args, plain_kwargs = _map((args, kwargs), inner)
        values = list(_values((plain_args, plain_kwargs)))
        memo = (*key, tuple(map(id, values)), repr(_map((args, kwargs), _compared)))
        names_axes = key[0] != "module" and key[1] in ("flatten", "unflatten", "cat", "concat", "concatenate")
        if over and axis == 0 and names_axes:
            plain_args, plain_kwargs = _one_axis_less(plain_args, plain_kwargs)
        made = self.clock.remember(memo, lambda: make(*plain_args, **plain_kwargs), *values)
        if not (over or steps) or isinstance(made, ReadoutValue) or not isinstance(made, AffineInput):
            return made
        return AllSteps(made, axis) if over else OneStep(made, step)

    def readout(self, output: Any, index: int | str, decoding: str | None, steps: int) -> Readout:
        """How the forward's answer is read."""
        return readout_for(self.clock, output, index, decoding, steps)


def _knows_steps(module: nn.Module, driven: bool) -> bool:
    """Whether a layer takes the axis of steps for what it is."""
    return driven or getattr(module, "step_mode", "s") == "m"


def _values(tree: Any) -> list[Any]:
    """All values in nested arguments."""
    if isinstance(tree, dict):
        return [v for item in tree.values() for v in _values(item)]
    if isinstance(tree, tuple | list):
        return [v for item in tree for v in _values(item)]
    return (
        [tree]
        if isinstance(tree, AffineInput | OneStep | AllSteps | Membrane | StateToken | StepReduction | Decided)
        else []
    )


def _common_axis(given: Sequence[Any], anywhere: bool) -> int | None:
    """The axis of the steps in values that meet; refused where they must be the first axis and are not."""
    axes = {v.axis if isinstance(v, AllSteps) else 0 for v in given}
    axis = next(iter(axes))
    last = any(axis == len(v.value.shape) + 1 for v in given if isinstance(v, AllSteps))
    if len(axes) > 1 or (axis and (last or not anywhere)):
        where = next(a for a in axes if a != 0)
        raise CannotLower("input", f"steps on axis {where}", f"must have them in front; use {in_front(where)}")
    return axis


def _has_gap(tree: Any) -> bool:
    """Whether something is missing in what a node made, since it was refused."""
    return tree is None or (isinstance(tree, tuple | list) and any(_has_gap(item) for item in tree))


def _map(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Nested arguments with every leaf changed."""
    if isinstance(tree, dict):
        return {key: _map(item, change) for key, item in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_map(item, change) for item in tree)
    return change(tree)


def _compared(leaf: Any) -> Any:
    """What distinguishes an argument of one step from that of another, besides the identities of values.

    The text of a tensor leaves out digits and most of its elements, so all of its numbers are digested.
    """
    if isinstance(leaf, torch.Tensor):
        return str(leaf.dtype), tuple(leaf.shape), hashlib.sha256(to_numpy(leaf).tobytes()).hexdigest()
    return "value" if isinstance(leaf, AffineInput | OneStep | AllSteps) else leaf


def _one_axis_less(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Arguments that name axes, for a tensor without the axis of steps."""
    fewer = {key: v - 1 if isinstance(v, int) and v > 0 else v for key, v in kwargs.items()}
    return tuple(v - 1 if isinstance(v, int) and v > 0 else v for v in args), fewer
