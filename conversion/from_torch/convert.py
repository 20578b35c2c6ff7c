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

from alade_brian.conversion.from_torch.answers import chosen, is_walk, steps_axis
from alade_brian.conversion.from_torch.hand_written import with_hand_written
from alade_brian.conversion.from_torch.interpreter import ValueInterpreter
from alade_brian.conversion.from_torch.lowerings import LOWERINGS
from alade_brian.conversion.from_torch.shapes import LowerFunction, images_while_tracing
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
    output: int | str = 0,
) -> NetworkSpec:
    """Lower a trained torch module to a specification (float64), exactly.

    model         takes images ``(n, *image_shape)`` and gives logits ``(n, classes)``; built of the layers that
                  `LOWERINGS` names, or of those of a framework with an adapter (snnTorch, SpikingJelly, Norse), in a
                  forward that loops over time, carries time as the first axis, or is one step. It is read in eval mode
                  and not changed.
    dt            seconds per step
    extra         further lowering functions by module class; they win over the built-in ones
    steps         number of steps, where the forward itself does not say it
    sequence      the forward takes ``(steps, n, *image_shape)``, one image per step (needs `steps`), or, if it reads
                  them so, ``(n, steps, *image_shape)`` or ``(n, *image_shape, steps)``. What shows it images
                  (`verify`, `simulate`) takes
                  ``(n, steps, *image_shape)`` and turns them for the forward
    readout       where the forward returns every step: the `Readout` decoding of it. By default spikes are counted
                  and anything else is averaged
    output        where the forward returns several tensors: the number of the one that is the answer, or its key

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


@dataclass(frozen=True)
class ForwardForm:
    """How a forward takes a presentation and gives its answer, for whoever calls it.

    steps_axis     the axis of the steps in the sequences that it takes: 0 of ``(steps, n, ...)``, 1 of
                   ``(n, steps, ...)``, the last one of ``(n, ..., steps)``
    lists_steps    the answer is a list with a tensor of every step
    answer_axis    the axis of the steps in the answer; None where it has none, or where a readout module gives it
    images_at_once the number of images that it takes, where it says one (`x.view(128, -1)`)
    """

    steps_axis: int = 0
    lists_steps: bool = False
    answer_axis: int | None = None
    images_at_once: int | None = None


def forward_form(model: nn.Module, spec: NetworkSpec, output: int | str = 0) -> ForwardForm:
    """The form of the forward of a module that was converted to `spec`; `output` as `convert` takes it."""
    forward = _Forward(model, dict(LOWERINGS), spec.stimulus, output)
    try:
        interpreter, returned = _understood(forward, spec.steps if spec.stimulus.coding == "sequence" else None)
        answer = chosen(interpreter.clock, returned, output)
    except (RefusedLayers, CannotLower):
        return ForwardForm()  # converted with lowerings that are not known here
    lists_steps = isinstance(returned, tuple | list) and output == 0 and is_walk(returned)
    at_once = interpreter.clock.images_at_once
    return ForwardForm(interpreter.steps_axis or 0, lists_steps, steps_axis(answer), at_once)


@dataclass(frozen=True, eq=False)
class _Forward:
    """A forward to be understood."""

    model: nn.Module
    known: Mapping[type[nn.Module], LowerFunction]
    stimulus: Stimulus
    output: int | str

    def interpret(
        self, steps: int | None = None, twice: bool = False, steps_axis: int = 0
    ) -> tuple[ValueInterpreter, Any]:
        """Run it on values; it takes all steps of a sequence, at that axis, if their number is given."""
        shape, lengths = list(self.stimulus.shape), (*([steps] if steps else []), *self.stimulus.shape)
        # Tracing a forward may leave values of the trace in attributes of its model: each trace has its own copy.
        own = detached(self.model).double().eval().requires_grad_(False)
        own = with_hand_written(own, self.known)
        images = images_while_tracing(own, lengths)
        shape.insert(0, images)
        if steps:
            shape.insert(steps_axis, steps)
        graph = trace(own, self.known, tuple(shape), images, twice=twice, output=self.output)
        axis = steps_axis if steps else None
        interpreter = ValueInterpreter(graph, self.known, self.stimulus, images, axis)
        if steps:
            interpreter.clock.axis.add(steps)
        return interpreter, interpreter.run(interpreter.image())


def _understood(forward: _Forward, steps: int | None) -> tuple[ValueInterpreter, Any]:
    """A forward on values; one that gives all steps of a sequence to neurons of one step is itself one step.

    steps   of a sequence; None for an image that is held
    """
    if steps is None:
        return forward.interpret()
    refused: RefusedLayers | None = None
    whole: tuple[ValueInterpreter, Any] | None = None
    try:
        whole = forward.interpret(steps)
        if not whole[0].clock.given_all and not whole[0].refusals:
            return whole
    except RefusedLayers as error:
        refused = error
    one_step = _attempt(forward)
    if one_step is not None and _is_understood(one_step[0]):
        return one_step
    for axis in sorted({1, len(forward.stimulus.shape) + 1}):  # behind the images, or at the end
        images_first = _attempt(forward, steps=steps, steps_axis=axis)
        if images_first is not None and _is_understood(images_first[0]):
            return images_first
    if whole is not None:
        return one_step if one_step is not None and whole[0].clock.given_all else whole
    assert refused is not None
    raise refused


def _is_understood(interpreter: ValueInterpreter) -> bool:
    """Whether a forward was taken for one step, or takes the images first, and reaches neurons so."""
    whole = bool(interpreter.lowering.steps) and interpreter.steps_axis is not None
    return not interpreter.refusals and (bool(interpreter.clock.calls) or whole)


def _attempt(forward: _Forward, **how: Any) -> tuple[ValueInterpreter, Any] | None:
    try:
        return forward.interpret(**how)
    except RefusedLayers:
        return None


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
    interpreter: ValueInterpreter, answer: Any, dt: float, steps: int | None, readout: str | None, output: int | str
) -> NetworkSpec:
    lowering = interpreter.lowering
    try:
        interpreter.clock.refuse_reuse(steps)
    except CannotLower as refusal:
        # What else is wrong with inputs and states may follow from it.
        others = [r for r in interpreter.refusals if r.argument not in ("input", "state")]
        found = Refusal("forward", refusal.argument, str(refusal.value), refusal.remedy)
        raise RefusedLayers([found, *others], _lowered(lowering)) from None
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
