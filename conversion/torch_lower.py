"""The torch door: a trained module -> NetworkSpec.

The module is traced with torch.fx; then every layer is lowered by one small function, looked up along the layer's MRO.
Nothing is lowered approximately: what cannot be lowered exactly becomes a refusal, and all refusals are raised at once,
together with the table of layers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from alade_brian.conversion.lowering import Refuse
from alade_brian.conversion.spec import NetworkSpec, Shape, SpecError, Stimulus
from alade_brian.conversion.table import Refusal, RefusedLayers
from alade_brian.conversion.torch_layers import LowerFunction, lowerings
from alade_brian.conversion.torch_trace import Interpreter, trace


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
                  `lowerings` names, or of those of a framework with a door (snnTorch, SpikingJelly, Norse), in a
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
    """
    if sequence and steps is None:
        raise ValueError("a sequence needs its number of steps: give convert steps=")
    known = {**lowerings(), **(extra or {})}
    lengths = (steps, *image_shape) if sequence and steps else image_shape
    graph = trace(detached(model).double().eval().requires_grad_(False), known, lengths, sequence)
    interpreter = Interpreter(graph, known, Stimulus(image_shape, coding="sequence" if sequence else "direct"))
    if sequence and steps:
        interpreter.clock.axis.add(steps)
    answer = interpreter.run(interpreter.image())
    return _finish(interpreter, answer, dt, steps, readout, output)


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
    interpreter: Interpreter, answer: Any, dt: float, steps: int | None, readout: str | None, output: int
) -> NetworkSpec:
    lowering = interpreter.lowering
    lowered = (lowering.stimuli, lowering.populations, lowering.projections)
    if interpreter.refusals:
        raise RefusedLayers(interpreter.refusals, lowered)
    try:
        count = _steps(interpreter, steps)
        lowering.readout = interpreter.readout(answer, output, readout, count)
        interpreter.clock.connect()
        return NetworkSpec(
            tuple(lowering.stimuli),
            tuple(lowering.populations),
            tuple(lowering.projections),
            lowering.readout,
            steps=count,
            dt=dt,
        )
    except Refuse as refusal:
        found = Refusal("forward", refusal.argument, str(refusal.value), refusal.remedy)
    except SpecError as error:
        found = Refusal("network", "structure", "as a whole", str(error))
    raise RefusedLayers([found], lowered)


def _steps(interpreter: Interpreter, given: int | None) -> int:
    """The number of steps on which all neurons agree."""
    own = interpreter.lowering.steps
    if interpreter.clock.calls and not own:
        return interpreter.clock.steps(given)
    if interpreter.lowering.readout is None and not interpreter.clock.calls:
        raise Refuse("output", "none", "the network must end in MeanOverSteps, which gives the logits")
    if len(own) != 1 or interpreter.clock.calls:
        raise Refuse("steps", sorted(own), "all neurons must run for the same number of steps")
    return next(iter(own))
