"""The torch door: a trained module -> NetworkSpec.

The module is traced with torch.fx; then every layer is lowered by one small function, looked up along the layer's MRO.
Nothing is lowered approximately: what cannot be lowered exactly becomes a refusal, and all refusals are raised at once,
together with the table of layers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from alade_brian.conversion.lowering import Lowering, Refuse, Value, source_value
from alade_brian.conversion.spec import NetworkSpec, Shape, SpecError, Stimulus
from alade_brian.conversion.table import Refusal, RefusedLayers
from alade_brian.conversion.torch_functions import (
    FunctionLowering,
    function_lowerings,
    known_functions,
    method_lowerings,
)
from alade_brian.conversion.torch_layers import LowerFunction, is_refused_class, lowerings, refuse_class


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
    interpreter.run(source_value("image", image_shape))
    return interpreter.finish(dt)


class _Tracer(fx.Tracer):
    def __init__(self, known: Mapping[type[nn.Module], LowerFunction]) -> None:
        super().__init__()
        self._known = tuple(known)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, self._known) or is_refused_class(m)
        return whole or super().is_leaf_module(m, module_qualified_name)


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
        self.lowering = Lowering([Stimulus(image_shape)])
        self.refusals: list[Refusal] = []

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        module = self.fetch_attr(target)
        function = next((self.known[c] for c in type(module).__mro__ if c in self.known), None)
        layer = f"{target} ({type(module).__name__})"
        if not args or not isinstance(args[0], Value):
            return None  # behind a refusal whose shape is unknown
        try:
            refuse_class(module)
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
        return self._call("function", function_lowerings(), target, args, kwargs)

    def _call(self, kind: str, known: Mapping[Any, FunctionLowering], target: Any, args: tuple, kwargs: dict) -> Any:
        """A torch function or a tensor's method on values; behind a refusal of unknown shape there is none."""
        if any(a is None for a in args):
            return None
        try:
            if target not in known:
                name = getattr(target, "__name__", target)
                raise Refuse(kind, name, f"has no lowering; use a module, {known_functions()}")
            return known[target](self.lowering, *args, **kwargs)
        except Refuse as refusal:
            self.refusals.append(Refusal("forward", refusal.argument, str(refusal.value), refusal.remedy))
        except SpecError as error:
            self.refusals.append(Refusal("forward", kind, str(getattr(target, "__name__", target)), str(error)))
        return next((a for a in args if isinstance(a, Value)), None)

    def call_method(self, target: Any, args: tuple, kwargs: dict) -> Any:
        return self._call("method", method_lowerings(), target, args, kwargs)

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
            raise RefusedLayers(self.refusals, (lowering.stimuli, lowering.populations, lowering.projections))
        return NetworkSpec(
            tuple(lowering.stimuli),
            tuple(lowering.populations),
            tuple(lowering.projections),
            lowering.readout,
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
