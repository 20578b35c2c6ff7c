"""The torch front end: a trained module -> NetworkSpec.

The module is traced with torch.fx; then every layer is lowered by one small function, looked up along the layer's MRO.
Nothing is lowered approximately: what cannot be lowered exactly becomes a refusal, and all refusals are raised at once,
together with the table of layers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from alade_brian.conversion.from_torch.hand_written import with_hand_written
from alade_brian.conversion.from_torch.interpreter import ValueInterpreter
from alade_brian.conversion.from_torch.lowerings import LOWERINGS
from alade_brian.conversion.from_torch.shapes import LowerFunction
from alade_brian.conversion.from_torch.tracing import trace
from alade_brian.conversion.lowering import CannotLower, SpecBuilder
from alade_brian.conversion.refusals import Refusal, RefusedLayers
from alade_brian.spec import NetworkSpec, Population, Projection, Shape, SpecError, Stimulus


def convert(
    model: nn.Module,
    image_shape: Shape,
    dt: float = 1e-3,
    extra: Mapping[type[nn.Module], LowerFunction] | None = None,
    *,
    steps: int | None = None,
    sequence: bool = False,
    readout: str | None = None,
    output: int = 0,
) -> NetworkSpec:
    """Lower a trained torch module to a specification (float64), exactly.

    model         takes images ``(n, *image_shape)`` and gives logits ``(n, classes)``; built of the layers that
                  `LOWERINGS` names, or of those of a framework with an adapter (snnTorch, SpikingJelly, Norse), in a
                  forward that loops over time, carries time as the first axis, or is one step. It is read in eval mode
                  and not changed.
    dt            seconds per step
    extra         further lowering functions by module class; they win over the built-in ones
    steps         number of steps, where the forward itself does not say it
    sequence      the forward takes ``(steps, n, *image_shape)``, one image per step (needs `steps`). What shows it
                  images (`verify`, `simulate`) takes ``(n, steps, *image_shape)`` and turns them for the forward
    readout       where the forward returns every step: the `Readout` decoding of it. By default spikes are counted
                  and anything else is averaged
    output        where the forward returns several tensors: the number of the one that is the answer

    Raises RefusedLayers, which lists every layer that cannot be lowered and why.

    >>> from torch import nn
    >>> from alade_brian import convert
    >>> from alade_brian.models import LIF, HoldCurrent, MeanOverSteps
    >>> model = nn.Sequential(HoldCurrent(4), nn.Linear(6, 8), LIF(4), nn.Linear(8, 3), MeanOverSteps(4))
    >>> [(population.name, population.size) for population in convert(model, (6,)).populations]
    [('2', 8), ('4', 3)]
    """
    if sequence and steps is None:
        raise ValueError("a sequence needs its number of steps: give convert steps=")
    known: dict[type[nn.Module], LowerFunction] = {**LOWERINGS, **(extra or {})}
    forward = _Forward(model, known, Stimulus(image_shape, coding="sequence" if sequence else "direct"), output)
    interpreter, answer = _understood(forward, steps if sequence else None)
    spec = _finish(interpreter, answer, dt, steps, readout, output)
    if spec.steps > 1 and interpreter.clock.one_step:
        _check_next_call(forward)
    return spec


@dataclass(frozen=True, eq=False)
class _Forward:
    """A forward to be understood."""

    model: nn.Module
    known: Mapping[type[nn.Module], LowerFunction]
    stimulus: Stimulus
    output: int

    def interpret(self, steps: int | None = None, twice: bool = False) -> tuple[ValueInterpreter, Any]:
        """Run it on values; it takes all steps of a sequence if their number is given."""
        lengths = (steps, *self.stimulus.shape) if steps else self.stimulus.shape
        # Tracing a forward may leave values of the trace in attributes of its model: each trace has its own copy.
        own = detached(self.model).double().eval().requires_grad_(False)
        own = with_hand_written(own, self.known)
        graph = trace(own, self.known, lengths, steps is not None, twice=twice, output=self.output)
        interpreter = ValueInterpreter(graph, self.known, self.stimulus, steps is not None)
        if steps:
            interpreter.clock.axis.add(steps)
        return interpreter, interpreter.run(interpreter.image())


def _understood(forward: _Forward, steps: int | None) -> tuple[ValueInterpreter, Any]:
    """A forward on values; one that gives all steps of a sequence to neurons of one step is itself one step.

    steps   of a sequence; None for an image that is held
    """
    if steps is None:
        return forward.interpret()
    try:
        whole = forward.interpret(steps)
    except RefusedLayers as refused:
        try:
            return forward.interpret()
        except RefusedLayers:
            raise refused from None
    if not whole[0].clock.given_all:
        return whole
    try:
        return forward.interpret()
    except RefusedLayers:
        return whole


def _check_next_call(forward: _Forward) -> None:
    """Refuse a forward of one step whose next call does not go on from the state that the call before left."""
    interpreter, _ = forward.interpret(twice=True)
    how = "; the forward is called once per step: take the state as an argument whose default is None, and return it"
    refusals = [replace(r, remedy=r.remedy + how) for r in interpreter.refusals if r.argument == "state"]
    if not interpreter.refusals:
        try:
            interpreter.clock.steps(2)
            interpreter.clock.connect()
        except CannotLower as refusal:
            said = f"{refusal.remedy} (the forward is called once per step)"
            refusals.append(Refusal("forward", refusal.argument, str(refusal.value), said))
    if refusals:
        raise RefusedLayers(refusals, None)


def detached(model: nn.Module) -> nn.Module:
    """A copy of a model; state that a forward left in its layers is cut off from the graph that made it."""
    held = [t for module in model.modules() for t in _tensors(vars(module)) if t.grad_fn is not None]
    return copy.deepcopy(model, {id(t): t.detach().clone() for t in held})


def _tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors in nested containers; other modules are containers of their own."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from _tensors(item)
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from _tensors(item)


def _finish(
    interpreter: ValueInterpreter, answer: Any, dt: float, steps: int | None, readout: str | None, output: int
) -> NetworkSpec:
    lowering = interpreter.lowering
    if interpreter.refusals:
        raise RefusedLayers(interpreter.refusals, _lowered(lowering))
    try:
        count = _steps(interpreter, steps)
        lowering.readout = interpreter.readout(answer, output, readout, count)
        interpreter.clock.connect()
        lowering.settle()
        return NetworkSpec(
            tuple(lowering.stimuli),
            tuple(lowering.populations),
            tuple(lowering.projections),
            lowering.readout,
            steps=count,
            dt=dt,
        )
    except CannotLower as refusal:
        found = Refusal("forward", refusal.argument, str(refusal.value), refusal.remedy)
    except SpecError as error:
        found = Refusal("network", "structure", "as a whole", str(error))
    raise RefusedLayers([found], _lowered(lowering))


def _lowered(lowering: SpecBuilder) -> tuple[list[Stimulus], list[Population], list[Projection]] | None:
    """What the table beside refusals is made of; None where it would need long lists of connections first."""
    return None if lowering.pending else (lowering.stimuli, lowering.populations, lowering.projections)


def _steps(interpreter: ValueInterpreter, given: int | None) -> int:
    """The number of steps on which all neurons agree."""
    own = interpreter.lowering.steps
    if interpreter.clock.calls and not own:
        return interpreter.clock.steps(given)
    if interpreter.lowering.readout is None and not interpreter.clock.calls:
        raise CannotLower("output", "none", "the network must end in MeanOverSteps, which gives the logits")
    if len(own) != 1 or interpreter.clock.calls:
        raise CannotLower("steps", sorted(own), "all neurons must run for the same number of steps")
    return next(iter(own))
