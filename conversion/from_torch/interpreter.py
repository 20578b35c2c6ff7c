"""A traced forward, run on values instead of tensors.

That lowers every layer where it is called; refusals are collected instead of stopping at the first.
"""

from __future__ import annotations

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
from alade_brian.conversion.from_torch.functions import function_lowerings, known_functions, method_lowerings
from alade_brian.conversion.from_torch.layers import check_delay, refuse_class
from alade_brian.conversion.from_torch.pooling import POOLING_FUNCTIONS
from alade_brian.conversion.from_torch.shapes import LowerFunction
from alade_brian.conversion.from_torch.time_axis import (
    AllSteps,
    CallCounter,
    Membrane,
    OneStep,
    StateToken,
    StepReduction,
)
from alade_brian.conversion.from_torch.time_functions import TIME_FUNCTIONS, TIME_METHODS, without_time
from alade_brian.conversion.from_torch.tracing import Known
from alade_brian.conversion.lowering import AffineInput, CannotLower, ReadoutValue, SpecBuilder, source_value
from alade_brian.conversion.refusals import Refusal
from alade_brian.models.coding import Frames
from alade_brian.spec.network import Readout, SpecError, Stimulus


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
            shape = getattr(without_time(args[0]), "shape", "unknown")
            self.refusals.append(Refusal(f"{name} ({type(module).__name__})", "shape", str(shape), str(error)))
        return None if neuron_adapter(module) or container_kind(module) else _placeholder(module, args[0])

    def _module(
        self, name: str, module: nn.Module, args: tuple[Any, ...], driven: bool = False, folded: bool = False
    ) -> Any:
        """One call of a layer; `driven` says that a container gives it a sequence step by step, `folded` that it
        gives all steps as if they were images."""
        how = container_kind(module)
        if how is not None:
            return self._container(name, module, how, args)
        adapter = neuron_adapter(module)
        if adapter is not None:
            return self.clock.call(name, lambda: adapter(module), args[0], args[1:], driven)
        if isinstance(module, Frames) and isinstance(args[0], AllSteps):
            return args[0].value  # from here on time has no axis of its own
        check_delay(module, isinstance(args[0], AllSteps) and not driven, folded)
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
            made = self._module(own, layer, (value, *states), how == "driven", how == "folded")
            stateful |= isinstance(made, tuple)
            value = made[0] if isinstance(made, tuple) else made
        if how == "folded":
            return AllSteps(value)
        return (value, StateToken(name, 0 if before is None else before.step + 1)) if stateful else value

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        special = TIME_FUNCTIONS.get(target)
        return self._call("function", function_lowerings(), target, special, args, kwargs)

    def call_method(self, target: Any, args: tuple, kwargs: dict) -> Any:
        special = TIME_METHODS.get(target)
        return self._call("method", method_lowerings(), target, special, args, kwargs)

    def _call(self, kind: str, known: Mapping[Any, Any], target: Any, special: Any, args: tuple, kwargs: dict) -> Any:
        """A torch function or a tensor's method; behind a refusal of unknown shape there is none."""
        # Of what pools only the first argument is a tensor: None among the others leaves a size as it is.
        if _has_gap(args[:1] if target in POOLING_FUNCTIONS else args):
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
    value = without_time(argument)
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
