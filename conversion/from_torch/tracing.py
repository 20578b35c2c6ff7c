"""What a model's forward does, written down by torch.fx with loops over time unrolled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import fx, nn

from alade_brian.conversion.from_torch.frameworks.registry import (
    Framework,
    HandWritten,
    class_name,
    container_kind,
    framework_of,
    is_layer,
    neuron_adapter,
    refuse_layer,
    same_class,
)
from alade_brian.conversion.from_torch.layers import is_refused_class
from alade_brian.conversion.from_torch.outer_loop import carried, required_arguments
from alade_brian.conversion.from_torch.places import SOURCE, current_line, current_place, described, place_of
from alade_brian.conversion.from_torch.resets import ResetWatch
from alade_brian.conversion.from_torch.shapes import LowerFunction
from alade_brian.conversion.from_torch.time_axis import ForeignNeuron
from alade_brian.conversion.from_torch.traced_tensors import Shadows, TracedTensor, UnknownShape
from alade_brian.conversion.from_torch.written_tensors import WrittenTensors, stale_read
from alade_brian.conversion.lowering import CannotLower
from alade_brian.conversion.refusals import Refusal, RefusedLayers

Known = Mapping[type[nn.Module], LowerFunction]


def name_within(target: str) -> str:
    """The name within the model of a module of its trace; empty for the model itself."""
    return target.removeprefix("model").removeprefix(".")


def module_named(model: nn.Module, name: str) -> nn.Module | None:
    """The module that fires a population's spikes; None where a function, or a layer at a further place, does."""
    modules = dict(model.named_modules())
    # A network that is one layer is called by its class.
    return modules.get(name, model if name == type(model).__name__ else None)


class _Whole(nn.Module):
    """A model called with its images, so that other arguments of its forward keep their defaults; or a second time too,
    with the state that the first call returned."""

    def __init__(self, model: nn.Module, twice: bool, output: int | str) -> None:
        super().__init__()
        self.model, self.twice, self.output = model, twice, output

    def forward(self, images: Any) -> Any:
        returned = self.model(images)
        return self.model(images, **carried(self.model, returned, self.output)) if self.twice else returned


class _Tracer(fx.Tracer):
    def __init__(self, known: Known, shape: tuple[int, ...], shadows: Shadows, watch: ResetWatch) -> None:
        super().__init__()
        self._known, self._shape, self.shadows, self._watch = tuple(known), shape, shadows, watch
        self.written = WrittenTensors(self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, self._known) or is_refused_class(type(m))
        framework = framework_of(m)
        theirs = framework is not None and (is_layer(m) or _known(m, framework) or not _children(m))
        return ours or theirs or isinstance(m, HandWritten) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """A neuron's call gives as many things as it returns, so that a forward can unpack them as it likes."""
        if self.shadows.running:
            return forward(*args, **kwargs)
        self._watch.calling(m)
        said = m.begin_call() if isinstance(m, HandWritten) else ""
        if said:
            where = f"{name_within(self.path_of_module(m))} ({class_name(m)})"
            place = current_place(_Whole.forward.__code__)
            raise RefusedLayers([Refusal(where, "state", "of the neurons", said, place)], None)
        made, neuron = super().call_module(m, forward, args, kwargs), self.shadows.neurons.get(m)
        count = len(neuron.returns) if neuron else 1
        return tuple(made[k] for k in range(count)) if count > 1 else made

    def create_arg(self, a: Any) -> Any:
        return super().create_arg(self.written.current(a))

    def proxy(self, node: fx.Node) -> fx.Proxy:
        line = current_line(_Whole.forward.__code__)
        node.meta |= {"place": described(line), SOURCE: line}
        if node.op == "placeholder":
            self.shadows.begin(node, self._shape)
        return TracedTensor(node, self)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """A walk over the frames of a tensor, or over several tensors in a tuple."""
        try:
            return obj.parts() if isinstance(obj, TracedTensor) else super().iter(obj)
        except UnknownShape:
            return super().iter(obj)


def _neurons(model: nn.Module, lowered: Known) -> tuple[dict[nn.Module, ForeignNeuron], list[Refusal]]:
    """Other frameworks' neurons and those written by hand, and layers that are refused whoever calls them.

    lowered   layers with a lowering function, perhaps the user's own

    They are found before fx traces: while it does, parameters have no values.
    """
    neurons, refusals = {}, []
    for name, module in model.named_modules():
        adapter, framework = neuron_adapter(module), framework_of(module)
        try:
            own = type(module) in lowered
            if framework and is_layer(module) and not (own or _known(module, framework)):
                raise refuse_layer(module, framework)
            container_kind(module)
            if adapter:
                neurons[module] = adapter(module)
        except CannotLower as refusal:
            where = f"{name} ({class_name(module)})"
            refusals.append(Refusal(where, refusal.argument, str(refusal.value), refusal.remedy))
    return neurons, refusals


def _is_stateless(module: nn.Module, known: Known) -> bool:
    """Whether a layer is one that is lowered, or torch's own."""
    framework = framework_of(module)
    if framework is not None:
        return same_class(type(module), framework.layers) is not None
    return isinstance(module, tuple(known)) or type(module).__module__.startswith("torch.nn")


def _known(module: nn.Module, framework: Framework) -> bool:
    every = (framework.neurons, framework.layers, framework.containers)
    return any(same_class(type(module), known) is not None for known in every)


def _children(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def trace(
    model: nn.Module,
    known: Known,
    shape: tuple[int, ...],
    images: int,
    *,
    twice: bool = False,
    output: int | str = 0,
) -> fx.GraphModule:
    """What a model's forward does; RefusedLayers where it depends on the images' values or resets a state on the way.

    shape     of the images, with `images` for their number
    twice     call the forward a second time, with the state that the first call returned
    output    which of several returned tensors is the answer, not a state
    """
    whole, (neurons, refusals), watch = _Whole(model, twice, output), _neurons(model, known), ResetWatch(model)
    missing = required_arguments(model)
    if missing:
        said = "must be given; give states the default None, for rest, and return them behind the answer in that order"
        raise RefusedLayers([Refusal(type(model).__name__, "forward", f"argument {', '.join(missing)}", said)], None)
    try:
        with watch.watching():
            shadows = Shadows(whole, images, neurons, lambda module: _is_stateless(module, known))
            tracer = _Tracer(known, shape, shadows, watch)
            with tracer.written:
                graph = tracer.trace(whole)
            stale = stale_read(graph)
            if stale is not None:
                said = "is read beside a tensor that was changed in its place; write y = y * 2 instead of y *= 2 there"
                raise RefusedLayers(
                    [Refusal("forward", "tensor", "another view of it", said, stale.meta.get("place", ""))], None
                )
            return fx.GraphModule(whole, graph)
    except RefusedLayers:
        raise
    except CannotLower as error:
        place = place_of(error, _Whole.forward.__code__)
        refusal = Refusal("forward", error.argument, str(error.value), error.remedy, place)
        raise RefusedLayers([*refusals, refusal], None) from None
    except Exception as error:  # torch.fx raises many kinds, all meaning the same to a user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        refusal = Refusal(
            type(model).__name__,
            "forward",
            "data-dependent",
            f"torch.fx cannot trace it ({reason}); write it without control flow that depends on tensors",
            place_of(error, _Whole.forward.__code__),
        )
        raise RefusedLayers(refusals or [refusal], None) from error
