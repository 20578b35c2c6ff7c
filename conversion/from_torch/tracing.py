"""What a model's forward does, written down by torch.fx with loops over time unrolled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from alade_brian.conversion.from_torch.places import current_place, place_of
from alade_brian.conversion.from_torch.resets import ResetWatch
from alade_brian.conversion.from_torch.shapes import LowerFunction
from alade_brian.conversion.lowering import CannotLower
from alade_brian.conversion.refusals import Refusal, RefusedLayers

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
        framework = framework_of(m)
        theirs = framework is not None and (is_layer(m) or _known(m, framework) or not _children(m))
        return ours or theirs or isinstance(m, HandWritten) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
        """A neuron's call gives as many things as it returns, so that a forward can unpack them as it likes."""
        self._watch.calling(m)
        said = m.begin_call() if isinstance(m, HandWritten) else ""
        if said:
            where = f"{self.path_of_module(m).removeprefix('model.')} ({class_name(m)})"
            place = current_place(_Whole.forward.__code__)
            raise RefusedLayers([Refusal(where, "state", "of the neurons", said, place)], None)
        made, count = super().call_module(m, forward, args, kwargs), self._returns.get(m, 1)
        return tuple(made[k] for k in range(count)) if count > 1 else made

    def proxy(self, node: fx.Node) -> fx.Proxy:
        node.meta["place"] = current_place(_Whole.forward.__code__)
        if node.op != "placeholder":
            return super().proxy(node)
        node.meta["sequence"] = self._sequence
        images = _Images(node, self)
        images.lengths = self._lengths
        return images


def _returned(model: nn.Module) -> tuple[dict[nn.Module, int], list[Refusal]]:
    """How many things the calls of other frameworks' neurons return, and layers that are refused whoever calls them.

    It is found before fx traces: while it does, parameters have no values.
    """
    counts, refusals = {}, []
    for name, module in model.named_modules():
        adapter, framework = neuron_adapter(module), framework_of(module)
        try:
            if framework and is_layer(module) and not _known(module, framework):
                raise refuse_layer(module, framework)
            container_kind(module)
            counts[module] = len(adapter(module).returns) if adapter else 1
        except CannotLower as refusal:
            where = f"{name} ({class_name(module)})"
            refusals.append(Refusal(where, refusal.argument, str(refusal.value), refusal.remedy))
    return counts, refusals


def _known(module: nn.Module, framework: Framework) -> bool:
    every = (framework.neurons, framework.layers, framework.containers)
    return any(same_class(type(module), known) is not None for known in every)


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
            place_of(error, _Whole.forward.__code__),
        )
        raise RefusedLayers(refusals or [refusal], None) from error
